"""List a zip file, also one that lies inside another file."""

from __future__ import annotations

import io
import os
import struct
import zipfile
from pathlib import Path
from typing import BinaryIO

from autods.containers.base import Member, damaged, plain_name
from autods.containers.locations import Location, Slice
from autods.errors import ContainerError

ENCRYPTED = 0x1  # general purpose flag, bit 0
FAT = 0  # the system of an entry's writer, APPNOTE 4.4.2
DEFLATE64 = 9  # APPNOTE 4.4.5; zlib cannot read it
READABLE = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}


class NeedsConversion(Exception):
    """A zip holds deflate64 data; its members are read from a converted copy."""


def list_zip(
    path: Path,
    start: int = 0,
    size: int | None = None,
    *,
    shown: Path | None = None,
    location: Location = Location.ARCHIVE,
) -> list[Member]:
    """List the members of a zip file, or of one stored in ``path`` at ``start``.

    Offsets count from the start of ``path``; ``shown`` is the file that errors name. A name
    that occurs twice stands for its last entry, as unpacking would leave it. `ContainerError`
    if the zip is damaged, encrypted, or compressed by a rare method.
    """
    shown = shown or path
    with path.open("rb") as handle:
        size = path.stat().st_size - start if size is None else size
        try:
            infos = sorted(_infos(handle, start, size), key=lambda info: -info.header_offset)
            members = []
            while infos:  # they are large: 0.5 kB each
                info = infos.pop()
                raw = member_name(info)
                name = None if raw.endswith("/") or is_link(info) else plain_name(shown, raw)
                if name is not None:
                    at = _offset(shown, info, handle, start, location.base)
                    members.append(Member(name, at, info.file_size))
            return members
        except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, ValueError) as error:
            raise damaged(shown, error) from None


def member_name(info: zipfile.ZipInfo) -> str:
    """Return the name of an entry; old writers on Windows separate folders by backslashes."""
    if info.create_system == FAT and "/" not in info.filename:
        return info.filename.replace("\\", "/")
    return info.filename


def is_link(info: zipfile.ZipInfo) -> bool:
    """Tell whether an entry is a symbolic link."""
    return (info.external_attr >> 16) & 0o170000 == 0o120000


def check_encryption(path: Path, info: zipfile.ZipInfo) -> None:
    """Raise `ContainerError` for an entry that is encrypted."""
    if info.flag_bits & ENCRYPTED:
        raise _refused(path, info, "encrypted")


def _infos(handle: BinaryIO, start: int, size: int) -> list[zipfile.ZipInfo]:
    with zipfile.ZipFile(io.BufferedReader(Slice(handle, start, size))) as archive:
        return archive.infolist()


def _offset(path: Path, info: zipfile.ZipInfo, handle: BinaryIO, start: int, base: int) -> int:
    check_encryption(path, info)
    if info.compress_type == DEFLATE64:
        raise NeedsConversion
    if info.compress_type not in READABLE:
        raise _refused(path, info, f"method {info.compress_type}")
    header = start + info.header_offset
    handle.seek(header)
    local = handle.read(30)
    if local[:4] != b"PK\x03\x04" or len(local) < 30:
        raise EOFError(f"no member starts at byte {header}, where '{info.filename}' should be")
    name, extra = struct.unpack("<HH", local[26:30])
    data = header + 30 + name + extra
    if data + info.compress_size > os.fstat(handle.fileno()).st_size:
        raise EOFError(f"it ends inside member '{info.filename}'")
    return base + data if info.compress_type == zipfile.ZIP_STORED else -2 - header - base


def _refused(path: Path, info: zipfile.ZipInfo, how: str) -> ContainerError:
    step = "Repack the archive as a plain zip and correct the manifest."
    where, expected = f"{path}: member '{info.filename}'", "stored, deflated or deflate64 data"
    return ContainerError.at(where, expected, how, step=step)
