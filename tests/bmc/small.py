"""A small seeded stream that the tests of `bmc` share."""

from __future__ import annotations

import torch

from autods.streams import Stream
from autods.synthetic import synthetic_stream
from bmc.config import Config
from bmc.data import TaskTensors, to_tensors
from bmc.methods import METHODS, Method

CPU = torch.device("cpu")


def small_stream(tasks: int = 6, order: str | int = "paper") -> Stream:
    return synthetic_stream(tasks=tasks, classes=704, dim=64, scale=1e-4, order=order)


def small_config(**changes: object) -> Config:
    fixed = {"epochs": 2, "memory": 60, "experts": 4, "buffer": 24}
    fixed |= {"consolidation_batch": 64, "consolidation_rate": 0.001, "projections": 256}
    # values of several types in one dictionary: Config checks them
    return Config(**{**fixed, **changes})  # type: ignore[arg-type]


def tensors(stream: Stream) -> list[TaskTensors]:
    return to_tensors(stream, CPU)


def learned(name: str, stream: Stream, config: Config) -> Method:
    """Train a method over a whole stream."""
    method = METHODS.get(name)(stream.dim, stream.n_classes, config, CPU)
    tasks = tensors(stream)
    size = method.group_size(len(tasks))
    for first in range(0, len(tasks), size):
        method.learn(tasks[first : first + size])
    return method
