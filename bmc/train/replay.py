"""Preallocated samples of replay memories.

Which samples are kept, and where, is decided on the host, from counts, labels and random numbers
alone: `Rows.place`. What is then written, on the device, has the same size at every update, so
that a device never waits for the host, nor the host for it: `Rows.write`.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from autods.core.transfer import queued
from bmc.train.memory import first_of_each


class Rows:
    """Preallocated samples of a replay memory; the first ``len`` rows are in use.

    Memory is allocated once, so a step costs the same at the first task and at the last. One row
    more takes what is not kept.

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
        self._whole = {
            "features": torch.zeros(capacity + 1, dim, dtype=torch.float16, device=device),
            "labels": torch.zeros(capacity + 1, dtype=torch.int64, device=device),
            "outputs": torch.zeros(capacity + 1, n_outputs, dtype=torch.float16, device=device),
            "known": torch.zeros(capacity + 1, dtype=torch.int64, device=device),
        }
        self.features, self.labels, self.outputs, self.known = (
            column[:capacity] for column in self._whole.values()
        )
        self._stored = 0

    def __len__(self) -> int:
        return self._stored

    def place(self, labels: Tensor, generator: torch.Generator, task: int = 0) -> Tensor:
        """Decide where samples of one task, offered in their order, are stored.

        Takes labels int64 [n] on the host; returns the rows of the memory, int64 [n] on the host,
        ``capacity`` of a sample that is not kept. From now on they count as stored: `write` must
        follow, in the same order.
        """
        raise NotImplementedError

    def write(
        self, places: Tensor, features: Tensor, labels: Tensor, outputs: Tensor | None = None
    ) -> None:
        """Store samples [n, d], [n] where `place` said, int64 [n]; with outputs [n, c] or none.

        All are on the device.
        """
        whole = self._whole
        whole["features"].index_copy_(0, places, features.to(torch.float16))
        whole["labels"].index_copy_(0, places, labels)
        if outputs is not None:
            missing = whole["outputs"].shape[1] - outputs.shape[1]
            padded = functional.pad(outputs, (0, missing)).to(torch.float16)
            whole["outputs"].index_copy_(0, places, padded)
            whole["known"].index_fill_(0, places, outputs.shape[1])

    def add(
        self,
        features: Tensor,
        labels: Tensor,
        generator: torch.Generator,
        *,
        task: int = 0,
        outputs: Tensor | None = None,
    ) -> None:
        """Offer samples [n, d], [n] of one task in their order, with outputs [n, c] or none."""
        places = self.place(labels.cpu(), generator, task)
        kept = torch.nonzero(places < self.capacity)[:, 0]
        rows = queued(kept, features.device)
        given = None if outputs is None else outputs[rows]
        self.write(queued(places[kept], features.device), features[rows], labels[rows], given)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw ``count`` row numbers with replacement, int64 on the host; there must be rows."""
        return torch.randint(len(self), (count,), generator=generator)

    def _columns(self) -> dict[str, Tensor]:
        columns = {"features": self.features, "labels": self.labels}
        if self.outputs.shape[1]:
            columns |= {"outputs": self.outputs, "known": self.known}
        return columns

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

    def place(self, labels: Tensor, generator: torch.Generator, task: int = 0) -> Tensor:
        """Give sample i of all a random place among i; it is kept if that is in the memory."""
        n = len(labels)
        number = np.arange(self.seen, self.seen + n)
        uniform = torch.rand(n, generator=generator, dtype=torch.float64).numpy()
        slot = np.where(number < self.capacity, number, (uniform * (number + 1)).astype(np.int64))
        # of several samples for one slot the last stays, as if offered one by one
        slots, last = np.unique(slot[::-1], return_index=True)
        kept = slots < self.capacity
        places = torch.full((n,), self.capacity)
        places[torch.from_numpy((n - 1 - last)[kept])] = torch.from_numpy(slots[kept])
        self.seen += n
        return places

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
        int64 [capacity] on the host, the task that a sample came from; without ``by_task`` not
        kept.
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
        self.tasks = torch.zeros(capacity, dtype=torch.int64)
        self._classes = torch.zeros(capacity, dtype=torch.int64)  # the labels, on the host

    def _columns(self) -> dict[str, Tensor]:
        own = {"keys": self.keys} | ({"tasks": self.tasks} if self.by_task else {})
        return super()._columns() | own

    def place(self, labels: Tensor, generator: torch.Generator, task: int = 0) -> Tensor:
        """Choose among what is stored and what is offered; what stays does so where it is."""
        stored = len(self)
        own = (self._classes, self.tasks, self.keys)
        given = (
            labels,
            torch.full_like(labels, task),
            torch.rand(len(labels), generator=generator),
        )
        classes, tasks, keys = (
            torch.cat([column[:stored], new]) for column, new in zip(own, given, strict=True)
        )
        order = torch.argsort(keys, stable=True)
        groups = (classes, tasks) if self.by_task else (classes,)
        kept = first_of_each(self.capacity, order, *groups)
        entering = kept[kept >= stored] - stored
        free = torch.ones(len(kept), dtype=torch.bool)
        free[kept[kept < stored]] = False
        slots = torch.nonzero(free)[:, 0]
        for column, new in zip(own, given, strict=True):
            column[slots] = new[entering]
        places = torch.full_like(labels, self.capacity)
        places[entering] = slots
        self._stored = len(kept)
        return places

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` returned."""
        super().load_state(state)
        self._classes[: len(self)] = self.labels[: len(self)].cpu()

    def of_tasks(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the rows of all stored tasks, task by task: int64 on the CPU.

        The row numbers, and of each task where its rows begin among them and how many they are.
        """
        tasks, rows = torch.sort(self.tasks[: len(self)], stable=True)
        counts = torch.unique_consecutive(tasks, return_counts=True)[1]
        return rows, torch.cumsum(counts, 0) - counts, counts
