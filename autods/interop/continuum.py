"""Continuum: a scenario whose tasks are those of a stream."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from autods.interop.arrays import class_names, feature_sets
from autods.streams.feature_set import FeatureSet
from autods.streams.stream import Stream


def scenario(stream: Stream, split: str = "train", dtype: npt.DTypeLike = np.float32) -> Any:
    """Return one split of a stream as a `continuum.scenarios.ContinualScenario`.

    Task i of the scenario has the samples of task i of the stream, in their order: a sample is
    features [d], the global label and i. Continuum gives i in class-incremental scenarios too;
    a learner that must not know it ignores it. Features are read when a task is taken.
    ``class_names`` holds the names of all classes, by label. A task without samples is a
    `UsageError`.
    """
    from continuum.datasets import InMemoryDataset
    from continuum.scenarios import ContinualScenario
    from continuum.tasks import TaskType

    sets = feature_sets(stream, split, whole="Continuum")
    rows = _Rows(sets, stream.dim, dtype)
    y = np.concatenate([part.labels for part in sets])
    t = np.repeat(np.arange(len(sets)), [len(part) for part in sets])
    data = InMemoryDataset(rows, y, t, data_type=TaskType.TENSOR, train=split == "train")
    made = ContinualScenario(data)
    made.class_names = class_names(stream)
    return made


class _Rows:
    """The features of all tasks as if they lay in one array; indexing copies the rows."""

    def __init__(self, sets: list[FeatureSet], dim: int, dtype: npt.DTypeLike) -> None:
        self.sets, self.dtype = sets, np.dtype(dtype)
        self.ends = np.cumsum([len(part) for part in sets])
        self.shape = (int(self.ends[-1]), dim)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Return features [n, d] of some rows, int64 [n]."""
        rows = np.arange(len(self))[rows]  # slices and negative numbers too
        part_of = np.searchsorted(self.ends, rows, side="right")
        out = np.empty((*rows.shape, self.shape[1]), self.dtype)
        for k in np.unique(part_of):
            here = part_of == k
            features = self.sets[k].features
            out[here] = features[rows[here] - (self.ends[k] - len(features))]
        return out
