"""A stream as tensors on one device, or as rows that stay in their files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import overload

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from autods.core.splits import SPLITS
from autods.core.transfer import queued, streamed
from autods.errors import FeaturesMissing, UsageError
from autods.streams.feature_set import FeatureSet
from autods.streams.stream import ClassEmbeddingSource, Stream, class_embeddings_of
from bmc.train.rows import Features, StoredRows, together
from bmc.train.shared import shared_empty

# Bytes of a host table up to which its rows are normalised once, into memory that processes share.
# Rows of a larger one stay in their files and are normalised as they are drawn: 0.5 microseconds
# for 768 numbers, under 1 % of an update, to the same bits.
HELD = 2**28
FILLED = 8192  # rows that are read at once
RESIDENT = 0.6  # share of the free device memory that one table may take


@dataclass(frozen=True)
class Split:
    """Rows of one split of one task: ``features`` [n, d] as stored, ``labels`` int64 [n].

    Labels are on the device that trains; features too, where they fit. Features are a tensor, or
    `StoredRows` of a table too large to be held: `take`, or an index, reads rows of either.
    """

    features: Features
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
    """Make a stream's rows available to a device; features keep their stored precision.

    Each split is one table: the tasks lie side by side in a tensor, so that `joined` need not copy
    them. On CUDA, features that do not fit stay on the host; `take` brings the rows that are
    needed. On the host a table above `HELD` bytes is not copied either: its rows stay where they
    are.
    """
    splits = [[getattr(task, name) for task in stream.tasks] for name in SPLITS]
    rows = sum(len(data) for sets in splits for data in sets)
    home = place_for(2 * stream.dim * rows, device)  # float16
    tables = zip(*(_side_by_side(sets, home, device) for sets in splits), strict=True)
    return [
        TaskTensors(
            task.index, task.name, task.dataset, task.class_offset,
            task.class_offset + len(task.class_names), train, dev, test,
            partial(class_embeddings_of, task.name, task.class_embedding_source),
        )
        for task, (train, dev, test) in zip(stream.tasks, tables, strict=True)
    ]  # fmt: skip


def _side_by_side(
    sets: Sequence[FeatureSet], home: torch.device, device: torch.device
) -> list[Split]:
    """Return the rows of the sets, of one table of features and one of labels."""
    sizes = [len(data) for data in sets]
    labels = _empty((sum(sizes),), torch.int64, device)
    own_labels = torch.split(labels, sizes)
    for own, data in zip(own_labels, sets, strict=True):
        own.copy_(torch.from_numpy(data.labels.copy()))  # torch warns of arrays that are read-only
    shape, dtype = (sum(sizes), sets[0].dim), _dtype(sets[0])
    if home.type == "cpu" and dtype.itemsize * math.prod(shape) > HELD:
        stored = [StoredRows.of(data, dtype) for data in sets]
        return list(map(Split, stored, own_labels))
    table = _empty(shape, dtype, home)
    features = torch.split(table, sizes)
    for own, data in zip(features, sets, strict=True):
        _fill(own, data)
    return list(map(Split, features, own_labels))


def _dtype(data: FeatureSet) -> torch.dtype:
    return torch.from_numpy(data.rows(np.arange(0))).dtype


def _empty(shape: tuple[int, ...], dtype: torch.dtype, home: torch.device) -> Tensor:
    if home.type == "cpu":
        return shared_empty(shape, dtype)
    return torch.empty(shape, dtype=dtype, device=home)


def _fill(features: Tensor, data: FeatureSet) -> None:
    """Copy the rows of a set to ``features`` [n, d], a block at a time; the set keeps none."""
    for first in range(0, len(data), FILLED):
        rows = np.arange(first, min(first + FILLED, len(data)))
        features[first : first + len(rows)].copy_(torch.from_numpy(data.rows(rows)))


def placed(features: Features, device: torch.device) -> Features:
    """Return feature rows on a device if they fit there, else where they are."""
    home = place_for(features.dtype.itemsize * math.prod(features.shape), device)
    if home.type == "cpu" or isinstance(features, Tensor):
        return features.to(home) if isinstance(features, Tensor) else features
    table = torch.empty(features.shape, dtype=features.dtype, device=home)
    for first in range(0, len(features), FILLED):
        table[first : first + FILLED] = features[first : first + FILLED].to(home)
    return table


def place_for(size: int, device: torch.device) -> torch.device:
    """Return where a table of so many bytes belongs: on the device, or the host if it is full."""
    if device.type != "cuda":
        return device
    held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free = torch.cuda.mem_get_info(device)[0] + held  # what torch keeps for later use is free
    return device if size <= RESIDENT * free else torch.device("cpu")


@overload
def joined(parts: Sequence[Tensor]) -> Tensor: ...


@overload
def joined(parts: Sequence[Features]) -> Features: ...


def joined(parts: Sequence[Features]) -> Features:
    """Return the rows of all parts in their order.

    Rows side by side in memory are not copied, and stored ones not read.
    """
    tensors = [part for part in parts if isinstance(part, Tensor)]
    return _joined_tensors(tensors) if len(tensors) == len(parts) else together(parts)


def _joined_tensors(parts: Sequence[Tensor]) -> Tensor:
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
    order = order[labels[order].argsort(stable=True)]  # class after class
    sizes = torch.bincount(labels, minlength=k)
    most_of = torch.where(sizes >= enough, (sizes // 2).clamp(max=most), 0)
    most_of[k:] = 0
    classes = labels[order]
    rank = torch.arange(len(order), device=labels.device) - (sizes.cumsum(0) - sizes)[classes]
    return order[rank < most_of[classes]]


def network_input(features: Tensor, norm: float) -> Tensor:
    """Turn stored rows [..., d] of length 1 into what the networks read: float32, length norm."""
    return features.float().mul_(norm) if features.dtype != torch.float32 else features * norm


def is_on(table: Features, device: torch.device) -> bool:
    """Tell whether a table is on a device, so that its rows can be taken within an update."""
    return isinstance(table, Tensor) and table.device == device


def take(table: Features, rows: Tensor, device: torch.device) -> Tensor:
    """Return rows [...] of a table [n, ...] on a device.

    A table that is not there is read where it is, through pinned memory: only the rows asked
    for travel, and the device need not wait for them. Stored rows are normalised here.
    ``device`` is named as tensors name it, ``cuda:0`` and not ``cuda``: torch does not call these
    equal.
    """
    shape = (*rows.shape, *table.shape[1:])
    flat = rows.flatten()
    if isinstance(table, Tensor) and table.device == device:
        # index_select: a fifth of the time of indexing
        return table.index_select(0, queued(flat, device)).view(shape)
    if isinstance(table, StoredRows) and device.type == "cpu":
        return table[flat].view(shape)
    pinned = torch.empty(len(flat), *table.shape[1:], dtype=table.dtype, pin_memory=True)
    if isinstance(table, StoredRows):
        table.into(pinned, flat)
    else:
        torch.index_select(table, 0, flat.to(table.device), out=pinned)
    return streamed(pinned, device).view(shape)
