"""A stream as tensors on one device, and the order in which its rows are drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from autods.core.splits import SPLITS
from autods.errors import FeaturesMissing, UsageError
from autods.streams.feature_set import FeatureSet
from autods.streams.stream import ClassEmbeddingSource, Stream

RESIDENT = 0.6  # share of the free device memory that one table may take
AHEAD = 2**23  # draws that `Balanced` makes at once


@dataclass(frozen=True)
class Split:
    """Rows of one split of one task: ``features`` [n, d] as stored, ``labels`` int64 [n].

    Labels are on the device that trains; features too, where they fit.
    """

    features: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


def no_texts(templates: str) -> npt.NDArray[np.float32]:
    """Raise `FeaturesMissing`: what a task made by hand answers when asked for class names."""
    raise FeaturesMissing(
        f"expected class names embedded with templates '{templates}', but this task carries none."
    )


@dataclass(frozen=True)
class TaskTensors:
    """One task on the device. Its classes are ``start ... stop - 1`` of the stream.

    ``texts`` loads the embedded names of these classes, as `Task.class_embeddings` does. Of a task
    that is cut (`bmc.train.parts`), ``part`` counts its parts from 1, and ``sent`` are the rows of
    ``train`` that the part's expert sends, int64 [m].
    """

    index: int
    name: str
    dataset: str
    start: int
    stop: int
    train: Split
    dev: Split
    test: Split
    texts: ClassEmbeddingSource = no_texts
    part: int = 0
    sent: Tensor | None = None

    @property
    def key(self) -> tuple[int, ...]:
        """Tells its expert from others: its number, and that of the part if it is cut."""
        return (self.index, self.part) if self.part else (self.index,)

    @property
    def n_classes(self) -> int:
        """Number of classes of this task."""
        return self.stop - self.start


def check_samples(stream: Stream, measured: str = "test") -> None:
    """Refuse a task without training or test samples, and an empty split ``measured``."""
    for task in stream.tasks:
        for name in ("train", "test"):
            if len(getattr(task, name)) == 0:
                raise UsageError(
                    f"task '{task.name}' has no {name} samples, so it cannot be learned or "
                    "measured; nothing was run. Leave it out of the stream, or mend its splits."
                )
    if not any(len(getattr(task, measured)) for task in stream.tasks):
        raise UsageError(
            f"evaluate_on: expected a split with samples, got {measured}, of which no task of "
            f"stream '{stream.name}' has any; nothing was run. Measure the test split."
        )


def to_tensors(stream: Stream, device: torch.device) -> list[TaskTensors]:
    """Copy a stream to a device; features keep their stored precision.

    The tasks of a split lie side by side in one table, so that `joined` need not copy them. On
    CUDA, features that do not fit stay on the host; `take` brings the rows that are needed.
    """
    splits = [[getattr(task, name) for task in stream.tasks] for name in SPLITS]
    rows = sum(len(data) for sets in splits for data in sets)
    home = place_for(2 * stream.dim * rows, device)  # float16
    tables = zip(*(_side_by_side(sets, home, device) for sets in splits), strict=True)
    return [
        TaskTensors(
            task.index, task.name, task.dataset, task.class_offset,
            task.class_offset + len(task.class_names), train, dev, test, task.class_embeddings,
        )
        for task, (train, dev, test) in zip(stream.tasks, tables, strict=True)
    ]  # fmt: skip


def _side_by_side(
    sets: Sequence[FeatureSet], home: torch.device, device: torch.device
) -> list[Split]:
    """Copy the sets into one table of features and one of labels; return their rows."""
    sizes = [len(data) for data in sets]
    dtype = torch.from_numpy(sets[0].features[:0].copy()).dtype
    features = torch.empty(sum(sizes), sets[0].dim, dtype=dtype, device=home)
    labels = torch.empty(sum(sizes), dtype=torch.int64, device=device)
    splits = list(map(Split, torch.split(features, sizes), torch.split(labels, sizes)))
    for split, data in zip(splits, sets, strict=True):  # torch warns of arrays that are read-only
        split.features.copy_(torch.from_numpy(data.features.copy()))
        split.labels.copy_(torch.from_numpy(data.labels.copy()))
    return splits


def place_for(size: int, device: torch.device) -> torch.device:
    """Return where a table of so many bytes belongs: on the device, or the host if it is full."""
    if device.type != "cuda":
        return device
    held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free = torch.cuda.mem_get_info(device)[0] + held  # what torch keeps for later use is free
    return device if size <= RESIDENT * free else torch.device("cpu")


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Return the rows of all parts in their order; parts side by side in memory are not copied."""
    first, following = parts[0], parts[0].storage_offset()
    storage = first.untyped_storage().data_ptr()
    for part in parts:
        place = part.untyped_storage().data_ptr(), part.storage_offset()
        if place != (storage, following) or not part.is_contiguous():
            return torch.cat(list(parts))
        following += part.numel()
    shape = (sum(map(len, parts)), *first.shape[1:])
    # of one row alone torch calls any stride contiguous
    return first.as_strided(shape, (math.prod(shape[1:]), *first.stride()[1:]))


def training_data(group: Sequence[TaskTensors]) -> Split:
    """Return the training data of all tasks of a group, in their order."""
    return _joined_splits([task.train for task in group])


def dev_data(group: Sequence[TaskTensors]) -> Split:
    """Return the development samples of all tasks of a group, in their order."""
    return _joined_splits([task.dev for task in group])


