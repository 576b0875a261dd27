"""List an uncompressed tar, and write one that is the same on every machine."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from autods.containers.base import Member, damaged, plain_name
from autods.containers.locations import Location, open_slice
from autods.core.files import BLOCK

END = bytes(2 * tarfile.BLOCKSIZE)


def list_tar(
    path: Path,
    start: int = 0,
    size: int | None = None,
    *,
    shown: Path | None = None,
    location: Location = Location.ARCHIVE,
) -> list[Member]:
    """List the regular files of an uncompressed tar, or of one stored in ``path`` at ``start``.

    Offsets count from the start of ``path``; ``shown`` is the file that errors name.

    Raises
    ------
    ContainerError
        When there is neither an end-of-archive block nor the end of the file after the
        last member: the standard library takes a broken header for the end, which would
        lose images silently.
    """
    shown = shown or path
    size = path.stat().st_size - start if size is None else size
    base = location.base + start
    members, reached = [], 0
    with open_slice(path, start, size) as handle:
        try:
            with tarfile.open(fileobj=handle, mode="r:") as archive:
                while (info := archive.next()) is not None:
                    archive.members.clear()  # type: ignore[attr-defined]  # untyped; it keeps 1 kB of each
                    reached = info.offset_data + (info.size if info.isreg() else 0)
                    name = plain_name(shown, _unicode(info.name))
                    if info.isreg() and not info.issparse() and name is not None:
                        members.append(Member(name, base + info.offset_data, info.size))
                end = archive.offset
        except (tarfile.TarError, EOFError, OSError, ValueError) as error:
            if members and reached == size:  # not even padding after the last member
                return members
            raise damaged(shown, error) from None
        handle.seek(end)
        last = handle.read(tarfile.BLOCKSIZE)
    if last != bytes(tarfile.BLOCKSIZE) and end != size:
        raise damaged(shown, f"no member and no end of archive at byte {end}")
    return members


class TarWriter:
    """Writes members one after the other; owners, times and modes are always the same."""

    def __init__(self, handle: BinaryIO) -> None:
        self._handle = handle

    def add(self, name: str, data: bytes) -> None:
        """Write a member."""
        self.copy(name, io.BytesIO(data), len(data))

    def copy(self, name: str, source: BinaryIO, size: int) -> None:
        """Write a member whose ``size`` bytes come next in ``source``."""
        self._handle.write(_header(name, size))
        for start in range(0, size, BLOCK):
            self._handle.write(source.read(min(BLOCK, size - start)))
        self._pad(size)

    def stream(self, name: str, blocks: Iterable[bytes]) -> None:
        """Write a member made of all ``blocks``."""
        start = self._handle.tell()
        self._handle.write(_header(name, 0))
        data = self._handle.tell()
        self._handle.writelines(blocks)
        size = self._handle.tell() - data
        self._handle.seek(start)
        self._handle.write(_header(name, size))
        self._handle.seek(data + size)
        self._pad(size)

    def close(self) -> None:
        """Write the end of the archive; the file itself stays open."""
        self._handle.write(END)

    def _pad(self, size: int) -> None:
        self._handle.write(bytes(-size % tarfile.BLOCKSIZE))


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def _unicode(name: str) -> str:
    """Decode a name that is not UTF-8 as Latin-1, which most old archives use."""
    data = name.encode(errors="surrogateescape")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")
