"""Read members in place from folders, zip and tar files; convert compressed tars once.

Nothing is unpacked into many files. Every archive member name is checked against
leaving its folder before it is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Member:
    """One file inside a container.

    Attributes
    ----------
    name
        POSIX path inside the container.
    offset
        Byte offset of the stored bytes in the container file; -1 when they are
        compressed or the container is a folder.
    size
        Size in bytes of the member itself.
    """

    name: str
    offset: int
    size: int


class Container(Protocol):
    """A folder, zip, tar or single file whose members are read in place."""

    def members(self) -> list[Member]:
        """Return all files, sorted by name; no folders, no links."""

    def read(self, name: str) -> bytes:
        """Return the content of one member; raise `ContainerError` if absent or damaged."""

    def close(self) -> None:
        """Release file handles."""
