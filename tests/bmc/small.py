"""A small seeded stream that the tests of `bmc` share."""

from dataclasses import replace
from functools import partial

import numpy as np
import torch

from autods.streams.stream import Stream, Task
from autods.streams.synthetic import synthetic_stream
from autods.streams.tasks import Order
from bmc.config import Config
from bmc.methods import METHODS, Method, config_for
from bmc.train.data import TaskTensors, to_tensors

CPU = torch.device("cpu")


def small_stream(tasks: int = 6, order: Order = "paper") -> Stream:
    made = synthetic_stream(tasks=tasks, classes=704, dim=64, scale=1e-4, order=order)
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
