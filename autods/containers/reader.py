"""Read single members by what the sample index says of them."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import Any

from autods.containers.base import NESTED, damaged
from autods.containers.kinds import is_compressed_tar
from autods.errors import ContainerError, DamagedMember
from autods.root import DataRoot, inside

ZIP_LOCAL_HEADER = 30  # bytes before the name, APPNOTE 4.3.7
BLOCK = 1 << 16


class MemberReader:
    """Read members of one dataset by container, member, offset and size of the index.

    Never lists an archive, so a worker process starts at once. Files are opened when
    first needed and read with ``pread``, which keeps no position: one reader may be
    used by several threads, carried over ``fork``, and pickled to spawned workers.

    Parameters
    ----------
    root, dataset
        Where the files lie.

    Examples
    --------
    >>> reader = MemberReader(root, "flowers")                             # doctest: +SKIP
    >>> data = reader.read(row.container, row.member, row.offset, row.size)  # doctest: +SKIP
    """

    def __init__(self, root: DataRoot, dataset: str) -> None:
        self.root = root
        self.dataset = dataset
        self._open: dict[tuple[str, str], tuple[int, Path]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root, "dataset": self.dataset, "_open": {}}

    def read(self, container: str, member: str, offset: int, size: int) -> bytes:
        """Return the bytes of one member, uncompressed.

        Parameters
        ----------
        container, member, offset, size
            The columns of the sample index; see `Member` for what ``offset`` means.

        Raises
        ------
        ContainerError
            When the file is missing or shorter than the index says.
        DamagedMember
            When only this member's compressed data is damaged.
        """
        if offset == -1:
            path = inside(container_path(self.root, self.dataset, container), member)
            try:
                return path.read_bytes()
            except OSError as error:
                raise _gone(path, error) from None
        descriptor, path = self._descriptor(container, member)
        try:
            if offset >= 0:
                return _exactly(descriptor, offset, size)
            return _inflated(descriptor, -2 - offset, size)
        except zlib.error as error:
            raise DamagedMember(
                f"{path}: member '{member}' cannot be decompressed: {error}; nothing was changed. "
                "If this happens to many members, delete the file, then fetch and index again."
            ) from None
        except (EOFError, OSError) as error:
            raise ContainerError(
                f"{path}: member '{member}' cannot be read: {error}; nothing was changed. If "
                "this happens to many members, delete the file, then fetch and index again."
            ) from None

    def close(self) -> None:
        """Release file handles; the reader can still be used."""
        while self._open:
            os.close(self._open.popitem()[1][0])

    def path(self, container: str, member: str) -> Path:
        """Return the file or folder in which a member's bytes lie."""
        inner, nested, _ = member.partition(NESTED)
        path = container_path(self.root, self.dataset, container)
        extracted = inner_path(self.root, self.dataset, container, inner) if nested else path
        return extracted if extracted.is_file() else path

    def _descriptor(self, container: str, member: str) -> tuple[int, Path]:
        inner, nested, _ = member.partition(NESTED)
        key = (container, inner if nested else "")
        if key not in self._open:
            path = self.path(container, member)
            try:
                self._open[key] = (os.open(path, os.O_RDONLY | os.O_CLOEXEC), path)
            except OSError as error:
                raise _gone(path, error) from None
        return self._open[key]


def container_path(root: DataRoot, dataset: str, file: str) -> Path:
    """Return the file or folder that members of ``file`` are read from."""
    if is_compressed_tar(file):
        return root.converted(dataset, file + ".tar")
    return root.archive(dataset, file)


def inner_path(root: DataRoot, dataset: str, file: str, inner: str) -> Path:
    """Return the place of a nested zip if it cannot be read inside ``file``."""
    path = container_path(root, dataset, file)
    return inside(path, inner) if path.is_dir() else root.converted(dataset, f"{file}!/{inner}")


def _exactly(descriptor: int, offset: int, size: int) -> bytes:
    parts = []
    while size:
        part = os.pread(descriptor, size, offset)
        if not part:
            raise EOFError(f"the file ends before byte {offset + size}")
        parts.append(part)
        offset, size = offset + len(part), size - len(part)
    return b"".join(parts) if len(parts) != 1 else parts[0]


def _inflated(descriptor: int, header: int, size: int) -> bytes:
    # The compressed size is not needed (and often absent here): deflate marks its own end.
    name, extra = struct.unpack("<HH", _exactly(descriptor, header + 26, 4))
    position = header + ZIP_LOCAL_HEADER + name + extra
    engine, parts, length = zlib.decompressobj(-zlib.MAX_WBITS), [], 0
    while not engine.eof and length <= size:
        block = os.pread(descriptor, BLOCK, position)
        if not block:
            raise EOFError("the file ends inside compressed data")
        position += len(block)
        parts.append(engine.decompress(block, size - length + 1))
        length += len(parts[-1])
    if length != size:
        raise zlib.error(f"expected {size} bytes after decompression, got {length} or more")
    return b"".join(parts)


def _gone(path: Path, error: OSError) -> ContainerError:
    if isinstance(error, FileNotFoundError):
        return ContainerError(
            f"{path} is missing; nothing was changed. Run 'autods fetch' and 'autods index' "
            "for this dataset."
        )
    return damaged(path, error.strerror)
