"""Pixels of near-duplicates: small pictures of all images, compared directly and mirrored.

A resized, recompressed or mirrored copy has the edges of its original whatever a network makes of
it, and two drawings that a network takes for one do not. Thresholds: docs/benchmarks/audit.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from autods.checks.near import Floats, Joined, Pairs, Rows, cosines, near_pairs
from autods.checks.small_pictures import EDGES, LEVELS, Levels, edges
from autods.core.progress import Progress

AGREE = 0.93  # two images are copies from this correlation of edges on, whatever features say
# An image with more than CROWD others from this correlation on shares its outline with many, as
# centred photographs of trousers do: its copies do not stand out, and are left to features.
ALIKE, CROWD = 0.8, 10


@dataclass(frozen=True, eq=False)
class SmallPictures:
    """Edges of small pictures as a table of N rows, those of features.

    Attributes
    ----------
    table
        The features.
    levels
        Small pictures of each feature set's samples, uint8 [samples, 288]; ``None``: not read.
    samples
        Which sample each row of a set is of, int64.
    mirror
        Whether the pictures are mirrored.
    """

    table: Joined
    levels: Sequence[Levels | None]
    samples: Sequence[Rows]
    mirror: bool = False
    dim: int = EDGES

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def known(self) -> npt.NDArray[np.bool_]:
        """Whether each row's image was read and shows something: bool [N]."""
        known = np.zeros(len(self), np.bool_)
        for start, of, rows in zip(self.table.starts, self.levels, self.samples, strict=False):
            if of is not None:
                shows = np.asarray(of.any(axis=1))
                known[start : start + len(rows)] = shows[rows]
        return known

    @cached_property
    def mirrored(self) -> SmallPictures:
        """The same table, mirrored."""
        return replace(self, mirror=not self.mirror)

    def units(self, rows: Rows) -> Floats:
        """Return rows in any order: float32 [n, 528], zeros where nothing is known."""
        levels = np.zeros((len(rows), LEVELS), np.uint8)
        owner = self.table.set_of(rows)
        for number in np.unique(owner):
            of, chosen = self.levels[number], owner == number
            if of is not None:
                levels[chosen] = of[self.samples[number][rows[chosen] - self.table.starts[number]]]
        return edges(levels, self.mirror)

    def correlations(self, a: Rows, b: Rows) -> Floats:
        """Return those of pairs of rows, direct or mirrored: float32 [p], NaN where unknown."""
        found = np.full(len(a), np.nan, np.float32)
        both = self.known[a] & self.known[b]
        if both.any():
            found[both] = cosines(self, (self, self.mirrored), a[both], b[both])
        return found


class Judged:
    """Near-duplicates by features and pixels.

    Attributes
    ----------
    added
        Pairs found by pixels alone.
    crowded
        Images that share their outline with more than `CROWD` others.
    """

    def __init__(self, table: Joined, small: SmallPictures) -> None:
        self.table, self.small = table, small
        self.added = self.crowded = 0

    def pairs(self, threshold: float, progress: Progress) -> Iterator[Pairs]:
        """Yield pairs of that cosine, with the correlation of their pixels; then other copies."""
        for near in near_pairs(self.table, threshold, progress):
            yield replace(near, pixels=self.small.correlations(near.a, near.b))
        if not self.small.known.any():
            return
        for copies in self._copies(progress):
            cosine = cosines(self.table, (self.table,), copies.a, copies.b)
            new = cosine < threshold
            self.added += int(new.sum())
            yield replace(copies, cosine=cosine)[new]

    def _copies(self, progress: Progress) -> list[Pairs]:
        """Return the pairs whose pixels agree, of images that no crowd is like."""
        crowd = np.zeros(len(self.table), np.int64)
        kept: list[Pairs] = []

        def standing_out(pairs: Pairs) -> Pairs:
            return pairs[(crowd[pairs.a] <= CROWD) & (crowd[pairs.b] <= CROWD)]

        small = (self.small, self.small.mirrored)
        for found in near_pairs(small[0], ALIKE, progress, small[1:], "comparing pixels"):
            np.add.at(crowd, found.a, 1)
            np.add.at(crowd, found.b, 1)
            copies = standing_out(found[found.cosine >= AGREE])
            kept.append(replace(copies, pixels=copies.cosine))
        self.crowded = int((crowd > CROWD).sum())
        return [standing_out(copies) for copies in kept]
