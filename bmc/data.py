"""A stream as tensors on one device, and the order in which its rows are drawn."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from autods.errors import UsageError
from autods.streams import FeatureSet, Stream

RESIDENT = 0.6  # share of the free device memory that features may take


@dataclass(frozen=True)
class Split:
    """Rows of one split of one task: ``features`` [n, d] as stored, ``labels`` int64 [n].

    Labels are on the device that trains; features too, where they fit.
    """

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

    On CUDA, features that would take more than `RESIDENT` of the free memory stay on the host;
    `take` brings the rows that are needed.

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

    place = device if _fits(stream, device) else torch.device("cpu")

    def split(part: FeatureSet) -> Split:
        features = torch.from_numpy(part.features.copy())
        return Split(features.to(place), torch.from_numpy(part.labels.copy()).to(device))

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


def _fits(stream: Stream, device: torch.device) -> bool:
    if device.type != "cuda":
        return True
    sets = (part for task in stream.tasks for part in (task.train, task.dev, task.test))
    need = sum(2 * stream.dim * len(part) for part in sets)  # float16
    return need <= RESIDENT * torch.cuda.mem_get_info(device)[0]


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
    """A number of draws in which every group (a task) is met equally often.

    Groups follow each other in shuffled rounds, one draw of each, and the rows of a group in
    shuffled passes, so nothing is left to chance but the order.
    """

    def __init__(self, groups: Tensor, count: int, generator: torch.Generator) -> None:
        names, members = torch.unique(groups.cpu(), return_inverse=True)
        rounds = -(-count // len(names))
        turns = torch.rand(rounds, len(names), generator=generator).argsort(dim=1)  # group numbers
        rows = torch.empty(rounds, len(names), dtype=torch.int64)
        for number in range(len(names)):
            own = torch.nonzero(members == number)[:, 0]
            rows[:, number] = own[Shuffled(len(own), generator).take(rounds)]
        self.rows = rows.gather(1, turns).flatten()
        self._next = 0

    def take(self, count: int) -> Tensor:
        """Return the next ``count`` row numbers, int64 [count]."""
        first, self._next = self._next, self._next + count
        return self.rows[first : self._next]


def network_input(features: Tensor, norm: float) -> Tensor:
    """Turn stored rows [..., d] of length 1 into what the networks read: float32, length norm."""
    return features.float().mul_(norm) if features.dtype != torch.float32 else features * norm


def take(table: Tensor, rows: Tensor, device: torch.device) -> Tensor:
    """Return rows [...] of a table [n, ...] on a device.

    A table that is not there is read where it is, through pinned memory: only the rows asked
    for travel, and the device need not wait for them.
    """
    shape = (*rows.shape, *table.shape[1:])
    flat = rows.flatten().to(table.device, non_blocking=True)
    if table.device == device:  # index_select: a fifth of the time of indexing
        return table.index_select(0, flat).view(shape)
    pinned = torch.empty(len(flat), *table.shape[1:], dtype=table.dtype, pin_memory=True)
    torch.index_select(table, 0, flat, out=pinned)
    return pinned.to(device, non_blocking=True).view(shape)


def steps_for(rows: int, epochs: int, batch_size: int) -> int:
    """Return the number of full batches that cover ``rows`` at least ``epochs`` times."""
    return max(1, -(-rows * epochs // batch_size))
