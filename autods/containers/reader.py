"""Read single members by their entries in the sample index."""

from __future__ import annotations

import os
import struct
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from autods.containers.base import damaged, unwritable
from autods.containers.locations import (
    Location,
    inner_archives,
    location_path,
    split_offset,
)
from autods.containers.sizes import WHOLE, unpacked_limit
from autods.core.refusals import REFUSALS
from autods.core.root import DataRoot, inside
from autods.core.slices import BELOW_FOLDERS, READ, open_slice, read_at
from autods.errors import ContainerError, DamagedMember

ZIP_LOCAL_HEADER = 30  # bytes before the name, APPNOTE 4.3.7
BLOCK = 1 << 16
LARGE_BLOCK = 1 << 20
FIRST = 256  # bytes read beyond a member's size: its header and name

# Container, member, offset, size and CRC-32 (-1: none): columns of the sample index.
Address = tuple[str, str, int, int, int]
Key = tuple[str, Location, str]  # manifest file, location, inner archive: identifies one file


class MemberReader:
    """Read members of one dataset by container, member, offset, size and CRC-32 of the index.

    Never lists an archive, so a worker process starts at once. Files are opened when
    first needed and read with ``pread``, which keeps no position: one reader may be
    used by several threads, carried over ``fork``, and pickled to spawned workers.
    """

    def __init__(self, root: DataRoot, dataset: str) -> None:
        self.root = root
        self.dataset = dataset
        self._open: dict[Key, tuple[int, Path]] = {}
        self._folders: dict[str, int] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root, "dataset": self.dataset, "_open": {}, "_folders": {}}

    def read(self, container: str, member: str, offset: int, size: int, crc32: int = -1) -> bytes:
        """Return the bytes of one member, uncompressed; the arguments are columns of the index.

        They are compared with the CRC-32, if there is one.

        Raises
        ------
        ContainerError
            When the file is missing or shorter than the index says.
        DamagedMember
            When only this member's data is damaged.
        """
        if offset == -1:
            try:
                return self._own_bytes(container, member)
            except (EOFError, OSError) as error:
                raise _gone(self._own_file(container, member), error) from None
        descriptor, path = self._descriptor(container, member, offset)
        _, byte, deflated = split_offset(offset)
        _check_size(path, member, size, WHOLE)
        with _explained(path, member):
            if deflated:
                return b"".join(_checked(_inflated(descriptor, byte, size), crc32))
            return b"".join(_checked([_exactly(descriptor, byte, size)], crc32))

    def open(
        self, container: str, member: str, offset: int, size: int, crc32: int = -1
    ) -> BinaryIO:
        """Open one member as a seekable file; for members too large to read whole.

        A deflated one is unpacked into a nameless file on the dataset's disk, which
        vanishes when it is closed; another one with a CRC-32 is read once before. Parameters and
        errors as of `read`.
        """
        if offset == -1:
            path = self._own_file(container, member)
            try:
                return path.open("rb")
            except OSError as error:
                raise _gone(path, error) from None
        descriptor, path = self._descriptor(container, member, offset)
        _, byte, deflated = split_offset(offset)
        if deflated:
            _check_size(path, member, size, unpacked_limit(os.fstat(descriptor).st_size))
        with _explained(path, member):
            if deflated:
                return self.unpacked(_checked(_inflated(descriptor, byte, size), crc32))
            if crc32 >= 0:
                for _ in _checked(_stored(descriptor, byte, size), crc32):
                    pass
        return open_slice(path, byte, size)

    def begin(self, container: str, member: str, offset: int, size: int, crc32: int = -1) -> bytes:
        """Return the first 64 KiB of one member, which no CRC is of; else as of `read`."""
        if offset == -1:
            with self.open(container, member, offset, size) as handle:
                return handle.read(BLOCK)
        descriptor, path = self._descriptor(container, member, offset)
        _, byte, deflated = split_offset(offset)
        with _explained(path, member):
            if deflated:
                return next(_inflated(descriptor, byte, size), b"")
            return _exactly(descriptor, byte, min(size, BLOCK))

    def unpacked(self, blocks: Iterable[bytes]) -> BinaryIO:
        """Write blocks into a nameless file on the dataset's disk; return it, at its start."""
        folder = self.root.converted(self.dataset, "x").parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(folder, error) from None
        with tempfile.TemporaryFile(dir=folder) as handle:
            for block in blocks:
                try:
                    handle.write(block)
                except OSError as error:
                    raise unwritable(folder, error) from None
            handle.seek(0)
            return os.fdopen(os.dup(handle.fileno()), "rb")

    def close(self) -> None:
        """Release file handles; the reader can still be used."""
        while self._open:
            os.close(self._open.popitem()[1][0])
        while self._folders:
            os.close(self._folders.popitem()[1])

    def __del__(self) -> None:
        self.close()  # descriptors are numbers: nothing else would

    def paths(self, members: Iterable[tuple[str, str, int]]) -> set[Path]:
        """Return the files and folders with members, each given by container, name and offset."""
        return {self._path(key) for key in {self._key(*member) for member in members}}

    def _own_file(self, container: str, member: str) -> Path:
        return inside(self.root.archive(self.dataset, container), member)

    def _own_bytes(self, container: str, member: str) -> bytes:
        # From the folder on: walking the whole path would take longer than reading small files.
        if not BELOW_FOLDERS or ".." in member or "\\" in member or member[:1] == "/":
            return self._own_file(container, member).read_bytes()
        if container not in self._folders:
            folder = self.root.archive(self.dataset, container)
            self._folders[container] = os.open(folder, READ)
        descriptor = os.open(member, READ, dir_fd=self._folders[container])
        try:
            size = os.fstat(descriptor).st_size
            _check_size(self.root.archive(self.dataset, container), member, size, WHOLE)
            return _exactly(descriptor, 0, size)
        finally:
            os.close(descriptor)

    def _key(self, container: str, member: str, offset: int) -> Key:
        location = Location.ARCHIVE if offset == -1 else split_offset(offset)[0]
        if location < Location.INNER:
            return container, location, ""
        names = inner_archives(member)
        keys = [(container, location, name) for name in names]
        if len(keys) == 1:
            return keys[0]
        return next((key for key in keys if self._path(key).is_file()), keys[0])

    def _path(self, key: Key) -> Path:
        return location_path(self.root, self.dataset, *key)

    def _descriptor(self, container: str, member: str, offset: int) -> tuple[int, Path]:
        key = self._key(container, member, offset)
        if key not in self._open:
            path = self._path(key)
            try:
                self._open[key] = (os.open(path, READ), path)
            except OSError as error:
                raise _gone(path, error) from None
        return self._open[key]


