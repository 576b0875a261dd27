"""Avalanche: a benchmark whose experiences are the tasks of a stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autods.core.splits import SPLITS
from autods.interop.arrays import class_names, feature_sets
from autods.interop.torch_data import TaskDataset
from autods.streams.stream import Stream


def benchmark(stream: Stream, splits: Sequence[str] | None = None) -> Any:
    """Return a stream as a `avalanche.benchmarks.CLScenario`, for any strategy of Avalanche.

    Experience i of ``train_stream``, ``dev_stream`` and ``test_stream`` is task i. A sample is
    features float32 [d], the global label, and the task label: 0 everywhere in scenario
    ``class-il``, i in ``task-il``. ``class_names`` holds the names of all classes, by label.
    Features are read when an experience is first used. ``splits`` defaults to train and test, and
    dev if all tasks have it; a task without samples is a `UsageError`.
    """
    from avalanche.benchmarks import (
        benchmark_from_datasets,
        with_classes_timeline,
        with_task_labels,
    )

    if splits is None:
        splits = [s for s in SPLITS if s != "dev" or all(len(task.dev) for task in stream.tasks)]
    streams = {}
    for split in splits:
        feature_sets(stream, split, whole="Avalanche")
        streams[split] = [
            _dataset(TaskDataset(task, split), task.index * (stream.scenario == "task-il"))
            for task in stream.tasks
        ]
    made = with_task_labels(with_classes_timeline(benchmark_from_datasets(**streams)))
    made.class_names = class_names(stream)
    return made


def _dataset(data: TaskDataset, task_label: int) -> Any:
    from avalanche.benchmarks.utils import (
        ConstantSequence,
        DataAttribute,
        TaskAwareSupervisedClassificationDataset,
    )

    label = ConstantSequence(task_label, len(data))
    attributes = [
        DataAttribute(data.targets.tolist(), "targets"),
        DataAttribute(label, "targets_task_labels", use_in_getitem=True),
    ]
    return TaskAwareSupervisedClassificationDataset([data], data_attributes=attributes)
