"""The contract of a source kind, and what all kinds share: part files, retries, causes.

A source writes ``target_part`` and nothing else. One file per kind registers itself in
`SOURCES`. Nothing is kept between calls: several threads fetch at once.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from autods.core.json_texts import parse_json
from autods.core.progress import Progress
from autods.core.registry import Registry
from autods.errors import ChecksumMismatch, DiskFull, FetchError, QuotaExceeded, Unreachable
from autods.fetch import magic
from autods.fetch.digests import digest_of, size_of
from autods.manifest.schema import FileEntry, Mirror

RETRIES = 4  # failures in a row, without one byte gained, before a mirror is given up
BACKOFF = 1.0  # seconds before the first retry; doubled for each further one
LONGEST_WAIT = 10.0  # seconds; for more, no thread sleeps: the dataset is tried again later
WINDOW = 60.0  # seconds of waiting over which the rate of a connection is measured
SLOWEST = 1024.0  # bytes per second; a connection with less over a window counts as dropped
RESERVE = 1 << 30  # bytes of the disk that a file of unknown size leaves free, or, if that is less,
SHARE = 20  # the disk divided by this
LOOK = 16 << 20  # bytes that are written between two looks at the free space
TOO_LARGE = (
    "If the file is that large, free space or choose another --root; else this mirror never ends: "
    "add a --mirror that has the file."
)


class Source(Protocol):
    """What fetches from one kind of mirror."""

    def __call__(
        self, mirror: Mirror, target_part: Path, entry: FileEntry, progress: Progress
    ) -> None:
        """Bring ``target_part`` to the whole content of ``entry``.

        A file that is already there is the beginning of the content, perhaps from
        another mirror, and is continued; a folder is never there. The content need
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
    """One mirror could not give the file; the text is the cause, for a list of causes.

    Attributes
    ----------
    kind
        The class of error that this is to the user, if no other mirror gives the file.
    next_step, url, again
        As in `FetchError`; ``""``, ``None``: what is usual for the class.
    """

    def __init__(
        self,
        text: str,
        kind: type[FetchError] = FetchError,
        next_step: str = "",
        url: str = "",
        again: float | None = None,
    ) -> None:
        super().__init__(text)
        self.kind, self.next_step, self.url = kind, next_step, url
        self.again = 0.0 if again is None and kind in (Unreachable, QuotaExceeded) else again


class Interrupted(Exception):
    """One attempt failed in a way that may pass.

    Attributes
    ----------
    wait
        Seconds that the server asked for.
    kind
        As in `MirrorFailed`.
    slow
        Whether the bytes came too slowly: a few of them are then no progress.
    """

    def __init__(
        self,
        text: str,
        wait: float | None = None,
        kind: type[FetchError] = Unreachable,
        slow: bool = False,
    ) -> None:
        super().__init__(text)
        self.wait, self.kind, self.slow = wait, kind, slow


def persist(attempt: Callable[[], None], part: Path, progress: Progress) -> None:
    """Repeat ``attempt`` until it succeeds; `Interrupted` means once more.

    An attempt that made the part longer than it ever was does not count as a failure,
    so a large file over a bad line arrives, and one that starts over and over ends; nor does one
    that ended as too slow after a window of the rate that is expected. A host that
    cannot be reached is tried again if it has given bytes in this run. `MirrorFailed` follows
    after `RETRIES` failures in a row, or when the server asks for a long wait.
    """
    began = longest = size_of(part)
    failures = 0
    while True:
        try:
            return attempt()
        except (Interrupted, MirrorFailed) as error:
            has_given = error.kind is Unreachable and size_of(part) > began
            if isinstance(error, MirrorFailed) and not has_given:
                raise
            slow = isinstance(error, Interrupted) and error.slow
            gained = size_of(part) - longest
            failures = 1 if gained > (SLOWEST * WINDOW if slow else 0) else failures + 1
            longest = max(longest, size_of(part))
            asked = error.wait if isinstance(error, Interrupted) else None
            wait = BACKOFF * 2 ** (failures - 1) if asked is None else asked
            if failures > RETRIES:
                text = f"{error}; gave up after {RETRIES} retries"
                raise MirrorFailed(text, error.kind) from None
            if wait > LONGEST_WAIT:
                text = f"{error}; it asks to wait {wait:.0f} s"
                raise MirrorFailed(text, error.kind, again=wait) from None
            progress.note(f"  {shown(str(error))}; trying again in {wait:.1f} s")
            time.sleep(wait)