def _check_size(path: Path, member: str, size: int, limit: int) -> None:
    if size > limit:
        raise DamagedMember(
            f"{path}: member '{member}' claims {size:,} bytes, more than the {limit:,} that are "
            "read of one; nothing was changed. Do not trust this archive, or repack it."
        )


def _exactly(descriptor: int, offset: int, size: int) -> bytes:
    blocks = []
    while size:
        block = read_at(descriptor, size, offset)
        if not block:
            raise EOFError(f"the file ends before byte {offset + size}")
        blocks.append(block)
        offset, size = offset + len(block), size - len(block)
    return b"".join(blocks) if len(blocks) != 1 else blocks[0]


def _stored(descriptor: int, start: int, size: int) -> Iterator[bytes]:
    for at in range(start, start + size, LARGE_BLOCK):
        yield _exactly(descriptor, at, min(LARGE_BLOCK, start + size - at))


def _checked(blocks: Iterable[bytes], crc32: int) -> Iterator[bytes]:
    """Pass blocks on; raise at the end unless they have the CRC-32 that the archive states."""
    crc = 0
    for block in blocks:
        crc = zlib.crc32(block, crc)
        yield block
    if crc32 not in (-1, crc):
        raise zlib.error(f"expected CRC-32 {crc32:08x}, as the archive states, got {crc:08x}")


def _inflated(descriptor: int, header: int, size: int) -> Iterator[bytes]:
    # The compressed size is not needed (and often absent here): deflate marks its own end.
    # Data that deflate cannot shrink is hardly longer than before, so small members and their
    # headers come with the first read; what is missing, and large members, with the next.
    first = read_at(descriptor, min(size + FIRST, BLOCK), header)
    if len(first) < ZIP_LOCAL_HEADER:
        raise EOFError(f"the file ends before byte {header + ZIP_LOCAL_HEADER}")
    name, extra = struct.unpack_from("<HH", first, 26)
    position = header + ZIP_LOCAL_HEADER + name + extra
    block = first[position - header :]
    engine, length = zlib.decompressobj(-zlib.MAX_WBITS), 0
    while not engine.eof and length <= size:
        block = block or read_at(descriptor, BLOCK, position)
        if not block:
            raise EOFError("the file ends inside compressed data")
        position += len(block)
        part = engine.decompress(block, size - length + 1)
        length += len(part)
        block = b""
        yield part
    if length != size:
        raise zlib.error(f"expected {size} bytes after decompression, got {length} or more")


@contextmanager
def _explained(path: Path, member: str) -> Iterator[None]:
    """Convert errors while reading a member into the errors of this package."""
    try:
        yield
    except (zlib.error, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno in REFUSALS:
            raise damaged(path, error) from None
        kind = DamagedMember if isinstance(error, zlib.error) else ContainerError
        raise kind(
            f"{path}: member '{member}' cannot be read: {error}; nothing was changed. If this "
            "happens to many members, delete the file, then fetch and index again."
        ) from None


def _gone(path: Path, error: EOFError | OSError) -> ContainerError:
    if isinstance(error, FileNotFoundError):
        return ContainerError(
            f"{path} is missing; nothing was changed. Run 'autods fetch' and 'autods index' "
            "for this dataset."
        )
    return damaged(path, error)
