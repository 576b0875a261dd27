"""Features and labels of one split of one task, stored or in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

NORMALISATIONS = ("l2", "none")
SERIAL = 32_768  # numbers that torch converts without waking its thread pool
GATHERED = 256  # rows fetched at once: amortises the calls, stays in the processor's cache


@dataclass(frozen=True, eq=False, repr=False)
class FeatureSet:
    """Features and labels of one split of one task.

    Attributes
    ----------
    features
        Array [n, d], float16; may be memory-mapped.
    labels
        int64 [n], global class numbers of the stream.
    """

    features: npt.NDArray[Any]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"FeatureSet({len(self):,} samples, {self.dim} dimensions)"

    @property
    def dim(self) -> int:
        """Width d of the features."""
        return int(self.features.shape[1])

    def batches(
        self, batch_size: int, seed: int | Sequence[int], dtype: torch.dtype | None = None
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield one epoch of shuffled batches; every sample exactly once, the last may be short.

        Parameters
        ----------
        batch_size
            Samples per batch, b.
        seed
            Seed of the order; pass ``(seed, epoch)`` for another order in every epoch.
        dtype
            Type of the features; default float32.

        Yields
        ------
        Features [b, d] of ``dtype`` and labels int64 [b], CPU tensors; never the stored memory.
        """
        import torch

        features, labels = self.features, torch.from_numpy(self.labels)
        order = np.random.Generator(np.random.PCG64(seed)).permutation(len(self))
        rows = batch_size * max(1, GATHERED // batch_size)
        # One buffer for all: fresh memory for every gather would be paged in again and again.
        buffer = np.empty((min(rows, len(order)), self.dim), features.dtype)
        for start in range(0, len(order), rows):
            chosen = order[start : start + rows]
            gathered = buffer[: len(chosen)]
            np.take(features, chosen, axis=0, out=gathered, mode="clip")  # "raise" would buffer
            x = torch.empty(gathered.shape, dtype=dtype or torch.float32)  # [rows, d]
            # One thread outruns the memory; waiting for a second one that is busy elsewhere
            # (another run, a worker) was measured to cost a factor of 50.
            pieces = torch.split(torch.from_numpy(gathered).view(-1), SERIAL)
            for target, piece in zip(torch.split(x.view(-1), SERIAL), pieces, strict=True):
                target.copy_(piece)
            y = labels[torch.from_numpy(chosen)]  # [rows]
            yield from zip(torch.split(x, batch_size), torch.split(y, batch_size), strict=True)


class StoredFeatureSet(FeatureSet):
    """A feature set whose features [n, d] are loaded when they are first asked for, then kept."""

    _load: Callable[[], npt.NDArray[Any]]
    _dim: int

    def __init__(
        self, load: Callable[[], npt.NDArray[Any]], labels: npt.NDArray[np.int64], dim: int
    ) -> None:
        object.__setattr__(self, "labels", labels)  # the base class is frozen
        object.__setattr__(self, "_load", load)
        object.__setattr__(self, "_dim", dim)

    @cached_property
    def features(self) -> npt.NDArray[Any]:
        """Array [n, d], float16; a view of the memory map unless the rows had to be changed."""
        return self._load()

    @property
    def dim(self) -> int:
        """Width d of the features."""
        return self._dim


def l2_normalize(features: npt.NDArray[Any], block: int = 8192) -> npt.NDArray[np.float16]:
    """Scale rows [n, d] to length 1, in float32 by blocks of rows; zero rows stay zero."""
    out = np.empty(features.shape, np.float16)
    for start in range(0, len(features), block):
        rows = features[start : start + block].astype(np.float32)
        length = np.sqrt(np.einsum("nd,nd->n", rows, rows))[:, None]
        out[start : start + block] = rows / np.where(length > 0, length, 1)
    return out
