"""Samples with their phi, and which of many are kept: expert buffers and BMC's memory."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from bmc.train.packed import from_message, to_message


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
    return first_of_each(count, order, *groups).to(groups[0].device)


def first_of_each(count: int, order: Tensor, *groups: Tensor) -> Tensor:
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
