"""Local files and folders: copied, so that no later edit changes an archive.

Only a folder that is asked for ``in_place`` is linked; `autods verify` then finds later edits.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from autods.core.files import BLOCK
from autods.core.home import expanded
from autods.core.progress import Progress
from autods.core.refusals import refusal
from autods.core.trees import list_tree
from autods.errors import LinkGone
from autods.fetch.digests import is_folder, size_of
from autods.fetch.sources.base import SOURCES, MirrorFailed, Seen, receive
from autods.manifest.schema import FileEntry, Mirror


@SOURCES.register("file")
def fetch_file(mirror: Mirror, target_part: Path, entry: FileEntry, progress: Progress) -> None:
    """Copy one file, or all regular files of a folder (see `Source`)."""
    origin = expanded(mirror.url)
    if not origin.exists():
        raise MirrorFailed("does not exist", LinkGone)
    if origin.is_dir() != is_folder(entry.checksum):
        got, expected = ("folder", "file") if origin.is_dir() else ("file", "folder")
        raise MirrorFailed(f"is a {got}, expected a {expected}")
    if mirror.in_place:
        _link_folder(origin, target_part)
        return
    if origin.is_dir():
        _copy_folder(origin, target_part, entry, progress)
        return
    total, offset = size_of(origin), size_of(target_part)
    if offset > total:  # the part began as another file
        offset = 0
    seen = Seen(mirror.url, total=total)
    receive(_read(origin, offset), target_part, entry, progress, seen=seen, at=offset)


def _link_folder(origin: Path, part: Path) -> None:
    """Make a link to a folder, which is then read where it is."""
    if not origin.is_dir():
        raise MirrorFailed("is a file, and only folders are used in place")
    try:
        part.symlink_to(origin.resolve(), target_is_directory=True)
    except OSError as error:
        raise MirrorFailed(
            f"cannot be linked: {error.strerror}; take 'in_place' out of the manifest to copy it"
        ) from None


def _read(origin: Path, offset: int) -> Iterator[bytes]:
    try:
        with origin.open("rb") as handle:
            handle.seek(offset)
            while block := handle.read(BLOCK):
                yield block
    except OSError as error:
        raise MirrorFailed(f"cannot be read: {refusal(error).why}") from None


def _copy_folder(origin: Path, part: Path, entry: FileEntry, progress: Progress) -> None:
    """Copy contents only: what `autods.core.files.hash_tree` covers, without modes and times.

    What links lead to is copied in their place, so no link is left in the copy.
    """
    try:
        names = [name for name, _, _ in list_tree(origin).files]
    except OSError as error:
        raise MirrorFailed(f"{error.filename} cannot be read: {refusal(error).why}") from None
    part.mkdir(parents=True)
    progress.start(entry.name, len(names), "files")
    try:
        for name in names:
            copy = part / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(origin / name, copy)
            progress.advance(1)
    except PermissionError as error:
        raise MirrorFailed(f"{error.filename} cannot be read: {refusal(error).why}") from None
    finally:
        progress.finish()
