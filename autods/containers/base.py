"""Members of containers, and the names that are accepted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from posixpath import normpath

from autods.core.files import LITTER_FOLDERS, hash_file
from autods.core.refusals import REFUSALS, refusal
from autods.core.root import inside
from autods.errors import FETCH_AGAIN, ContainerError, LayoutError, UnsafePath

NESTED = "!/"  # separates the name of an inner archive from the path inside it
AS_PUBLISHED = (
    "It has the checksum of the manifest, so fetching it again would not help: repack it as a "
    "zip or tar, correct name and checksum in the manifest, or tell its publisher."
)
CHANGED = "It no longer has the checksum of the manifest: delete it and fetch the dataset again."


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
    crc32
        The CRC-32 of its content if the container states one (zip), else -1.
    """

    name: str
    offset: int
    size: int
    crc32: int = -1

    @property
    def address(self) -> tuple[str, int, int, int]:
        """Name, offset, size and CRC-32, as `MemberReader` wants them."""
        return self.name, self.offset, self.size, self.crc32

    def named(self, name: str) -> Member:
        """Return the same content under another name."""
        return Member(name, self.offset, self.size, self.crc32)  # `replace` takes 25 times as long


class Why(StrEnum):
    """Why an entry of a container is no member, or a member is no sample."""

    READ = "read"  # a table, a label file, an array file, an inner archive that was opened
    LEFT_OUT = "left out"  # by a rule of the manifest, such as `exclude`
    HIDDEN = "hidden"  # what operating systems leave behind
    REPLACED = "replaced"  # a later entry has the same name, as after unpacking
    LINK = "links not followed"  # to nothing, out of the container, or in a circle
    UNMATCHED = "unmatched"  # an image that the layout does not ask for
    UNSUPPORTED = "unsupported"  # no image by its name, or no file at all


@dataclass
class Listing:
    """All entries of a container but folders: what can be read, and what cannot.

    ``links`` are the names of those members that are links, followed to their targets;
    ``guessed`` are names that are not UTF-8, by the encoding that they were read in instead.
    """

    members: list[Member] = field(default_factory=list)
    links: set[str] = field(default_factory=set)
    left: list[tuple[str, Why]] = field(default_factory=list)
    guessed: dict[str, list[str]] = field(default_factory=dict)


class NeedsConversion(Exception):
    """An archive holds members that cannot be read in place, but from a converted copy.

    They are deflate64 data of a zip, or sparse members of a tar.
    """


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
    if (readable := printable(name).replace("\0", "\\0")) != name:
        step = "Rename the file where it comes from and correct the checksum in the manifest."
        raise ContainerError.at(
            f"{archive}: member '{readable}'", "a name in UTF-8, no NUL", "other bytes", step=step
        )
    if "//" in name or "/./" in name:
        name = normpath(name) + "/" * name.endswith("/")
    name = name.removeprefix("./")
    names = name.split("/")
    hidden = names[-1] == ".DS_Store" or not LITTER_FOLDERS.isdisjoint(names)
    return None if hidden else name


def printable(name: str) -> str:
    r"""Return a file name with ``\xe9`` for each byte that is not UTF-8; others unchanged."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


def decode_name(name: bytes, fallback: str) -> tuple[str, str]:
    """Decode a member's name: as UTF-8 if it is that, else in ``fallback``.

    Return it with the encoding if that was guessed, else with ``""``.
    """
    try:
        return name.decode(), ""
    except UnicodeDecodeError:
        return name.decode(fallback), fallback


def damaged(archive: Path, cause: object) -> ContainerError:
    """Build the error for an archive that cannot be read to its end.

    What the system refuses (permission, open files, locks ...) says nothing against the archive.
    """
    if isinstance(cause, OSError):
        if cause.errno in REFUSALS:
            why, cure = refusal(cause)
            return ContainerError(
                f"{archive} cannot be read: {why}; it was left as it is and nothing was indexed "
                f"from it. {cure}, then run the same command again."
            )
        cause = cause.strerror or cause
    return ContainerError(
        f"{archive} is damaged or incomplete: {cause}; it was left as it is and nothing was "
        f"indexed from it. {FETCH_AGAIN}"
    )


@contextmanager
def cured(source: Path, checksum: str) -> Iterator[None]:
    """Let an error of a file that cannot be read say whether another fetch would help.

    The file is hashed for it: one that has the ``checksum`` of the manifest comes again as it is.
    """
    try:
        yield
    except (ContainerError, LayoutError) as error:
        algorithm, _, digits = checksum.partition(":")
        if FETCH_AGAIN not in str(error) or not digits or not source.is_file():
            raise
        step = CHANGED
        if hash_file(source, algorithm) == digits:
            step = AS_PUBLISHED
        raise type(error)(str(error).replace(FETCH_AGAIN, step)) from None


def unwritable(target: Path, error: OSError) -> ContainerError:
    """Build the error for a converted copy that cannot be written."""
    why, cure = refusal(error)
    return ContainerError(
        f"{target} could not be written: {why}; the archives are untouched. {cure}, then run the "
        "same command again."
    )
