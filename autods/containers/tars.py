"""List an uncompressed tar; make one from a compressed tar, once."""

from __future__ import annotations

import importlib
import lzma
import tarfile
import zlib
from pathlib import Path
from typing import BinaryIO

from autods.containers.base import Member, damaged, plain_name
from autods.errors import ContainerError
from autods.files import BLOCK, atomic
from autods.progress import Progress


def list_tar(path: Path, shown: Path | None = None) -> list[Member]:
    """List the regular files of an uncompressed tar with the offsets of their bytes.

    Parameters
    ----------
    shown
        The file that errors name; default: ``path``.

    Raises
    ------
    ContainerError
        When there is neither an end-of-archive block nor the end of the file after the
        last member: the standard library takes a broken header for the end, which would
        lose images silently.
    """
    shown = shown or path
    members, reached, size = [], 0, path.stat().st_size
    try:
        with tarfile.open(path, "r:") as archive:
            while (info := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # it keeps 1 kB of each
                reached = info.offset_data + (info.size if info.isreg() else 0)
                name = plain_name(shown, _unicode(info.name))
                if info.isreg() and not info.issparse() and name is not None:
                    members.append(Member(name, info.offset_data, info.size))
            end = archive.offset
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        if members and reached == size:  # not even padding after the last member
            return members
        raise damaged(shown, error) from None
    with path.open("rb") as handle:
        handle.seek(end)
        last = handle.read(tarfile.BLOCKSIZE)
    if last != bytes(tarfile.BLOCKSIZE) and end != size:
        raise damaged(shown, f"no member and no end of archive at byte {end}")
    return members


def decompress_tar(source: Path, target: Path, module: str, progress: Progress) -> None:
    """Write the uncompressed bytes of ``source`` to ``target``, atomically.

    Parameters
    ----------
    module
        Standard module that opens the compressed file: ``gzip``, ``bz2`` or ``lzma``.

    Raises
    ------
    ContainerError
        When the source is damaged or the disk is full; ``target`` is then absent.
    """
    opener = importlib.import_module(module).open
    progress.start(f"converting {source.name}", None, "bytes")
    try:
        with atomic(target) as temporary:
            with opener(source, "rb") as packed, temporary.open("wb") as plain:
                while block := _read(packed, source):
                    plain.write(block)
                    progress.advance(len(block))
            list_tar(temporary, source)  # a damaged archive leaves nothing behind
    except OSError as error:
        raise ContainerError(
            f"{target} could not be written: {error.strerror or error}; the archive {source.name} "
            "is untouched. Make room on the disk or correct permissions, then run the same "
            "command again."
        ) from None
    finally:
        progress.finish()


def _unicode(name: str) -> str:
    """Return a name that is not UTF-8 as Latin-1, which is what old archives mostly are."""
    data = name.encode(errors="surrogateescape")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _read(packed: BinaryIO, source: Path) -> bytes:
    try:
        return packed.read(BLOCK)
    except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise damaged(source, error) from None
