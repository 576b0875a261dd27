"""From label sets to rows of shards: which feature, which labels, which split.

A row is one entry of the published lists. A path that a list names twice makes two rows, so
that protocol ``paper`` counts as published.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autods.features.shards import CODES
from autods.index.splits import hold_out
from autods.interop.published.metadata import LabelSet

Codes = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of one published split, all arrays of length n.

    ``feature``, int64, ascending: position among the keys of the database. ``labels``: label set
    to class numbers, int32, -1 for none. ``codes``, uint8: the split, as in
    `autods.features.shards.CODES`.
    """

    feature: npt.NDArray[np.int64]
    labels: dict[str, npt.NDArray[np.int32]]
    codes: Codes

    def __len__(self) -> int:
        return len(self.feature)


def make_rows(sets: Mapping[str, LabelSet], split: str, features: int) -> Rows:
    """Join the lists of all label sets of a published split that has so many features.

    ``val`` becomes ``test``. A feature that no list names has no row.
    """
    entries = {task: label_set.splits[split].feature for task, label_set in sets.items()}
    times = np.zeros(features, np.int64)  # rows of each feature
    for numbers in entries.values():
        np.maximum(times, np.bincount(numbers, minlength=features), out=times)
    first = np.cumsum(times) - times  # its first row
    count = int(times.sum())
    labels = {}
    for task, numbers in entries.items():
        labels[task] = np.full(count, -1, np.int32)
        order = np.argsort(numbers, kind="stable")
        ascending = numbers[order]
        # the how-manieth entry of its feature each one is, for those that are listed twice
        repeat = np.arange(len(order)) - np.searchsorted(ascending, ascending)
        labels[task][first[ascending] + repeat] = sets[task].splits[split].labels[order]
    code = CODES["train" if split == "train" else "test"]
    return Rows(np.repeat(np.arange(features), times), labels, np.full(count, code, np.uint8))


def hold_out_dev(rows: Rows, tasks: Sequence[str], fraction: float, seed: int) -> None:
    """Move a seeded part of the train rows to dev, in place.

    Stratified by the first of ``tasks`` that labels a row; each class keeps a row in train.
    """
    open_rows = rows.codes == CODES["train"]
    for task in tasks:
        mine = np.flatnonzero(open_rows & (rows.labels[task] >= 0))
        held = hold_out(rows.labels[task][mine], fraction, seed)
        rows.codes[mine[held]] = CODES["dev"]
        open_rows[mine] = False
