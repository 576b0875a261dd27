"""The files in which members lie, and how a member's offset says which one it is.

The index keeps the place with the offset, so that a reader never guesses: when a
converted copy was deleted it says so, and does not read other bytes from the archive.
"""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path

from autods.containers.base import NESTED
from autods.core.root import DataRoot, inside

SHIFT = 56  # bits for the byte within one file: 64 PiB


class Place(IntEnum):
    """Where the bytes of a member are, as the upper bits of its offset.

    Numbers are part of the sample index and never change their meaning.
    """

    ARCHIVE = 0  # archives/FILE, as published
    COPY = 1  # converted/FILE.tar, made from the archive
    ARRAYS = 2  # converted/FILE.arrays.tar, images made from its arrays
    INNER = 3  # converted/FILE!/INNER, an inner archive taken out as it is
    INNER_COPY = 4  # converted/FILE!/INNER.tar, made from an inner archive
    FOLDER = 5  # archives/FILE/INNER, an archive that lies in a folder

    @property
    def base(self) -> int:
        """What is added to the offsets of members at this place."""
        return self << SHIFT

    @property
    def is_inner(self) -> bool:
        """Whether the place depends on the inner archive, not only on the file."""
        return self >= Place.INNER


def split_offset(offset: int) -> tuple[Place, int, bool]:
    """Return place, byte and whether the member is deflated; for any offset but -1."""
    code = offset if offset >= 0 else -2 - offset
    return Place(code >> SHIFT), code & ((1 << SHIFT) - 1), offset < 0


def place_path(root: DataRoot, dataset: str, file: str, place: Place, inner: str = "") -> Path:
    """Return the file at a place; ``inner`` is the name of the inner archive if it has one."""
    if place == Place.COPY:
        return root.converted(dataset, f"{file}.tar")
    if place == Place.ARRAYS:
        return root.converted(dataset, f"{file}.arrays.tar")
    if place == Place.INNER:
        return root.converted(dataset, file + NESTED + inner)
    if place == Place.INNER_COPY:
        return root.converted(dataset, f"{file}{NESTED}{inner}.tar")
    archive = root.archive(dataset, file)
    return inside(archive, inner) if place == Place.FOLDER else archive


def inner_archives(name: str) -> list[str]:
    """Return what may be the inner archive in a member's name: a folder may end in ``!``."""
    parts = name.split(NESTED)
    return [NESTED.join(parts[:count]) for count in range(1, len(parts))]
