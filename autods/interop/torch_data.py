"""Plain PyTorch: a task's split as a map-style dataset, and loaders that gather whole batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from autods.interop.arrays import feature_set
from autods.streams.stream import Stream, Task


class TaskDataset(Dataset[tuple[Any, ...]]):
    """One split of one task: ``(features, label)`` for each sample.

    An index gives one sample; a list, array or slice of indices gives a whole batch in one
    copy, which is what `loader` uses. Features are read when the first sample is asked for.
    ``targets`` are global class numbers, int64 [n]; class ``class_offset + k`` has the name
    ``class_names[k]``.

    Parameters
    ----------
    with_task
        Add the task's position in the stream: ``(features, label, task)``.
    images
        Give the decoded image, after ``transform``, instead of the features; one at a time. See
        `autods.streams.stream.Task.images` for the errors.
    """

    def __init__(
        self,
        task: Task,
        split: str = "train",
        *,
        with_task: bool = False,
        images: bool = False,
        transform: Callable[[Any], Any] | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._set = feature_set(task, split)
        self._images = task.images(split, transform) if images else None
        self.class_names, self.class_offset = task.class_names, task.class_offset
        self.targets = torch.from_numpy(self._set.labels)
        self.dtype = dtype
        self._more = (task.index,) if with_task else ()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int | slice | Sequence[int] | npt.NDArray[Any]) -> tuple[Any, ...]:
        """Return features [d], label (int) and perhaps the task; of several indices a batch.

        A batch is features [b, d], labels int64 [b], tasks int64 [b].
        """
        if isinstance(index, int | np.integer):
            return (self._input(int(index)), int(self.targets[index]), *self._more)
        if self._images is not None:
            raise TypeError("images are given one at a time; use a DataLoader with a batch_size")
        rows = np.arange(len(self))[index] if isinstance(index, slice) else np.asarray(index)
        y = self.targets[torch.from_numpy(rows)]  # an `IndexError` where there is no such row
        gathered = np.empty((len(rows), self._set.dim), self._set.dtype)
        self._set.gather(np.where(rows < 0, rows + len(self), rows), gathered)
        x = torch.from_numpy(gathered).to(self.dtype)
        return (x, y, *(torch.full_like(y, number) for number in self._more))

    def __getitems__(self, indices: list[int]) -> list[tuple[Any, ...]]:
        """Return several samples; `torch.utils.data.DataLoader` asks for a batch by it."""
        if self._images is not None:
            return [self[i] for i in indices]
        x, y, *_ = self[indices]
        return [(row, label, *self._more) for row, label in zip(x, y.tolist(), strict=True)]

    def _input(self, index: int) -> Any:
        if self._images is not None:
            return self._images[index][0]
        row = np.empty((1, self._set.dim), self._set.dtype)
        self._set.gather(np.array([range(len(self))[index]]), row)
        return torch.from_numpy(row[0].astype(np.float32)).to(self.dtype)


def task_datasets(stream: Stream, split: str = "train", **options: Any) -> list[TaskDataset]:
    """Return a dataset per task; in scenario ``task-il`` they also give the task's number.

    ``options`` are those of `TaskDataset`.
    """
    given = {"with_task": stream.scenario == "task-il", **options}
    return [TaskDataset(task, split, **given) for task in stream.tasks]


class Batches(Sampler[npt.NDArray[np.int64]]):
    """Rows of each batch of an epoch, in a seeded order that every epoch draws anew.

    The order is that of `autods.streams.stream.FeatureSet.batches` with seed ``(seed, epoch)``.
    """

    def __init__(self, size: int, batch_size: int, seed: int | None) -> None:
        self.size, self.batch_size, self.seed, self.epoch = size, batch_size, seed, 0

    def __len__(self) -> int:
        return math.ceil(self.size / self.batch_size)

    def __iter__(self) -> Iterator[npt.NDArray[np.int64]]:
        """Yield int64 [b] and count the epoch; the last batch may be short."""
        order = np.arange(self.size)
        if self.seed is not None:
            order = np.random.Generator(np.random.PCG64((self.seed, self.epoch))).permutation(order)
        self.epoch += 1
        yield from np.split(order, range(self.batch_size, self.size, self.batch_size))


def loader(
    dataset: TaskDataset, batch_size: int, seed: int | None = 0, **options: Any
) -> DataLoader[tuple[torch.Tensor, ...]]:
    """Return a loader of feature batches, each gathered in one copy; the last may be short.

    ``seed`` draws another order in every epoch; ``None`` keeps the order of the rows. ``options``
    are those of `torch.utils.data.DataLoader`, which serves images by itself.
    """
    return DataLoader(
        dataset, batch_size=None, sampler=Batches(len(dataset), batch_size, seed), **options
    )
