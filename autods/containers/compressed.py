"""Unpack gzip, bzip2 and xz streams block by block, and tell what follows the last of them."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Generator
from typing import BinaryIO, Protocol

from autods.core.files import BLOCK

MAGIC: dict[str, tuple[bytes, ...]] = {  # of each stream; of bzip2 with its first block or end
    "gzip": (b"\x1f\x8b\x08",),
    "bz2": tuple(
        b"BZh%d" % n + sign for n in range(1, 10) for sign in (b"1AY&SY", b"\x17rE8P\x90")
    ),
    "lzma": (b"\xfd7zXZ\0",),
}
ERRORS = (EOFError, OSError, ValueError, zlib.error, lzma.LZMAError)  # of damaged streams


class _Engine(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Gzip:
    """A decompressor of one gzip stream, like those of bz2 and lzma; it checks the CRC."""

    def __init__(self) -> None:
        self._engine = zlib.decompressobj(16 + zlib.MAX_WBITS)

    @property
    def eof(self) -> bool:
        return self._engine.eof

    @property
    def needs_input(self) -> bool:
        return not self._engine.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._engine.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._engine.decompress(self._engine.unconsumed_tail + data, max_length)


ENGINES: dict[str, Callable[[], _Engine]] = {
    "gzip": _Gzip,
    "bz2": bz2.BZ2Decompressor,
    "lzma": lzma.LZMADecompressor,
}


def unpacked(source: BinaryIO, module: str) -> Generator[bytes, None, int]:
    """Yield the content of all streams of a file; return how many bytes follow that are none.

    ``module`` is gzip, bz2 or lzma. gzip(1), bzip2(1) and xz(1) ignore what follows, too, and
    zeros between streams. One of `ERRORS` if a stream is damaged or cut off.
    """
    data = source.read(BLOCK)
    while True:
        engine: _Engine = ENGINES[module]()
        data = yield from _one(engine, source, data)
        while not data.strip(b"\0") and (more := source.read(BLOCK)):
            data = more
        data = data.lstrip(b"\0")
        if len(data) < len(MAGIC[module][0]):
            data += source.read(BLOCK)
        if not data.startswith(MAGIC[module]):
            rest = len(data)
            while block := source.read(BLOCK):
                rest += len(block)
            return rest


def _one(engine: _Engine, source: BinaryIO, data: bytes) -> Generator[bytes, None, bytes]:
    """Yield the content of one stream that begins with ``data``; return what was read beyond."""
    while not engine.eof:
        if engine.needs_input and not data and not (data := source.read(BLOCK)):
            raise EOFError("it ends inside compressed data")
        if content := engine.decompress(data, BLOCK):
            yield content
        data = b""
    return engine.unused_data
