"""Preallocated stores of samples: replay memory, expert buffers, BMC's memory."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Samples:
    """Samples with the intermediate features of the model that stored them.

    Attributes
    ----------
    features
        [n, d] in the precision of the stream.
    labels
        int64 [n], global class numbers.
    tasks
        int64 [n], the task each sample came from.
    phi
        float16 [n, sum of layer widths], the layers side by side; zero columns for
        methods that store none.
    """

    features: Tensor
    labels: Tensor
    tasks: Tensor
    phi: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self, index: Tensor) -> Samples:
        """Return the samples at ``index`` (int64 [m])."""
        return Samples(self.features[index], self.labels[index], self.tasks[index], self.phi[index])

    def nbytes(self) -> int:
        """Bytes of all tensors, labels and task numbers counted as 4 bytes each."""
        stored = sum(t.numel() * t.element_size() for t in (self.features, self.phi))
        return stored + 8 * len(self)

    def state(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors by prefixed name, labels and task numbers as int32."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        return {
            f"{prefix}.{name}": t.int() if t.dtype == torch.int64 else t
            for name, t in tensors.items()
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
        from safetensors.torch import save

        return save({name: tensor.contiguous() for name, tensor in self.state("buffer").items()})

    @classmethod
    def from_bytes(cls, data: bytes, device: torch.device) -> Samples:
        """Take over what `to_bytes` returned."""
        from safetensors.torch import load

        return cls.from_state(load(data), "buffer", device)


def concatenate(parts: list[Samples]) -> Samples:
    """Join samples in the given order."""
    return Samples(
        torch.cat([p.features for p in parts]),
        torch.cat([p.labels for p in parts]),
        torch.cat([p.tasks for p in parts]),
        torch.cat([p.phi for p in parts]),
    )


def balanced_choice(count: int, generator: torch.Generator, *groups: Tensor) -> Tensor:
    """Choose up to ``count`` rows so that all groups are as equally present as possible.

    Parameters
    ----------
    count
        Rows wanted; all rows are returned when there are fewer.
    groups
        int64 [n] each, from the inner to the outer grouping: ``labels, tasks`` takes
        equally many samples of each task and, within a task, of each class.

    Returns
    -------
    int64, the chosen row numbers in rising order.
    """
    order = torch.randperm(len(groups[0]), generator=generator)
    for group in groups:
        order = order[torch.argsort(_rank_in_group(group.cpu()[order]), stable=True)]
    return order[:count].sort().values.to(groups[0].device)


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

    Parameters
    ----------
    capacity
        Samples that fit.
    dim
        Width d of the features.
    device
        Where they are kept.
    n_outputs
        Room for what a network gave for a sample when it was stored; 0: that is not kept.

    Attributes
    ----------
    features
        float16 [capacity, d].
    labels
        int64 [capacity].
    outputs
        float16 [capacity, n_outputs]; of row i the first ``known[i]`` were given, the others 0.
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

    def __len__(self) -> int:
        raise NotImplementedError

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
        raise NotImplementedError

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw ``count`` row numbers with replacement, int64 on the device; there must be rows."""
        rows = torch.randint(len(self), (count,), generator=generator)
        return rows.to(self.labels.device, non_blocking=True)

    def sample(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw ``count`` stored samples with replacement: [count, d], [count]."""
        rows = self.draw(count, generator)
        return self.features[rows], self.labels[rows]

    def nbytes(self) -> int:
        """Bytes of the stored samples, whole numbers counted as 4 bytes each."""
        n = len(self)
        size = n * (self.features.shape[1] * self.features.element_size() + 4)
        if self.outputs.shape[1]:
            size += self.outputs.element_size() * int(self.known[:n].sum()) + 4 * n
        return size

    def state(self) -> dict[str, Tensor]:
        """Return the stored samples, for a checkpoint."""
        return {f"{self.prefix}.{name}": t[: len(self)] for name, t in self._columns().items()}

    def _columns(self) -> dict[str, Tensor]:
        columns = {"features": self.features, "labels": self.labels}
        if self.outputs.shape[1]:
            columns |= {"outputs": self.outputs, "known": self.known}
        return columns

    def _load(self, state: dict[str, Tensor]) -> int:
        """Take over the samples of `state`; return how many there are."""
        for name, tensor in self._columns().items():
            given = state[f"{self.prefix}.{name}"]
            tensor[: len(given)] = given.to(tensor.device)
        return len(state[f"{self.prefix}.labels"])


class Reservoir(Rows):
    """Reservoir sampling (Vitter's algorithm R): of every sample offered, equal probability."""

    prefix = "reservoir"

    def __init__(self, capacity: int, dim: int, device: torch.device, n_outputs: int = 0) -> None:
        super().__init__(capacity, dim, device, n_outputs)
        self.seen = 0

    def __len__(self) -> int:
        return min(self.seen, self.capacity)

    def add(
        self,
        features: Tensor,
        labels: Tensor,
        generator: torch.Generator,
        *,
        task: int = 0,
        outputs: Tensor | None = None,
    ) -> None:
        """Offer samples; see `Rows.add`. Their task makes no difference."""
        n = len(labels)
        number = np.arange(self.seen, self.seen + n)
        uniform = torch.rand(n, generator=generator, dtype=torch.float64).numpy()
        slot = np.where(number < self.capacity, number, (uniform * (number + 1)).astype(np.int64))
        # of several samples for one slot the last stays, as if offered one by one
        slots, last = np.unique(slot[::-1], return_index=True)
        rows = n - 1 - last
        kept = slots < self.capacity
        where = torch.from_numpy(slots[kept]).to(self.labels.device)
        source = torch.from_numpy(rows[kept]).to(self.labels.device)
        self.features[where] = features[source].to(self.features.dtype)
        self.labels[where] = labels[source]
        if outputs is not None:
            self.outputs[where] = _padded(outputs[source], self.outputs)
            self.known[where] = outputs.shape[1]
        self.seen += n

    def state(self) -> dict[str, Tensor]:
        """Return the stored samples and the number offered, for a checkpoint."""
        return super().state() | {"reservoir.seen": torch.tensor([self.seen])}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` returned."""
        self.seen = int(state["reservoir.seen"])
        self._load(state)


class TaskMemory(Rows):
    """A memory that all tasks share evenly, and within a task its classes.

    It gives former tasks' room to the next. Rows of a task lie side by side, in the order of
    the tasks.

    Attributes
    ----------
    tasks
        int64 [capacity], the task each sample came from.
    """

    prefix = "memory"

    def __init__(self, capacity: int, dim: int, device: torch.device, n_outputs: int = 0) -> None:
        super().__init__(capacity, dim, device, n_outputs)
        self.tasks = torch.zeros(capacity, dtype=torch.int64, device=device)
        self._stored = 0

    def __len__(self) -> int:
        return self._stored

    def add(
        self,
        features: Tensor,
        labels: Tensor,
        generator: torch.Generator,
        *,
        task: int = 0,
        outputs: Tensor | None = None,
    ) -> None:
        """Take samples of a task that follows all stored ones; see `Rows.add`."""
        n = self._stored
        given = {"features": features, "labels": labels, "tasks": torch.full_like(labels, task)}
        if outputs is not None:
            given["outputs"] = _padded(outputs, self.outputs)
            given["known"] = torch.full_like(labels, outputs.shape[1])
        columns = self._columns()
        both = {
            name: torch.cat([columns[name][:n], tensor.to(columns[name].dtype)])
            for name, tensor in given.items()
        }
        kept = balanced_choice(self.capacity, generator, both["labels"], both["tasks"])
        self._stored = len(kept)
        for name, tensor in both.items():
            columns[name][: len(kept)] = tensor[kept]

    def by_task(self) -> tuple[Tensor, Tensor]:
        """Return the first row and the number of rows of each stored task, int64 on the CPU."""
        counts = torch.unique_consecutive(self.tasks[: len(self)].cpu(), return_counts=True)[1]
        return torch.cumsum(counts, 0) - counts, counts

    def nbytes(self) -> int:
        """Bytes of the stored samples, whole numbers counted as 4 bytes each."""
        return super().nbytes() + 4 * len(self)

    def _columns(self) -> dict[str, Tensor]:
        return super()._columns() | {"tasks": self.tasks}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` returned."""
        self._stored = self._load(state)


def _padded(outputs: Tensor, room: Tensor) -> Tensor:
    """Fill outputs [n, c] with zeros to the width of the room for them."""
    return functional.pad(outputs.to(room.dtype), (0, room.shape[1] - outputs.shape[1]))
