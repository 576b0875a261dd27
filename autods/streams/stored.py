"""A dataset's stored features as a table whose rows are read, and normalised, when asked for."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autods.features.sets import StoredFeatures
from autods.features.shards import read_shard
from autods.streams.feature_set import Rows, l2_normalize

OPENED = 256  # datasets that one process keeps mapped


class FeatureTable:
    """All N rows of one dataset's stored features, under one normalisation; none is kept.

    The rows are those of `autods.features.sets.StoredFeatures`. ``table[rows]``, int64 [m] in any
    order, copies them: float16 [m, d]. Pickled, a table is the paths of its shards, so that
    processes of one machine share one memory map of each file; another process reads the same
    bits, or gets a `StoreError` if a shard is gone.
    """

    def __init__(self, stored: StoredFeatures, normalize: str) -> None:
        self.stored = stored
        self.normalize = normalize

    def __len__(self) -> int:
        return int(self.stored.starts[-1])

    def __getitem__(self, rows: Rows) -> npt.NDArray[np.float16]:
        features = self.stored.gather(rows)
        return l2_normalize(features) if self.normalize == "l2" else features

    def load(self, rows: Rows) -> npt.NDArray[np.float16]:
        """Return ascending rows: float16 [n, d]; as stored, neighbours are a view of the map."""
        features = self.stored.take(rows)
        return l2_normalize(features) if self.normalize == "l2" else features

    def __reduce__(self) -> tuple[Any, ...]:
        stored = self.stored
        paths = tuple(shard.path for shard in stored.shards)
        return _reopened, (stored.encoder, stored.dataset, paths, self.normalize)


@lru_cache(maxsize=OPENED)
def _reopened(encoder: str, dataset: str, paths: tuple[Path, ...], normalize: str) -> FeatureTable:
    stored = StoredFeatures(encoder, dataset, tuple(map(read_shard, paths)))
    return FeatureTable(stored, normalize)
