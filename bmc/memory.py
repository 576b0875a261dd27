"""Preallocated stores of samples: replay memory, expert buffers, BMC's memory."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor


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


class Reservoir:
    """Reservoir sampling (Vitter's algorithm R) into preallocated tensors.

    Every sample offered so far is kept with equal probability. Memory is allocated once,
    so a step costs the same at the first task and at the last.
    """

    def __init__(self, capacity: int, dim: int, device: torch.device) -> None:
        self.capacity = capacity
        self.seen = 0
        self.features = torch.zeros(capacity, dim, dtype=torch.float16, device=device)
        self.labels = torch.zeros(capacity, dtype=torch.int64, device=device)

    def __len__(self) -> int:
        return min(self.seen, self.capacity)

    def add(self, features: Tensor, labels: Tensor, generator: torch.Generator) -> None:
        """Offer samples [n, d], [n] in their order."""
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
        self.seen += n

    def sample(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw ``count`` stored samples with replacement: [count, d], [count]."""
        rows = torch.randint(len(self), (count,), generator=generator).to(self.labels.device)
        return self.features[rows], self.labels[rows]

    def nbytes(self) -> int:
        """Bytes of the stored samples, labels counted as 4 bytes each."""
        return len(self) * (self.features.shape[1] * self.features.element_size() + 4)

    def state(self) -> dict[str, Tensor]:
        """Return the stored samples and the number offered, for a checkpoint."""
        n = len(self)
        return {
            "reservoir.features": self.features[:n],
            "reservoir.labels": self.labels[:n],
            "reservoir.seen": torch.tensor([self.seen]),
        }

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` returned."""
        self.seen = int(state["reservoir.seen"])
        n = len(self)
        self.features[:n] = state["reservoir.features"].to(self.features.device)
        self.labels[:n] = state["reservoir.labels"].to(self.labels.device)
