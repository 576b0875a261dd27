"""Preallocated stores of samples: replay memory, expert buffers, BMC's memory."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bmc.train.packed import from_message, to_message
from bmc.train.rows import Features, InOrder

Given = dict[str, Any]  # samples that are offered, by column: tensors, features of any kind


@dataclass(frozen=True)
class Samples:
    """Samples with the intermediate features of the model that stored them."""

    features: Tensor  # [n, d] in the precision of the stream
    labels: Tensor  # int64 [n], global class numbers
    tasks: Tensor  # int64 [n], the task each sample came from
    phi: Tensor  # float16 [n, sum of layer widths], the layers side by side

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self, index: Tensor) -> Samples:
        """Return the samples at ``index`` (int64 [m])."""
        return Samples(*(column[index] for column in vars(self).values()))

    def nbytes(self) -> int:
        """Bytes of all tensors, labels and task numbers counted as 4 bytes each."""
        stored = sum(t.numel() * t.element_size() for t in (self.features, self.phi))
        return stored + 8 * len(self)

    def state(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors by prefixed name, labels and task numbers as int32."""
        return {
            f"{prefix}.{name}": t.int() if t.dtype == torch.int64 else t
            for name, t in vars(self).items()
        }

    @classmethod
    def from_state(cls, state: dict[str, Tensor], prefix: str, device: torch.device) -> Samples:
        """Take over what `state` returned."""
        tensors = {f.name: state[f"{prefix}.{f.name}"].to(device) for f in fields(cls)}
        return cls(**{n: t.long() if t.dtype == torch.int32 else t for n, t in tensors.items()})

    def to_bytes(self) -> bytes:
        """Return the samples as one safetensors file: what an expert sends, `nbytes` and a header.

        The header takes less than 400 bytes.
        """
        return to_message(self.state("buffer"))

    @classmethod
    def from_bytes(cls, data: bytes, device: torch.device) -> Samples:
        """Take over what `to_bytes` returned."""
        return cls.from_state(from_message(data, device), "buffer", device)


def concatenate(parts: list[Samples]) -> Samples:
    """Join samples in the given order."""
    return Samples(*map(torch.cat, zip(*(vars(part).values() for part in parts), strict=True)))


def balanced_choice(count: int, generator: torch.Generator, *groups: Tensor) -> Tensor:
    """Choose up to ``count`` rows at random so that all groups are as equally present as possible.

    ``groups``, int64 [n] each, lead from the inner to the outer grouping: ``labels, tasks``
    takes equally many samples of each task and, within a task, of each class. Returns the row
    numbers, int64, rising.
    """
    order = torch.randperm(len(groups[0]), generator=generator)
    return _balanced(count, order, *groups).to(groups[0].device)


def _balanced(count: int, order: Tensor, *groups: Tensor) -> Tensor:
    """Choose rows as `balanced_choice` does; of a group, those that come first in ``order``."""
    for group in groups:
        order = order[torch.argsort(_rank_in_group(group.cpu()[order]), stable=True)]
    return order[:count].sort().values