@dataclass(frozen=True)
class Seen:
    """What a source saw of the content that a part begins; kept beside the part as JSON.

    ``url`` gave the newest bytes and is asked first when the part is continued. ``validator`` is
    the server's name for this version (a strong ETag or a date), ``total`` its size in bytes.
    """

    url: str
    validator: str = ""
    total: int | None = None

    @classmethod
    def load(cls, part: Path) -> Seen:
        """Return what was kept of a part; without a readable note, nothing is known."""
        try:
            return cls(**parse_json(seen_path(part).read_text(encoding="utf-8")))
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
    """Write ``blocks``, the content from byte ``at`` on, to a part as it arrives.

    ``at`` is the size of the part, or 0: then it begins anew. Raises `Interrupted` if the blocks
    end too early. If the first bytes of a content that begins anew are not those of the file
    (a web page, say), it raises `MirrorFailed` and leaves the part as it was. If the content is
    longer than it can be, it raises `MirrorFailed`, and the part is again what it was at ``at``.
    """
    total = entry.size if seen.total is None else seen.total
    content = Peekable(blocks)
    if not at:
        if entry.size is not None and total != entry.size:
            raise MirrorFailed(f"offers {total:,} bytes, expected {entry.size:,}", ChecksumMismatch)
        head = content.beginning(magic.ENOUGH)
        if isinstance(content.broken, MirrorFailed):
            raise content.broken
        _check_head(head, entry, total, ended=content.broken is None)
        part.write_bytes(b"")  # empty first: old bytes are never beside a new note
    seen.save(part)
    progress.start(entry.name, total, "bytes", done=at)
    try:
        with part.open("ab") as handle:
            for block in bounded(content, part.parent, at, total):
                handle.write(block)
                progress.advance(len(block))
    except TooLongError:
        os.truncate(part, at)
        if not at:
            part.unlink()
            seen_path(part).unlink()
        raise
    finally:
        progress.finish()
    if total is not None and size_of(part) < total:
        raise Interrupted(f"the connection ended after {size_of(part):,} of {total:,} bytes")


class TooLongError(MirrorFailed):
    """A mirror sends more than the file can have."""


def bounded(blocks: Iterable[bytes], folder: Path, at: int, size: int | None) -> Iterator[bytes]:
    """Yield the blocks of a content from byte ``at`` on, no more than it may have.

    `TooLongError` if it is longer than ``size``, or, where that is unknown, if it would leave
    less than the reserve free on the disk of ``folder``.
    """
    got, room = at, 0
    for block in blocks:
        if size is not None and got + len(block) > size:
            raise TooLongError(f"sends more than the {size:,} bytes of the file", ChecksumMismatch)
        if size is None and len(block) > room:
            disk = shutil.disk_usage(folder)
            room = min(LOOK, disk.free - min(RESERVE, disk.total // SHARE))
            if len(block) > room:
                raise TooLongError(
                    f"sent {got:,} bytes without telling how many there are, and the disk has only "
                    f"{disk.free:,} left; what it sent was removed",
                    DiskFull,
                    TOO_LARGE,
                )
        got, room = got + len(block), room - len(block)
        yield block


class Peekable:
    """Blocks as they arrive, whose beginning can be looked at; an error waits for its turn.

    A connection that is dropped while the beginning is looked at thus loses nothing.
    """

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = iter(blocks)
        self._begun: list[bytes] = []  # looked at and not yet given on
        self._size = 0  # of these together
        self.broken: Interrupted | MirrorFailed | None = None

    def beginning(self, size: int) -> bytes:
        """Return the first ``size`` bytes or more, fewer at the end or if they break off."""
        while self.broken is None and self._size < size:
            try:
                self._begun.append(next(self._blocks))
                self._size += len(self._begun[-1])
            except StopIteration:
                break
            except (Interrupted, MirrorFailed) as error:
                self.broken = error
        return b"".join(self._begun)

    def __iter__(self) -> Iterator[bytes]:
        yield from self._begun
        if self.broken is not None:
            raise self.broken
        yield from self._blocks


def _check_head(head: bytes, entry: FileEntry, total: int | None, ended: bool) -> None:
    if digest_of(head, entry.checksum) == entry.checksum:
        return  # the whole file, whatever it looks like
    if words := magic.refusal(head, entry.name):
        raise MirrorFailed(f"offers {words}")
    if not head and not total and ended:
        raise MirrorFailed("gives an empty file", ChecksumMismatch)


def shown(text: str) -> str:
    """Return a URL, or a text with URLs, without user names and passwords."""
    return re.sub(r"://[^/\s]*@", "://", text)  # to the last @: a password may hold one
