"""Streams: ordered tasks over feature sets, with one owner of label numbering."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class FeatureSet:
    """Features and labels of one split of one task.

    Attributes
    ----------
    features
        Array [n, d], float16 (float32 from generated streams); may be memory-mapped.
    labels
        int64 [n], global class numbers of the stream.
    """

    features: npt.NDArray[Any]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Task:
    """One task of a stream; its classes are numbered from ``class_offset`` on."""

    name: str
    dataset: str
    index: int
    class_names: list[str]
    class_offset: int
    train: FeatureSet
    dev: FeatureSet
    test: FeatureSet


@dataclass(frozen=True)
class Stream:
    """Tasks in order. ``normalize`` says what was done to the features: ``l2`` or ``none``."""

    name: str
    scenario: str
    tasks: list[Task]
    normalize: str
    provenance: dict[str, Any]

    @property
    def n_classes(self) -> int:
        """Number of classes over all tasks."""
        return sum(len(task.class_names) for task in self.tasks)

    @property
    def dim(self) -> int:
        """Width d of the features."""
        return int(self.tasks[0].train.features.shape[1])
