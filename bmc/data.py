"""A stream as tensors on one device, and the order in which its rows are drawn."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from autods.errors import UsageError
from autods.streams import FeatureSet, Stream


@dataclass(frozen=True)
class Split:
    """Rows of one split of one task: ``features`` [n, d] as stored, ``labels`` int64 [n]."""

    features: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class TaskTensors:
    """One task on the device. Its classes are ``start ... stop - 1`` of the stream."""

    index: int
    name: str
    dataset: str
    start: int
    stop: int
    train: Split
    dev: Split
    test: Split

    @property
    def n_classes(self) -> int:
        """Number of classes of this task."""
        return self.stop - self.start


def to_tensors(stream: Stream, device: torch.device) -> list[TaskTensors]:
    """Copy a stream to a device, task by task; features keep their stored precision.

    Raises
    ------
    UsageError
        When a task has no training or no test samples.
    """
    for task in stream.tasks:
        for name in ("train", "test"):
            if len(getattr(task, name)) == 0:
                raise UsageError(
                    f"task '{task.name}' has no {name} samples, so it cannot be learned or "
                    "measured; nothing was run. Leave it out of the stream, or mend its splits."
                )

    def split(part: FeatureSet) -> Split:
        features = torch.from_numpy(part.features.copy())
        return Split(features.to(device), torch.from_numpy(part.labels.copy()).to(device))

    return [
        TaskTensors(
            index=task.index,
            name=task.name,
            dataset=task.dataset,
            start=task.class_offset,
            stop=task.class_offset + len(task.class_names),
            train=split(task.train),
            dev=split(task.dev),
            test=split(task.test),
        )
        for task in stream.tasks
    ]


class Shuffled:
    """Endless shuffled passes over ``n`` rows, cut into batches that are always full.

    A batch may span two passes, so batch normalisation never sees a small rest and
    every row is drawn once per pass.
    """

    def __init__(self, n: int, generator: torch.Generator) -> None:
        self.n = n
        self.generator = generator
        self._rest = torch.empty(0, dtype=torch.int64)

    def take(self, count: int) -> Tensor:
        """Return the next ``count`` row numbers, int64 [count]."""
        parts = [self._rest]
        have = len(self._rest)
        while have < count:
            parts.append(torch.randperm(self.n, generator=self.generator))
            have += self.n
        rows = torch.cat(parts)
        self._rest = rows[count:]
        return rows[:count]


class Balanced:
    """Rows drawn with replacement so that every group (a task) is equally likely."""

    def __init__(self, groups: Tensor, generator: torch.Generator) -> None:
        counts = torch.bincount(groups)
        self.weights = 1.0 / counts[groups].double()
        self.generator = generator

    def take(self, count: int) -> Tensor:
        """Return ``count`` row numbers, int64 [count]."""
        return torch.multinomial(self.weights, count, replacement=True, generator=self.generator)


def network_input(features: Tensor, norm: float) -> Tensor:
    """Turn stored rows [..., d] of length 1 into what the networks read: float32, length norm."""
    return features.float() * norm


def steps_for(rows: int, epochs: int, batch_size: int) -> int:
    """Return the number of full batches that cover ``rows`` at least ``epochs`` times."""
    return max(1, -(-rows * epochs // batch_size))
