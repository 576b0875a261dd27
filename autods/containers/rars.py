"""Check that a RAR file is whole and read its CRCs; bsdtar checks neither.

bsdtar 3.6 takes a file that ends between two members for a shorter archive and does not
compare the CRC of a stored member; Debian's 7-Zip, which would, is built without RAR.
"""

from __future__ import annotations

import io
import os
import zlib
from pathlib import Path
from typing import BinaryIO

from autods.containers.base import damaged
from autods.errors import ContainerError

# https://www.rarlab.com/technote.htm
SIGNATURE = b"Rar!\x1a\x07\x01\x00"  # version 5
FILE, ENCRYPTION, END = 2, 4, 5  # types of headers
HAS_EXTRA, HAS_DATA = 1, 2  # flags of any header
HAS_TIME, HAS_CRC = 2, 4  # flags of a file
ANOTHER_VOLUME = 1  # flag of an end
HEADER_BYTES = 1 << 21  # of a header at most: three bytes tell its size
NUMBER_BITS = 70  # of a number: ten bytes at most


def check_rar(path: Path, shown: Path) -> dict[str, int]:
    """Follow the headers of a version 5 archive to its end; return member name to CRC.

    Archives of older versions need not have an end: nothing is known of them here.
    `ContainerError` if the archive is cut off, encrypted, or one of several volumes.
    """
    crcs: dict[str, int] = {}
    with path.open("rb") as handle:
        if handle.read(len(SIGNATURE)) != SIGNATURE:
            return crcs
        size = os.fstat(handle.fileno()).st_size
        while True:
            start = handle.tell()
            try:
                header = _header(handle)
                kind, flags = _number(header), _number(header)
                if flags & HAS_EXTRA:
                    _number(header)
                content = _number(header) if flags & HAS_DATA else 0
                if kind == ENCRYPTION:
                    raise _refused(shown, "an encrypted archive")
                if kind == END:
                    if _number(header) & ANOTHER_VOLUME:
                        raise _refused(shown, "one of several volumes")
                    return crcs
                if kind == FILE:
                    crcs |= _file(header)
            except EOFError:
                raise damaged(shown, f"no header and no end of archive at byte {start}") from None
            if content > size or handle.seek(content, os.SEEK_CUR) > size:
                raise damaged(shown, f"it ends inside the member at byte {start}")


def _header(handle: BinaryIO) -> BinaryIO:
    """Return the next header from its type on; raise `EOFError` if there is none."""
    crc = int.from_bytes(handle.read(4), "little")
    start = handle.tell()
    size = _number(handle)
    length = handle.tell() - start + size
    if size > HEADER_BYTES:
        raise EOFError
    handle.seek(start)
    data = handle.read(length)
    if len(data) != length or zlib.crc32(data) != crc:
        raise EOFError
    return io.BytesIO(data[length - size :])


def _file(header: BinaryIO) -> dict[str, int]:
    """Return name and CRC of a file from the rest of its header, if it has a CRC."""
    flags, _, _ = _number(header), _number(header), _number(header)  # size and attributes
    if flags & HAS_TIME:
        header.read(4)
    if not flags & HAS_CRC:
        return {}
    crc = int.from_bytes(header.read(4), "little")
    _, _ = _number(header), _number(header)  # compression and system
    length = min(_number(header), HEADER_BYTES)
    return {header.read(length).decode(errors="surrogateescape"): crc}


def _number(source: BinaryIO) -> int:
    """Read a number: seven bits a byte, lowest first, the upper bit says that more follow."""
    value = shift = 0
    while shift < NUMBER_BITS and (byte := source.read(1)):
        value |= (byte[0] & 0x7F) << shift
        shift += 7
        if byte[0] < 0x80:
            return value
    raise EOFError


def _refused(shown: Path, what: str) -> ContainerError:
    expected = "a whole RAR archive that can be read without a password"
    step = "Repack it as a zip or tar and correct the manifest."
    return ContainerError.at(str(shown), expected, what, step=step)
