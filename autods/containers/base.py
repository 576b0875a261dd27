"""Members of containers, and the names that are accepted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from autods.core.root import inside
from autods.errors import ContainerError, UnsafePath

NESTED = "!/"  # separates the name of an inner archive from the path inside it


@dataclass(frozen=True, slots=True)  # there are millions
class Member:
    """One file inside a container.

    Attributes
    ----------
    name
        POSIX path inside the container; ``inner.zip!/path`` inside an inner archive.
    offset
        Where the bytes are: -1, a file of its own (the container is a folder); >= 0, stored
        plainly; <= -2, deflated in a zip. ``offset`` or ``-2 - offset`` is then the location
        (`autods.containers.locations`) times 2**56 plus the byte of the member's content or, if
        deflated, of its local header, counted from the start of the file at that location.
    size
        Size in bytes of the member itself, uncompressed.
    """

    name: str
    offset: int
    size: int


def plain_name(archive: Path, name: str) -> str | None:
    """Return the normalised name of a member, or ``None`` for files that operating systems leave.

    `UnsafePath` if it is absolute or contains ``..``; `ContainerError` if it is not UTF-8,
    because the index could not hold it.
    """
    try:
        if ".." in name or name[:1] in ("/", "\\") or not name.strip("./"):
            inside(archive, name)  # slow, and there are millions; no other name is unsafe
    except UnsafePath:
        raise UnsafePath(
            f"{archive}: member '{name}' would leave the archive's folder; expected a relative "
            "path without '..'; nothing of the archive was used. Do not trust this archive."
        ) from None
    if (readable := printable(name)) != name:
        step = "Rename the file where it comes from and correct the checksum in the manifest."
        raise ContainerError.at(
            f"{archive}: member '{readable}'", "a name in UTF-8", "other bytes", step=step
        )
    name = name.removeprefix("./")
    names = name.split("/")
    return None if "__MACOSX" in names or names[-1] == ".DS_Store" else name


def printable(name: str) -> str:
    r"""Return a file name with ``\xe9`` for each byte that is not UTF-8; others unchanged."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


def damaged(archive: Path, cause: object) -> ContainerError:
    """Build the error for an archive that cannot be read to its end."""
    return ContainerError(
        f"{archive} is damaged or incomplete: {cause}; it was left as it is and nothing was "
        "indexed from it. Delete it and fetch the dataset again."
    )


def unwritable(target: Path, error: OSError) -> ContainerError:
    """Build the error for a converted copy that cannot be written."""
    return ContainerError(
        f"{target} could not be written: {error.strerror or error}; the archives are untouched. "
        "Make room on the disk or correct permissions, then run the same command again."
    )
