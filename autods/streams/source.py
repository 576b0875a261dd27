"""One dataset of a stream: its stored features under one labelling, split by a protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autods.core.registry import unknown
from autods.core.root import DataRoot
from autods.errors import StoreError
from autods.features.sets import StoredFeatures, open_features
from autods.features.shards import CODES, broken
from autods.manifest.schema import StreamItem, StreamSpec

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Source:
    """One dataset under one labelling: rows of each split after the protocol's removals."""

    stored: StoredFeatures
    label_set: str
    labels: npt.NDArray[np.int32]  # int32 [N], the dataset's own numbers, -1 for none
    rows: dict[str, Rows]  # split to int64 [n], ascending rows of ``stored``
    removed: dict[str, int]  # reason to number of rows that the protocol leaves out

    @property
    def name(self) -> str:
        """Name of the dataset, and of the labelling unless it is the default one."""
        default = self.label_set == self.stored.info.default_task
        return self.stored.dataset if default else f"{self.stored.dataset}/{self.label_set}"

    @property
    def class_names(self) -> Sequence[str]:
        """Names of the classes of the labelling, in the dataset's own numbering."""
        return self.stored.info.class_names[self.label_set]


def open_sources(spec: StreamSpec, root: DataRoot, encoder: str, protocol: str) -> list[Source]:
    """Open the features of every item; items of one dataset and label set share them."""
    opened: dict[tuple[str, str | None], Source] = {}
    for item in spec.datasets:
        key = item.dataset, item.task
        if key not in opened:
            opened[key] = open_source(item, root, encoder, protocol)
    return [opened[item.dataset, item.task] for item in spec.datasets]


def open_source(item: StreamItem, root: DataRoot, encoder: str, protocol: str) -> Source:
    """Open the features of one dataset, and choose the rows that a protocol uses."""
    stored = open_features(root, encoder, item.dataset)
    label_set = item.task or stored.info.default_task
    if label_set not in stored.info.class_names:
        raise unknown(f"task of dataset '{item.dataset}'", label_set, stored.info.class_names)
    _check_labels(stored, label_set)
    labels = stored.labels(label_set)
    member = stored.membership(protocol)
    rows = {s: np.flatnonzero((member == code) & (labels >= 0)) for s, code in CODES.items()}
    removed: dict[str, int] = {}
    if protocol == "clean":
        removed = _remove_duplicates(rows, labels, stored.content_hash)
    return Source(stored, label_set, labels, rows, removed)


def _remove_duplicates(
    rows: dict[str, Rows],
    labels: npt.NDArray[np.int32],
    content_hash: npt.NDArray[np.uint64],
) -> dict[str, int]:
    """Take duplicates out of train and dev, in place; return how many, by reason.

    Test stays as published. A sample of train or dev goes when its content is in test; when
    the same content stands under different labels in train and dev (all copies go: none is
    known to be right); and when it is a further copy (the first stays, train before dev).
    """
    learning = np.concatenate([rows["train"], rows["dev"]])  # [n]
    hashes = content_hash[learning]
    in_test = np.isin(hashes, content_hash[rows["test"]])
    _, first, group = np.unique(hashes, return_index=True, return_inverse=True)
    contradicts = labels[learning] != labels[learning[first[group]]]
    contradictory = np.isin(group, group[contradicts]) & ~in_test
    repeated = (first[group] != np.arange(len(learning))) & ~in_test & ~contradictory
    keep = ~(in_test | contradictory | repeated)
    n_train = len(rows["train"])
    rows["train"] = rows["train"][keep[:n_train]]
    rows["dev"] = rows["dev"][keep[n_train:]]
    return {
        "in_test": int(in_test.sum()),
        "contradictory": int(contradictory.sum()),
        "repeated": int(repeated.sum()),
    }


def _check_labels(stored: StoredFeatures, label_set: str) -> None:
    """Refuse a shard with a label of no class: a bit may have flipped since it was hashed."""
    count = len(stored.info.class_names[label_set])
    for shard in stored.shards:
        largest = int(shard.labels[label_set].max(initial=-1))
        if largest >= count:
            what = f"holds label {largest} of '{label_set}', which has {count} classes"
            raise StoreError(broken(shard.path, what))
