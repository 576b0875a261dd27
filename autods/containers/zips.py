"""List a zip file, also one that lies inside another file."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from autods.containers.base import Listing, NeedsConversion, damaged, decode_name
from autods.containers.entries import Entries
from autods.containers.locations import Location
from autods.core.slices import Slice
from autods.errors import ContainerError

ENCRYPTED = 0x1  # general purpose flag, bit 0
UTF8 = 0x800  # flag, bit 11: the name is in UTF-8
FALLBACK = "cp437"  # what names without that flag are in, APPNOTE D.1
UNICODE_PATH = 0x7075  # extra field with the name in UTF-8
FAT = 0  # the system of an entry's writer, APPNOTE 4.4.2
DEFLATE64 = 9  # APPNOTE 4.4.5; zlib cannot read it
READABLE = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
LOCAL = b"PK\x03\x04"  # the header before the content of an entry, APPNOTE 4.3.7
SHRINK = 1032  # deflate makes no data shorter than by this factor
HEADER = 30  # bytes of a local header without name and extra fields: no entry is shorter
LAST = b"PK\5\6"  # the record after all entries, APPNOTE 4.3.16: 22 bytes and a comment
LAST_BYTES, COMMENT_BYTES = 22, (1 << 16) - 1
LINK_BYTES = 4096  # as long as a path may be
ZIP_ERRORS = (
    zipfile.BadZipFile, EOFError, OSError, NotImplementedError, ValueError, zlib.error,
    RecursionError, OverflowError, struct.error, IndexError, RuntimeError,
)  # fmt: skip


def list_zip(
    path: Path,
    start: int = 0,
    size: int | None = None,
    *,
    shown: Path | None = None,
    location: Location = Location.ARCHIVE,
) -> Listing:
    """List the entries of a zip file, or of one stored in ``path`` at ``start``.

    Offsets count from the start of ``path``; ``shown`` is the file that errors name. Several
    zips one after the other are one. `ContainerError` if the zip is damaged, encrypted, or
    compressed by a rare method; `NeedsConversion` if it has deflate64 data.
    """
    shown = shown or path
    entries = Entries(shown)
    with path.open("rb") as handle:
        size = path.stat().st_size - start if size is None else size
        try:
            _enter(entries, handle, start, size, location.base, shown)
        except UnicodeDecodeError as error:
            raise damaged(shown, f"a name that should be UTF-8 is not: {error.object!r}") from None
        except ZIP_ERRORS as error:
            raise damaged(shown, error) from None
    return entries.listing()


def _enter(
    entries: Entries, handle: BinaryIO, start: int, size: int, base: int, shown: Path
) -> None:
    """Add the entries of a zip in the order of their contents."""
    with zipfile.ZipFile(io.BufferedReader(Slice(handle, start, size))) as archive:
        infos = sorted(archive.infolist(), key=lambda info: -info.header_offset)
        directory = archive.start_dir
        links = {
            info.header_offset: link_target(shown, archive, info) for info in infos if is_link(info)
        }
    if sum(info.compress_size for info in infos) > size:
        raise zipfile.BadZipFile("its members overlap")
    if infos:
        _enter_first(entries, handle, start, infos[-1].header_offset, base, shown)
    end = infos[-1].header_offset if infos else directory
    while infos:  # they are large: 0.5 kB each
        info = infos.pop()
        _tell_unnamed(entries, end, info.header_offset)
        end = max(end, _end(info, handle, start))
        if info.header_offset in links:
            entries.symlink(_path(info, entries.decoded(*_name(info))), links[info.header_offset])
        elif not _path(info, info.filename).endswith("/"):
            at = _offset(shown, info, handle, start, base)
            name = _path(info, entries.decoded(*_name(info)))
            entries.file(name, at, info.file_size, info.CRC)
        elif info.file_size:  # a folder has no content
            entries.special(_path(info, entries.decoded(*_name(info))))
    _tell_unnamed(entries, end, directory)
    if rest := _rest(handle, start, size):
        entries.special(f"({rest:,} bytes after the end of the archive)")


def _enter_first(
    entries: Entries, handle: BinaryIO, start: int, size: int, base: int, shown: Path
) -> None:
    """Add what lies before the first entry of a zip: another zip, or other bytes."""
    handle.seek(start)
    if not size:
        return
    if handle.read(4) == LOCAL:
        with suppress(*ZIP_ERRORS):
            _enter(entries, handle, start, size, base, shown)
            return
    entries.special(f"({size:,} bytes before the archive)")


def _tell_unnamed(entries: Entries, end: int, begin: int) -> None:
    """Tell of bytes between two entries that the directory does not name: an entry may be there."""
    if begin - end >= HEADER:
        entries.special(f"({begin - end:,} bytes at byte {end:,}, which the archive does not name)")


def _end(info: zipfile.ZipInfo, handle: BinaryIO, start: int) -> int:
    """Return where the content of an entry ends; its start where no entry is."""
    handle.seek(start + info.header_offset)
    local = handle.read(HEADER)
    if local[:4] != LOCAL or len(local) < HEADER:
        return info.header_offset
    return _content_at(info.header_offset, local) + info.compress_size


def _content_at(header: int, local: bytes) -> int:
    """Return where the content of an entry begins, from its local header and where that is."""
    name, extra = struct.unpack("<HH", local[26:HEADER])
    return header + HEADER + int(name) + int(extra)


def _rest(handle: BinaryIO, start: int, size: int) -> int:
    """Return the number of bytes after the last record of a zip and its comment."""
    begin = start + max(0, size - LAST_BYTES - COMMENT_BYTES)
    handle.seek(begin)
    tail = handle.read(start + size - begin)
    at = tail.rfind(LAST)
    if at < 0 or at + LAST_BYTES > len(tail):
        return 0
    comment = int.from_bytes(tail[at + LAST_BYTES - 2 : at + LAST_BYTES], "little")
    return max(0, len(tail) - at - LAST_BYTES - comment)


def link_target(shown: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> str:
    """Return the target of a symbolic link, which is its content."""
    check_encryption(shown, info)
    if info.compress_type == DEFLATE64:
        raise NeedsConversion
    if info.file_size > LINK_BYTES:
        raise zipfile.BadZipFile(f"link '{info.filename}' has {info.file_size:,} bytes")
    return decode_name(archive.read(info), FALLBACK)[0]


def member_name(info: zipfile.ZipInfo) -> tuple[str, str]:
    """Return the name of an entry, and the encoding if it was guessed, as `decode_name` does."""
    name, guessed = decode_name(*_name(info))
    return _path(info, name), guessed


def guessed_names(path: Path) -> list[str]:
    """Return the names in a zip whose encoding was guessed."""
    with zipfile.ZipFile(path) as archive:
        return [name for name, guessed in map(member_name, archive.infolist()) if guessed]


def _name(info: zipfile.ZipInfo) -> tuple[bytes, str]:
    """Return the bytes of an entry's name, and in what they are if not in UTF-8.

    Many writers leave out the flag that says UTF-8, above all that of macOS.
    """
    if info.flag_bits & UTF8:
        return info.filename.encode(), FALLBACK
    if path := _unicode_path(info):  # first: from Python 3.12 on zipfile has taken it as the name
        return path, FALLBACK
    return info.filename.encode(FALLBACK), FALLBACK  # as zipfile has decoded it


def _unicode_path(info: zipfile.ZipInfo) -> bytes:
    """Return the name in UTF-8 of an entry that has it in addition, APPNOTE 4.6.9."""
    extra, name = info.extra, info.orig_filename.encode(FALLBACK)
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        field, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == UNICODE_PATH and field[:1] == b"\1" and len(field) == size > 5:
            # one of another name was left behind when the entry was renamed
            return field[5:] if field[1:5] == struct.pack("<I", zlib.crc32(name)) else b""
    return b""


def _path(info: zipfile.ZipInfo, name: str) -> str:
    """Return a name with slashes; old writers on Windows separate folders by backslashes."""
    return name.replace("\\", "/") if info.create_system == FAT and "/" not in name else name


def is_link(info: zipfile.ZipInfo) -> bool:
    """Tell whether an entry is a symbolic link."""
    return (info.external_attr >> 16) & 0o170000 == 0o120000


def check_encryption(path: Path, info: zipfile.ZipInfo) -> None:
    """Raise `ContainerError` for an entry that is encrypted."""
    if info.flag_bits & ENCRYPTED:
        raise _refused(path, info, "encrypted")


def _offset(path: Path, info: zipfile.ZipInfo, handle: BinaryIO, start: int, base: int) -> int:
    check_encryption(path, info)
    if info.compress_type == DEFLATE64:
        raise NeedsConversion
    if info.compress_type not in READABLE:
        raise _refused(path, info, f"method {info.compress_type}")
    stored = info.compress_type == zipfile.ZIP_STORED
    least = info.file_size if stored else info.file_size // SHRINK
    if (least != info.compress_size) if stored else (least > info.compress_size):
        raise zipfile.BadZipFile(
            f"member '{info.filename}' claims {info.file_size:,} bytes, packed into "
            f"{info.compress_size:,}"
        )
    header = start + info.header_offset
    handle.seek(header)
    local = handle.read(HEADER)
    if local[:4] != LOCAL or len(local) < HEADER:
        raise EOFError(f"no member starts at byte {header}, where '{info.filename}' should be")
    data = _content_at(header, local)
    if data + info.compress_size > os.fstat(handle.fileno()).st_size:
        raise EOFError(f"it ends inside member '{info.filename}'")
    return base + data if stored else -2 - header - base


def _refused(path: Path, info: zipfile.ZipInfo, how: str) -> ContainerError:
    step = "Repack the archive as a plain zip and correct the manifest."
    where, expected = f"{path}: member '{info.filename}'", "stored, deflated or deflate64 data"
    return ContainerError.at(where, expected, how, step=step)