def _joined_splits(splits: Sequence[Split]) -> Split:
    return Split(joined([s.features for s in splits]), joined([s.labels for s in splits]))


def withheld_rows(
    labels: Tensor, k: int, most: int, generator: torch.Generator, enough: int = 2
) -> Tensor:
    """Choose rows of labels [N] from 0 to withhold, at most ``most`` of each of k classes.

    A class keeps at least half of its rows, and all of them if they are fewer than ``enough``.
    Returns the row numbers, int64, class after class.
    """
    order = torch.randperm(len(labels), generator=generator).to(labels.device)
    chosen = []
    for c in range(k):
        rows = order[labels[order] == c]
        chosen.append(rows[: min(most, len(rows) // 2) if len(rows) >= enough else 0])
    return torch.cat(chosen)


class Shuffled:
    """Endless shuffled passes over ``n`` rows, cut into batches that are always full.

    A batch may span two passes, so batch normalisation never sees a small rest and
    every row is drawn once per pass. With ``drawn`` rows a pass, the others of each pass are
    left out. A draw costs what it returns: a cursor moves along the pass.
    """

    def __init__(self, n: int, generator: torch.Generator, drawn: int | None = None) -> None:
        self.n = n
        self.drawn = n if drawn is None else drawn
        self.generator = generator
        self._pass = torch.empty(0, dtype=torch.int64)
        self._next = 0  # row of the pass that is drawn next

    def take(self, count: int) -> Tensor:
        """Return the next ``count`` row numbers, int64 [count]."""
        rows = torch.empty(count, dtype=torch.int64)
        filled = 0
        while filled < count:
            if self._next == len(self._pass):
                self._pass = torch.randperm(self.n, generator=self.generator)[: self.drawn]
                self._next = 0
            part = self._pass[self._next : self._next + count - filled]
            rows[filled : filled + len(part)] = part
            self._next += len(part)
            filled += len(part)
        return rows


class Balanced:
    """A number of draws in which every group (a task) is met equally often.

    Groups follow each other in shuffled rounds, one draw of each, and the rows of a group in
    shuffled passes, so nothing is left to chance but the order. At most `AHEAD` draws are made
    ahead (240 MB while they are made).
    """

    def __init__(self, groups: Tensor, count: int, generator: torch.Generator) -> None:
        numbers = groups.cpu()
        order = torch.argsort(numbers, stable=True)
        sizes = torch.unique_consecutive(numbers[order], return_counts=True)[1]
        self.generator = generator
        self._members = torch.split(order, sizes.tolist())  # rows of each group, rising
        self._passes = [Shuffled(len(own), generator) for own in self._members]
        self._rounds = -(-count // len(sizes))  # still to be made
        self._drawn = torch.empty(0, dtype=torch.int64)
        self._next = 0

    def take(self, count: int) -> Tensor:
        """Return the next ``count`` row numbers, int64 [count], or all that are left."""
        parts = [self._drawn[self._next : self._next + count]]
        self._next += len(parts[0])
        while (missing := count - sum(map(len, parts))) and self._rounds:
            self._drawn = self._draw()
            parts.append(self._drawn[:missing])
            self._next = len(parts[-1])
        return torch.cat(parts)

    def _draw(self) -> Tensor:
        """Draw the rows of the next rounds, int64."""
        rounds = min(self._rounds, max(1, AHEAD // len(self._members)))
        self._rounds -= rounds
        turns = torch.rand(rounds, len(self._members), generator=self.generator)
        rows = torch.empty(rounds, len(self._members), dtype=torch.int64)
        for k, (own, passes) in enumerate(zip(self._members, self._passes, strict=True)):
            rows[:, k] = own[passes.take(rounds)]
        return rows.gather(1, turns.argsort(dim=1)).flatten()


def network_input(features: Tensor, norm: float) -> Tensor:
    """Turn stored rows [..., d] of length 1 into what the networks read: float32, length norm."""
    return features.float().mul_(norm) if features.dtype != torch.float32 else features * norm


def take(table: Tensor, rows: Tensor, device: torch.device) -> Tensor:
    """Return rows [...] of a table [n, ...] on a device.

    A table that is not there is read where it is, through pinned memory: only the rows asked
    for travel, and the device need not wait for them. ``device`` is named as tensors name it,
    ``cuda:0`` and not ``cuda``: torch does not call these equal.
    """
    shape = (*rows.shape, *table.shape[1:])
    flat = rows.flatten()
    if table.device == device:  # index_select: a fifth of the time of indexing
        return table.index_select(0, flat.to(device, non_blocking=True)).view(shape)
    pinned = torch.empty(len(flat), *table.shape[1:], dtype=table.dtype, pin_memory=True)
    torch.index_select(table, 0, flat.to(table.device), out=pinned)
    return pinned.to(device, non_blocking=True).view(shape)


def rows_per_pass(rows: int, batch_size: int, drop_last: bool) -> int:
    """Return how many rows a pass draws: those of full batches alone if ``drop_last``.

    If not even one batch is full, passes are joined all the same: nothing would be learned.
    """
    return rows - rows % batch_size if drop_last and rows >= batch_size else rows


def steps_for(rows: int, epochs: int, batch_size: int) -> int:
    """Return the number of full batches that cover ``rows`` at least ``epochs`` times."""
    return max(1, -(-rows * epochs // batch_size))
