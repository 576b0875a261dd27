"""What near-duplicates mean: within splits, across splits, between datasets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from autods.checks.near import Floats, Joined, Pairs, Rows
from autods.features.sets import StoredFeatures
from autods.features.shards import CODES

DIFFER = 0.6  # correlation of pixels below which two images are no copies, whatever features say
KEPT = 50_000  # pairs that are remembered, the nearest ones
PENDING = 2_000_000  # pairs that wait to be joined to groups
NONE = Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), *np.zeros((2, 0), np.float32))
ACROSS = (("train", "test"), ("dev", "test"), ("dev", "train"))


class NearDuplicates:
    """Counts pairs of near-duplicates as they are found; exact copies (equal hashes) are no such.

    Attributes
    ----------
    total
        Pairs found within datasets and between them; exact copies are not counted.
    apart
        Pairs that are not counted either, as their pixels differ (`DIFFER`).
    kept, alike
        The nearest of both, at most `KEPT` each, best first once `finish` was called.
    group
        int64 [N], the number of each row's group: all pairs and exact copies share one.
    """

    def __init__(self, table: Joined) -> None:
        self.table, count = table, len(table)
        self.owner = table.set_of(np.arange(count)).astype(np.int16)
        self.split = np.concatenate([stored.membership("clean") for stored in table.sets])
        self.label = np.concatenate([s.labels(s.info.default_task) for s in table.sets])
        self.content = np.concatenate([stored.content_hash for stored in table.sets])
        self.total = self.apart = 0
        self.kept = self.alike = NONE
        self.group: Rows = np.arange(count)
        self._beside = np.zeros(count, np.uint8)  # bit c: a near-duplicate is in split c
        self._later = np.zeros(count, np.uint8)  # bit c: one before it is in split c, its own
        self._conflict = np.zeros(count, np.bool_)
        self._elsewhere = np.zeros(0, np.int64)  # row * sets + number of the other's set, unique
        self._between = np.zeros((len(table.sets), len(table.sets)), np.int64)
        self._waiting: list[Pairs] = []

    def add(self, pairs: Pairs) -> None:
        """Enter some pairs."""
        self._waiting.append(pairs)
        if sum(len(waiting.a) for waiting in self._waiting) > PENDING:
            self._join()
        pairs = pairs[self.content[pairs.a] != self.content[pairs.b]]
        differ = pairs.pixels < DIFFER
        self.apart += int(differ.sum())
        self.alike = _nearest(self.alike, pairs[differ])
        pairs = pairs[~differ]
        a, b = pairs.a, pairs.b
        self.total += len(a)
        self.kept = _nearest(self.kept, pairs)
        same = self.owner[a] == self.owner[b]
        self._count_within(a[same], b[same])
        self._count_between(a[~same], b[~same])

    def finish(self) -> None:
        """Join what waits to groups, and sort the pairs that are kept."""
        self._join()
        self.kept, self.alike = _ranked(self.kept), _ranked(self.alike)

    def within(self, number: int) -> dict[str, Any]:
        """Return the counts of one dataset, in images."""
        start, stop = self.table.starts[number : number + 2]
        split, beside = self.split[start:stop], self._beside[start:stop]
        later = self._later[start:stop]
        return {
            "images": int((beside > 0).sum()),
            "within": {
                name: int(((split == code) & (later >> code & 1 > 0)).sum())
                for name, code in CODES.items()
            },
            "across": {
                f"{one} in {other}": int(
                    ((split == CODES[one]) & (beside >> CODES[other] & 1 > 0)).sum()
                )
                for one, other in ACROSS
            },
            "conflicts": int(self._conflict[start:stop].sum()),
        }

    def between(self) -> list[dict[str, Any]]:
        """Return the pairs of datasets that share images, most pairs first."""
        names = [stored.dataset for stored in self.table.sets]
        count = len(names)
        images = np.zeros((count, count), np.int64)  # of one with a near-duplicate in another
        np.add.at(images, (self.owner[self._elsewhere // count], self._elsewhere % count), 1)
        found = np.argwhere(self._between).tolist()
        ranked = sorted(found, key=lambda pair: (-self._between[tuple(pair)], pair))
        return [
            {
                "datasets": [names[one], names[other]],
                "pairs": int(self._between[one, other]),
                "images": [int(images[one, other]), int(images[other, one])],
            }
            for one, other in ranked
        ]

    def _count_within(self, a: Rows, b: Rows) -> None:
        one, other = self.split[a], self.split[b]
        np.bitwise_or.at(self._beside, a, np.uint8(1) << other)
        np.bitwise_or.at(self._beside, b, np.uint8(1) << one)
        np.bitwise_or.at(self._later, b, np.where(one == other, np.uint8(1) << one, 0))
        differ = (self.label[a] != self.label[b]) & (self.label[a] >= 0) & (self.label[b] >= 0)
        self._conflict[a[differ]] = self._conflict[b[differ]] = True

    def _count_between(self, a: Rows, b: Rows) -> None:
        if not len(a):
            return
        one, other = self.owner[a].astype(np.int64), self.owner[b].astype(np.int64)
        np.add.at(self._between, (one, other), 1)
        count = len(self._between)
        seen = [self._elsewhere, a * count + other, b * count + one]
        self._elsewhere = np.unique(np.concatenate(seen))

    def _join(self) -> None:
        if not self._waiting:
            return
        a, b = (np.concatenate([getattr(p, side) for p in self._waiting]) for side in "ab")
        self._waiting, count = [], len(self.table)
        # An edge from each row to its group's first one keeps the groups found before.
        one = np.concatenate([self.group[a], self.group])
        other = np.concatenate([self.group[b], np.arange(count)])
        graph = coo_matrix((np.ones(len(one), np.bool_), (one, other)), (count, count))
        self.group = connected_components(graph, directed=False)[1].astype(np.int64)
        first = np.full(count, count, np.int64)
        np.minimum.at(first, self.group, np.arange(count))
        self.group = first[self.group]


def _nearest(some: Pairs, others: Pairs) -> Pairs:
    """Return the nearest `KEPT` of two lots of pairs."""
    both = ((getattr(some, k.name), getattr(others, k.name)) for k in fields(Pairs))
    joined = Pairs(*map(np.concatenate, both))
    if len(joined.a) <= KEPT:
        return joined
    return joined[np.sort(np.argpartition(-_nearness(joined), KEPT)[:KEPT])]


def _ranked(pairs: Pairs) -> Pairs:
    """Return pairs, the nearest first."""
    return pairs[np.lexsort((pairs.b, pairs.a, -_nearness(pairs)))]


def _nearness(pairs: Pairs) -> Floats:
    return np.fmax(pairs.cosine, pairs.pixels)


def find_near(sets: Sequence[StoredFeatures], pairs: Iterable[Pairs]) -> NearDuplicates:
    """Count all pairs; see `NearDuplicates`."""
    found = NearDuplicates(Joined(sets))
    for some in pairs:
        found.add(some)
    found.finish()
    return found
