"""NumPy: a stream's samples as plain arrays. A task's own are `Task.train.features`, `.labels`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from autods.core.registry import unknown
from autods.core.splits import SPLITS
from autods.errors import UsageError
from autods.streams.feature_set import FeatureSet
from autods.streams.stream import Stream, Task


@dataclass(frozen=True, eq=False)
class Arrays:
    """All samples of one split: features [n, d], global labels and task positions int64 [n].

    Task by task in the order of the stream; float16 as stored unless another type is asked for.
    """

    features: npt.NDArray[Any]
    labels: npt.NDArray[np.int64]
    tasks: npt.NDArray[np.int64]


def arrays(stream: Stream, split: str = "train", dtype: npt.DTypeLike | None = None) -> Arrays:
    """Copy one split (``train``, ``dev`` or ``test``) of a whole stream into memory."""
    sets = feature_sets(stream, split)
    sizes = [len(part) for part in sets]
    features = np.empty((sum(sizes), stream.dim), dtype or np.float16)
    for part, stop in zip(sets, np.cumsum(sizes), strict=True):
        features[stop - len(part) : stop] = part.features
    labels = np.concatenate([part.labels for part in sets])
    return Arrays(features, labels, np.repeat(np.arange(len(sets)), sizes))


def class_names(stream: Stream) -> list[str]:
    """Return the names of all classes; the position is the label. Names may repeat."""
    return [name for task in stream.tasks for name in task.class_names]


def feature_set(task: Task, split: str) -> FeatureSet:
    """Return a split of a task by its name; `UnknownName` when there is no such split."""
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    found: FeatureSet = getattr(task, split)
    return found


def feature_sets(stream: Stream, split: str, *, whole: str = "") -> list[FeatureSet]:
    """Return a split of every task.

    ``whole`` names a library that has no empty tasks; a task without samples is then a
    `UsageError`.
    """
    found = [feature_set(task, split) for task in stream.tasks]
    for task, part in zip(stream.tasks, found, strict=True):
        if whole and not len(part):
            raise UsageError(
                f"{whole} needs samples in every task; task '{task.name}' has none in split "
                f"'{split}'. Use another split, or leave that dataset out of the stream."
            )
    return found
