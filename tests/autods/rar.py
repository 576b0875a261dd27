"""Write real RAR archives (version 5), whose members are stored. No free tool makes any.

The format: https://www.rarlab.com/technote.htm
"""

import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

SIGNATURE = b"Rar!\x1a\x07\x01\x00"
MAIN, FILE, END = 1, 2, 5  # types of headers
HAS_DATA = 2  # header flag: content follows the header
HAS_CRC = 4  # file flag
UNIX = 1
MODE = 0o100644


def make_rar(path: Path, files: Mapping[str, bytes]) -> Path:
    """Write an archive with these members; names are taken as they are, also unsafe ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = [SIGNATURE, _header(MAIN, 0, _number(0))]
    for name, data in files.items():
        parts += [_file_header(name, data), data]
    parts.append(_header(END, 0, _number(0)))
    path.write_bytes(b"".join(parts))
    return path


def _file_header(name: str, data: bytes) -> bytes:
    encoded = name.encode()
    fields = [
        _number(len(data)),  # size of the content in the archive
        _number(HAS_CRC),
        _number(len(data)),
        _number(MODE),
        struct.pack("<I", zlib.crc32(data)),
        _number(0),  # stored
        _number(UNIX),
        _number(len(encoded)),
        encoded,
    ]
    return _header(FILE, HAS_DATA, b"".join(fields))


def _header(kind: int, flags: int, fields: bytes) -> bytes:
    body = _number(kind) + _number(flags) + fields
    sized = _number(len(body)) + body
    return struct.pack("<I", zlib.crc32(sized)) + sized


def _number(value: int) -> bytes:
    """Seven bits a byte, lowest first; the upper bit says that more follow."""
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])