def share_of_each(count: int, generator: torch.Generator, groups: Tensor) -> Tensor:
    """Choose ceil(count / number of groups) + 1 random rows of each group, or all that it has.

    How the published code of BMC cuts its memory, with a task's samples as a group; so there may
    be more than ``count``. ``groups`` int64 [n]; returns the row numbers, int64, rising.
    """
    order = torch.randperm(len(groups), generator=generator)
    share = -(-count // len(torch.unique(groups))) + 1
    kept = order[_rank_in_group(groups.cpu()[order]) < share]
    return kept.sort().values.to(groups.device)


def _rank_in_group(groups: Tensor) -> Tensor:
    """Return how many earlier rows have the same group, int64 [n]."""
    by_group = torch.argsort(groups, stable=True)
    sizes = torch.bincount(groups)
    starts = torch.cumsum(sizes, 0) - sizes
    rank = torch.empty_like(by_group)
    rank[by_group] = torch.arange(len(groups)) - starts[groups[by_group]]
    return rank


class Rows:
    """Preallocated samples of a replay memory; the first ``len`` rows are in use.

    Memory is allocated once, so a step costs the same at the first task and at the last.

    Attributes
    ----------
    features
        float16 [capacity, d].
    labels
        int64 [capacity].
    outputs
        float16 [capacity, n_outputs], what a network gave for a sample when it was stored: of
        row i the first ``known[i]``, the others 0. Without columns, none are kept.
    known
        int64 [capacity], how many classes the network knew then.
    """

    prefix: ClassVar[str]

    def __init__(self, capacity: int, dim: int, device: torch.device, n_outputs: int = 0) -> None:
        self.capacity = capacity
        self.features = torch.zeros(capacity, dim, dtype=torch.float16, device=device)
        self.labels = torch.zeros(capacity, dtype=torch.int64, device=device)
        self.outputs = torch.zeros(capacity, n_outputs, dtype=torch.float16, device=device)
        self.known = torch.zeros(capacity, dtype=torch.int64, device=device)
        self._stored = 0

    def __len__(self) -> int:
        return self._stored

    def add(
        self,
        features: Features | InOrder,
        labels: Tensor,
        generator: torch.Generator,
        *,
        task: int = 0,
        outputs: Tensor | None = None,
    ) -> None:
        """Offer samples [n, d], [n] of one task in their order, with outputs [n, c] or none.

        Only the features of samples that are kept are read.
        """
        given: Given = {
            "features": features, "labels": labels, "tasks": torch.full_like(labels, task)
        }  # fmt: skip
        if outputs is not None:
            given["outputs"] = functional.pad(
                outputs, (0, self.outputs.shape[1] - outputs.shape[1])
            )
            given["known"] = torch.full_like(labels, outputs.shape[1])
        self._offer(given, generator)

    def _offer(self, given: Given, generator: torch.Generator) -> None:
        """Store what the memory keeps of rows given by column."""
        raise NotImplementedError

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw ``count`` row numbers with replacement, int64 on the device; there must be rows."""
        rows = torch.randint(len(self), (count,), generator=generator)
        return rows.to(self.labels.device, non_blocking=True)

    def _columns(self) -> dict[str, Tensor]:
        columns = {"features": self.features, "labels": self.labels}
        if self.outputs.shape[1]:
            columns |= {"outputs": self.outputs, "known": self.known}
        return columns

    def _put(self, rows: Tensor, given: Given, source: Tensor) -> None:
        """Write rows ``source`` of given columns to ``rows``, int64 [n] both."""
        for name, column in self._columns().items():
            kept = given[name][source.to(given[name].device)]
            column[rows.to(column.device)] = kept.to(column)

    def state(self) -> dict[str, Tensor]:
        """Return the stored samples: whole numbers as int32, of the outputs only the known ones."""
        columns = {name: column[: len(self)] for name, column in self._columns().items()}
        if "outputs" in columns:
            columns["outputs"] = columns["outputs"][self._is_known()]
        return {
            f"{self.prefix}.{name}": t.int() if t.dtype == torch.int64 else t
            for name, t in columns.items()
        }

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` returned."""
        self._stored = len(state[f"{self.prefix}.labels"])
        columns = self._columns()
        outputs = columns.pop("outputs", None)
        for name, column in columns.items():
            column[: self._stored] = state[f"{self.prefix}.{name}"].to(column)
        if outputs is not None:
            known = state[f"{self.prefix}.outputs"].to(outputs)
            outputs.zero_()[: self._stored][self._is_known()] = known

    def _is_known(self) -> Tensor:
        """Tell which outputs of the stored samples are of classes known then: bool [n, c]."""
        classes = torch.arange(self.outputs.shape[1], device=self.known.device)
        return classes < self.known[: len(self), None]


class Reservoir(Rows):
    """Reservoir sampling (Vitter's algorithm R): of every sample offered, equal probability."""

    prefix = "reservoir"

    def __init__(self, capacity: int, dim: int, device: torch.device, n_outputs: int = 0) -> None:
        super().__init__(capacity, dim, device, n_outputs)
        self.seen = 0

    def __len__(self) -> int:
        return min(self.seen, self.capacity)

    def _offer(self, given: Given, generator: torch.Generator) -> None:
        n = len(given["labels"])
        number = np.arange(self.seen, self.seen + n)
        uniform = torch.rand(n, generator=generator, dtype=torch.float64).numpy()
        slot = np.where(number < self.capacity, number, (uniform * (number + 1)).astype(np.int64))
        # of several samples for one slot the last stays, as if offered one by one
        slots, last = np.unique(slot[::-1], return_index=True)
        kept = slots < self.capacity
        source = (n - 1 - last)[kept]
        self._put(torch.from_numpy(slots[kept]), given, torch.from_numpy(source))
        self.seen += n

    def state(self) -> dict[str, Tensor]:
        """Return the stored samples and the number offered, for a checkpoint."""
        return super().state() | {"reservoir.seen": torch.tensor([self.seen])}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` returned."""
        self.seen = int(state["reservoir.seen"])
        super().load_state(state)


class BalancedMemory(Rows):
    """A memory that classes share evenly, or tasks and within each its classes.

    Each sample offered gets a random number as its key. The memory keeps those that a balanced
    choice from all samples ever offered would, the smallest keys of each class first: samples of
    a class are a uniform sample of the class, whatever the order and the batches of offers.

    Attributes
    ----------
    keys
        float32 [capacity] on the host, from 0 to 1.
    tasks
        int64 [capacity], the task that a sample came from; without ``by_task`` not kept.
    """

    prefix = "memory"

    def __init__(
        self,
        capacity: int,
        dim: int,
        device: torch.device,
        n_outputs: int = 0,
        *,
        by_task: bool = True,
    ) -> None:
        super().__init__(capacity, dim, device, n_outputs)
        self.by_task = by_task
        self.keys = torch.zeros(capacity)
        self.tasks = torch.zeros(capacity, dtype=torch.int64, device=device)

    def _columns(self) -> dict[str, Tensor]:
        own = {"keys": self.keys} | ({"tasks": self.tasks} if self.by_task else {})
        return super()._columns() | own

    def _offer(self, given: Given, generator: torch.Generator) -> None:
        n, stored = len(given["labels"]), len(self)
        given["keys"] = torch.rand(n, generator=generator)
        groups = [
            torch.cat([column[:stored], given[name]]).cpu()
            for name, column in {"labels": self.labels, "tasks": self.tasks}.items()
        ]
        keys = torch.cat([self.keys[:stored], given["keys"]])
        order = torch.argsort(keys, stable=True)
        kept = _balanced(self.capacity, order, *groups[: 2 if self.by_task else 1])
        entering = kept[kept >= stored] - stored
        free = torch.ones(len(kept), dtype=torch.bool)
        free[kept[kept < stored]] = False  # samples that stay do so where they are
        self._put(torch.nonzero(free)[:, 0], given, entering)
        self._stored = len(kept)

    def of_tasks(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the rows of all stored tasks, task by task: int64 on the CPU.

        The row numbers, and of each task where its rows begin among them and how many they are.
        """
        tasks, rows = torch.sort(self.tasks[: len(self)].cpu(), stable=True)
        counts = torch.unique_consecutive(tasks, return_counts=True)[1]
        return rows, torch.cumsum(counts, 0) - counts, counts
