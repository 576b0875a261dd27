"""The contract of a source kind, and what all kinds share: part files, retries, digests.

A source writes ``target_part`` and nothing else; the run in `autods.fetch` decides,
verifies, records and moves. One file per kind registers itself in `SOURCES`.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from autods.files import hash_file, hash_tree
from autods.manifest import FileEntry, Mirror
from autods.names import Registry
from autods.progress import Progress

RETRIES = 4  # failures in a row, without one byte gained, before a mirror is given up
BACKOFF = 1.0  # seconds before the first retry; doubled for each further one
LONGEST_WAIT = 30.0  # seconds; a server that asks for more is given up for now


class Source(Protocol):
    """What fetches from one kind of mirror."""

    def __call__(
        self, mirror: Mirror, target_part: Path, entry: FileEntry, progress: Progress
    ) -> None:
        """Bring ``target_part`` to the whole content of ``entry``.

        A file that already stands there is the beginning of the content, perhaps from
        another mirror, and is continued; a folder never stands there. The content need
        not be verified, except by ``git``, which must check the commit.

        Raises
        ------
        MirrorFailed
            When this mirror cannot give the file. What has arrived stays.
        OSError
            When ``target_part`` cannot be written.
        """


SOURCES: Registry[Source] = Registry("source kind")


class MirrorFailed(Exception):
    """One mirror could not give the file; the text is the cause, for a list of causes."""


class Interrupted(Exception):
    """One attempt failed in a way that may pass; ``wait`` is what the server asked for (s)."""

    def __init__(self, cause: str, wait: float | None = None) -> None:
        super().__init__(cause)
        self.wait = wait


def persist(attempt: Callable[[], None], part: Path, progress: Progress) -> None:
    """Repeat ``attempt`` until it succeeds; `Interrupted` means once more.

    An attempt that made the part longer than it ever was does not count as a failure,
    so a large file over a bad line arrives, and one that starts over and over does not
    go on for ever.

    Raises
    ------
    MirrorFailed
        After `RETRIES` failures in a row, or when the server asks for a long wait.
    """
    longest, failures = size_of(part), 0
    while True:
        try:
            return attempt()
        except Interrupted as error:
            failures = 1 if size_of(part) > longest else failures + 1
            longest = max(longest, size_of(part))
            wait = BACKOFF * 2 ** (failures - 1) if error.wait is None else error.wait
            if failures > RETRIES:
                raise MirrorFailed(f"{error}; gave up after {RETRIES} retries") from None
            if wait > LONGEST_WAIT:
                raise MirrorFailed(f"{error}; it asks to wait {wait:.0f} s") from None
            progress.note(f"  {error}; trying again in {wait:.1f} s")
            time.sleep(wait)


@dataclass(frozen=True)
class Seen:
    """What a source saw of the content that a part begins; kept beside the part as JSON.

    Attributes
    ----------
    url
        The mirror that gave the newest bytes. It is asked first when the part is continued.
    validator
        What the server calls this version (a strong ETag or a date), ``""`` if nothing.
    total
        Size of the whole content in bytes, ``None`` if the server did not tell.
    """

    url: str
    validator: str = ""
    total: int | None = None

    @classmethod
    def load(cls, part: Path) -> Seen:
        """Return what was kept of a part; without a readable note, nothing is known."""
        try:
            return cls(**json.loads(seen_path(part).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return cls("")

    def save(self, part: Path) -> None:
        """Keep this beside a part."""
        seen_path(part).write_text(json.dumps(asdict(self)), encoding="utf-8")


def seen_path(part: Path) -> Path:
    """Return where `Seen` of a part is kept."""
    return part.with_name(part.name + ".json")


def receive(
    blocks: Iterable[bytes],
    part: Path,
    entry: FileEntry,
    progress: Progress,
    *,
    seen: Seen,
    at: int,
) -> None:
    """Write a content to a part as it arrives.

    Parameters
    ----------
    blocks
        The content from byte ``at`` on.
    part
        The file to write; ``at`` is its size, or 0: then it begins anew.
    entry
        The file as the manifest describes it.
    progress
        Told the bytes.
    seen
        What the source saw; kept beside the part.
    at
        In bytes.

    Raises
    ------
    Interrupted
        When the blocks end before the whole content stands in the part.
    """
    total = entry.size if seen.total is None else seen.total
    if not at:
        part.write_bytes(b"")  # empty first: old bytes never stand beside a new note
    seen.save(part)
    progress.start(entry.name, total, "bytes")
    progress.advance(at)
    try:
        with part.open("ab") as handle:
            for block in blocks:
                handle.write(block)
                progress.advance(len(block))
    finally:
        progress.finish()
    if total is not None and size_of(part) < total:
        raise Interrupted(f"the connection ended after {size_of(part):,} of {total:,} bytes")


def is_folder(checksum: str) -> bool:
    """Tell whether a checksum describes a folder (``tree:``, ``git:``) and not one file."""
    return checksum.startswith(("tree:", "git:"))


def digest(path: Path, checksum: str) -> str:
    """Return the digest of ``path`` in the form of ``checksum`` (``md5:...``, ``tree:...``).

    A folder where a file is expected, or the reverse, answers ``"a folder"`` or
    ``"a file"``: never equal to a checksum. What git gave is known by its tree, since
    the commit cannot be computed from a folder.
    """
    if path.is_dir() != is_folder(checksum):
        return "a folder" if path.is_dir() else "a file"
    if path.is_dir():
        return f"tree:{hash_tree(path)}"
    algorithm = checksum.partition(":")[0]
    return f"{algorithm}:{hash_file(path, algorithm)}"


def size_of(path: Path) -> int:
    """Return the bytes of a file or of all files below a folder; 0 when absent."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size if path.exists() else 0


def listing(folder: Path) -> str:
    """Return the sha256 over the names and sizes of all files below a folder."""
    lines = sorted(
        f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\n"
        for path in folder.rglob("*")
        if path.is_file()
    )
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


def remove(path: Path) -> None:
    """Delete a file or a folder, if there.

    A git process whose parent was killed may still write below the folder for a moment;
    it stops when its working directory is gone, hence the repetition.
    """
    for _ in range(50):
        if not path.is_dir():
            path.unlink(missing_ok=True)
            return
        shutil.rmtree(path, ignore_errors=True)
        if path.exists():
            time.sleep(0.1)
    if path.exists():
        shutil.rmtree(path)


def shown(text: str) -> str:
    """Return a URL, or a text with URLs, without user names and passwords."""
    return re.sub(r"://[^/@\s]*@", "://", text)
