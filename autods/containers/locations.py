"""The files that hold members, and the offsets that name them.

The index keeps the location with the offset, so that a reader never guesses: when a
converted copy was deleted it says so, and does not read other bytes from the archive.
"""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path

from autods.containers.base import NESTED
from autods.core.root import DataRoot, inside

SHIFT = 56  # bits for the byte within one file: 64 PiB


class Location(IntEnum):
    """The file that holds a member, as the upper bits of the member's offset.

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
        """What is added to the offsets of members at this location."""
        return self << SHIFT


def split_offset(offset: int) -> tuple[Location, int, bool]:
    """Return location, byte and whether the member is deflated; for any offset but -1."""
    code = offset if offset >= 0 else -2 - offset
    return Location(code >> SHIFT), code & ((1 << SHIFT) - 1), offset < 0


def location_path(
    root: DataRoot, dataset: str, file: str, location: Location, inner: str = ""
) -> Path:
    """Return the file at a location; ``inner`` is the name of the inner archive if it has one."""
    if location == Location.COPY:
        return root.converted(dataset, f"{file}.tar")
    if location == Location.ARRAYS:
        return root.converted(dataset, f"{file}.arrays.tar")
    if location == Location.INNER:
        return root.converted(dataset, file + NESTED + inner)
    if location == Location.INNER_COPY:
        return root.converted(dataset, f"{file}{NESTED}{inner}.tar")
    archive = root.archive(dataset, file)
    return inside(archive, inner) if location == Location.FOLDER else archive


def inner_archives(name: str) -> list[str]:
    """Return the candidates for the inner archive in a member's name: a folder may end in ``!``."""
    names = name.split(NESTED)
    return [NESTED.join(names[:count]) for count in range(1, len(names))]
