"""A small seeded stream that the tests of `bmc` share."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from autods.core.root import DataRoot
from autods.core.splits import SPLITS
from autods.features.sets import seal_features
from autods.features.shards import ShardData, ShardInfo, write_shard
from autods.streams.open import open_stream
from autods.streams.stream import Stream, Task
from autods.streams.synthetic import synthetic_stream
from autods.streams.tasks import Order
from bmc.config import Config
from bmc.methods import METHODS, Method, config_for
from bmc.train.data import TaskTensors, to_tensors

CPU = torch.device("cpu")
ROWS_OF_SHARD = 70


def small_stream(
    tasks: int = 6, order: Order = "paper", classes: int = 704, dim: int = 64
) -> Stream:
    made = synthetic_stream(tasks=tasks, classes=classes, dim=dim, scale=1e-4, order=order)
    tasks_with_texts = [
        replace(task, class_embedding_source=partial(texts, task)) for task in made.tasks
    ]
    return replace(made, tasks=tasks_with_texts)


def texts(task: Task, templates: str) -> np.ndarray:
    """Return the mean of two samples of each class, in place of its embedded name: [c, d]."""
    labels, features = task.train.labels, task.train.features.astype(np.float32)
    classes = task.class_offset + np.arange(len(task.class_names))
    return np.stack([features[labels == c][:2].mean(axis=0) for c in classes])


# by the name of an option, whichever method has it
SMALL = {
    "experts": 4,
    "buffer": 24,
    "consolidation_batch": 64,
    "consolidation_rate": 0.001,
    "projections": 256,
    "steps": 5,
}


OWN = {option for name in METHODS.names() for option in METHODS.get(name).Options.names()}


def small_config(name: str, **changes: object) -> Config:
    """Return a configuration of a method; options that only others have are ignored."""
    options = METHODS.get(name).Options.names()
    own = {key: value for key, value in SMALL.items() if key in options}
    own |= {key: value for key, value in changes.items() if key in options}
    shared = {key: value for key, value in changes.items() if key not in OWN}
    config = Config(**{"epochs": 2, "memory": 60, **shared})  # type: ignore[arg-type]
    return config_for(name, config, {name: own})


def tensors(stream: Stream) -> list[TaskTensors]:
    return to_tensors(stream, CPU)


def learned(name: str, stream: Stream, config: Config) -> Method:
    """Train a method over a whole stream."""
    method = METHODS.get(name)(stream.dim, stream.n_classes, config, CPU)
    tasks = tensors(stream)
    first = 0
    for stop in method.group_ends(len(tasks)):
        method.learn(tasks[first:stop])
        first = stop
    return method


def stored_stream(folder: Path, tasks: int = 4) -> Stream:
    """Write the tasks of `small_stream` as datasets of several shards a split, and open them.

    Rows have lengths from 1 to 9; every fifth training row is a copy that protocol clean drops.
    """
    root, draws = DataRoot.open(folder), np.random.default_rng(5)
    made = [replace(task, dataset=f"{task.dataset}-rows") for task in small_stream(tasks).tasks]
    for task in made:
        sets = {split: getattr(task, split) for split in SPLITS}
        features = np.concatenate([data.features for data in sets.values()])
        labels = np.concatenate([data.labels for data in sets.values()]) - task.class_offset
        n = len(task.train)
        copies, originals = np.arange(1, n, 5), np.arange(0, n - 1, 5)
        features = (features * draws.uniform(1, 9, (len(features), 1))).astype(np.float16)
        features[copies], labels[copies] = features[originals], labels[originals]
        hashes = np.unique(features, axis=0, return_inverse=True)[1].astype(np.uint64)
        first = 0
        for split, data in sets.items():
            count = -(-len(data) // ROWS_OF_SHARD)
            for index, start in enumerate(range(0, len(data), ROWS_OF_SHARD)):
                stop = min(start + ROWS_OF_SHARD, len(data))
                rows = np.arange(first + start, first + stop)
                own = {"class": labels[rows].astype(np.int32)}
                info = ShardInfo(
                    task.dataset, split, "class", {"class": task.class_names}, {"model": "tiny"},
                    "0" * 64, "", start, stop, index, count,
                )  # fmt: skip
                path = root.shard("tiny.random", task.dataset, split, index, count)
                write_shard(path, ShardData(features[rows], own, rows, hashes[rows]), info)
            first += len(data)
        seal_features(root, "tiny.random", task.dataset)
    return open_stream(",".join(task.dataset for task in made), root, "tiny.random")
