"""List a zip file, also one that lies inside another file."""

from __future__ import annotations

import io
import os
import struct
import zipfile
from pathlib import Path
from typing import BinaryIO

from autods.containers.base import Member, damaged, plain_name
from autods.errors import ContainerError

ENCRYPTED = 0x1  # general purpose flag, bit 0
READABLE = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}


class Slice(io.RawIOBase):
    """A read-only window of ``size`` bytes from ``start`` on another binary file."""

    def __init__(self, handle: BinaryIO, start: int, size: int) -> None:
        self._handle = handle
        self._start = start
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position inside the window."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move inside the window; a position before its start is an `OSError`."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError("negative position")
        self._at = base + offset
        return self._at

    # the base class takes any buffer; zipfile passes these two
    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill the buffer as far as the window reaches."""
        self._handle.seek(self._start + self._at)
        data = self._handle.read(max(0, min(len(buffer), self._size - self._at)))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def list_zip(path: Path, start: int = 0, size: int | None = None, inner: str = "") -> list[Member]:
    """List the members of a zip file, or of one stored in ``path`` at ``start``.

    Offsets count from the start of ``path``. A name that occurs twice stands for its
    last entry, as unpacking would leave it.

    Raises
    ------
    ContainerError
        When the zip is damaged, encrypted, or compressed by a rare method.
    """
    shown = path / inner if inner else path
    with path.open("rb") as handle:
        size = path.stat().st_size - start if size is None else size
        window = io.BufferedReader(Slice(handle, start, size))
        try:
            with zipfile.ZipFile(window) as archive:
                infos = sorted(archive.infolist(), key=lambda info: -info.header_offset)
            del archive  # it holds all infos, 0.5 kB each, which go one by one below
            members = []
            while infos:
                info = infos.pop()
                name = plain_name(shown, info.filename)
                if name is not None and not info.is_dir() and not _is_link(info):
                    place = _offset(shown, info, handle, start)
                    members.append(Member(name, place, info.file_size))
            return members
        except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, ValueError) as error:
            raise damaged(shown, error) from None


def _offset(path: Path, info: zipfile.ZipInfo, handle: BinaryIO, start: int) -> int:
    if info.flag_bits & ENCRYPTED or info.compress_type not in READABLE:
        how = "encrypted" if info.flag_bits & ENCRYPTED else f"method {info.compress_type}"
        raise ContainerError(
            f"{path}: member '{info.filename}': expected stored or deflated data, got {how}; "
            "nothing was indexed. Repack the archive as a plain zip and correct the manifest."
        )
    header = start + info.header_offset
    handle.seek(header)
    local = handle.read(30)
    if local[:4] != b"PK\x03\x04" or len(local) < 30:
        raise EOFError(f"no member starts at byte {header}, where '{info.filename}' should be")
    name, extra = struct.unpack("<HH", local[26:30])
    data = header + 30 + name + extra
    if data + info.compress_size > os.fstat(handle.fileno()).st_size:
        raise EOFError(f"it ends inside member '{info.filename}'")
    return data if info.compress_type == zipfile.ZIP_STORED else -2 - header


def _is_link(info: zipfile.ZipInfo) -> bool:
    return (info.external_attr >> 16) & 0o170000 == 0o120000
