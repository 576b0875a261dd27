"""List an uncompressed tar, and write one that is the same on every machine."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from autods.containers.base import Listing, NeedsConversion, damaged, decode_name, printable
from autods.containers.entries import Entries
from autods.containers.locations import Location
from autods.core.files import BLOCK
from autods.core.slices import Headers, Slice, open_slice
from autods.errors import AutodsError

if TYPE_CHECKING:
    from autods.core.progress import Progress

END = bytes(2 * tarfile.BLOCKSIZE)
# Bytes that sparse members may claim: so many, or so many times the bytes of their tar.
SPARSE_BYTES, SPARSE_TIMES = 1 << 30, 20
FALLBACK = "latin-1"  # of names that are not UTF-8: what most old archives use
HEADER_BYTES = 1 << 20  # of the extended headers of one entry: names, times, attributes
RECORD_DIGITS = 10  # of the length of a pax record, with the blank after it
EXTENDED = 20  # extended headers of one entry; tar(1) writes up to three
UNKNOWN = b"?"  # type of an entry that is neither file nor link


def list_tar(
    path: Path,
    start: int = 0,
    size: int | None = None,
    *,
    shown: Path | None = None,
    location: Location = Location.ARCHIVE,
) -> Listing:
    """List the entries of an uncompressed tar, or of one stored in ``path`` at ``start``.

    Offsets count from the start of ``path``; ``shown`` is the file that errors name. Several
    tars one after the other, as ``cat`` joins them, are one. `NeedsConversion` if it has
    sparse members.

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
    entries = Entries(shown)
    with open_slice(path, start, size) as handle:
        for info, at in read_headers(handle, size, shown):
            if info is None:
                entries.special(_rest(size - at))
                continue
            if info.issparse():
                raise NeedsConversion
            if info.size < 0:
                raise damaged(shown, f"member '{printable(info.name)}' has {info.size:,} bytes")
            if info.isdir():
                continue
            name, target = entries.decoded(_raw(info.name), FALLBACK), _target(info)
            if info.isreg():
                entries.file(name, base + at + info.offset_data, info.size)
            elif info.issym():
                entries.symlink(name, target)
            elif info.islnk():
                entries.hard_link(name, target)
            else:
                entries.special(name)
    return entries.listing()


def read_headers(
    handle: BinaryIO, size: int, shown: Path
) -> Iterator[tuple[tarfile.TarInfo | None, int]]:
    """Yield each entry of the tars in a file of ``size`` bytes, and the start of its tar.

    At the end ``None`` with the start of bytes that are no tar, if there are any: tar(1) ignores
    them. `ContainerError`, which names ``shown``, as `list_tar` raises it.
    """
    at = 0
    while at < size or not size:
        end = yield from _one_tar(Slice(handle, at, size - at), at, size - at, shown)
        at = _filled(handle, at + end, size)
        handle.seek(at)
        if at < size and not is_tar(handle.read(tarfile.BLOCKSIZE)):
            yield None, at
            return


def _one_tar(
    window: Slice, at: int, size: int, shown: Path
) -> Generator[tuple[tarfile.TarInfo, int], None, int]:
    """Yield the entries of the tar at the start of a window; return where it ends there."""
    reached, entries = 0, 0
    handle = Headers(window, HEADER_BYTES)
    try:
        with tarfile.open(fileobj=handle, mode="r:", tarinfo=_Entry) as archive:
            while (info := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # untyped; it keeps 1 kB of each
                reached, entries = (
                    info.offset_data + (info.size if info.isreg() else 0),
                    entries + 1,
                )
                yield info, at
            end = int(archive.offset)
    except AutodsError:
        raise
    except Exception as error:  # damaged headers make tarfile fail in every way there is
        if entries and reached == size:  # not even padding after the last member
            return size
        raise damaged(shown, error) from None
    handle.seek(end)
    last = handle.read(tarfile.BLOCKSIZE)
    if last != bytes(tarfile.BLOCKSIZE) and end != size:
        raise damaged(shown, f"no member and no end of archive at byte {at + end}")
    return min(end + tarfile.BLOCKSIZE, size)


class _Entry(tarfile.TarInfo):
    """An entry whose extended headers are few and well-formed.

    tarfile reads them by recursion, and looks for their records with an expression that takes
    minutes for some.
    """

    def _proc_pax(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        handle: Any = archive.fileobj
        start = handle.tell()
        _check_records(handle.read(self._whole_blocks()))
        handle.seek(start)
        parent: Any = super()
        return self._counted(archive, parent._proc_pax)

    def _proc_gnulong(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        parent: Any = super()
        return self._counted(archive, parent._proc_gnulong)

    def _whole_blocks(self) -> int:
        return -(-self.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE

    def _counted(
        self, archive: Any, process: Callable[[tarfile.TarFile], tarfile.TarInfo]
    ) -> tarfile.TarInfo:
        archive.extended = getattr(archive, "extended", 0) + 1
        try:
            if archive.extended > EXTENDED:
                raise tarfile.ReadError(f"more than {EXTENDED} headers of one member")
            return process(archive)
        finally:
            archive.extended -= 1


def _check_records(data: bytes) -> None:
    """Raise `tarfile.ReadError` unless data are pax records: ``LENGTH KEY=VALUE`` and a newline."""
    at = 0
    while at < len(data) and data[at]:
        length, blank, _ = data[at : at + RECORD_DIGITS].partition(b" ")
        end = at + int(length) if blank and length.isdigit() else 0
        record = data[at + len(length) + 1 : end]
        if not at < end <= len(data) or b"=" not in record or record[-1:] != b"\n":
            raise tarfile.ReadError("damaged records of an extended header")
        at = end


def _filled(handle: BinaryIO, start: int, size: int) -> int:
    """Return the start of the first block from ``start`` on that is not zeros; else ``size``."""
    handle.seek(start)
    while block := handle.read(min(BLOCK, size - start)):
        if (zeros := len(block) - len(block.lstrip(b"\0"))) < len(block):
            return start + zeros - zeros % tarfile.BLOCKSIZE
        start += len(block)
    return size


def is_tar(block: bytes) -> bool:
    """Tell whether 512 bytes are the header of an entry of a tar, by its checksum."""
    try:
        tarfile.TarInfo.frombuf(block[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return False
    return True


def expand_tar(handle: BinaryIO, size: int, shown: Path, target: Path, progress: Progress) -> None:
    """Write a tar again with the holes of sparse members filled, so that it is read in place.

    `ContainerError` if they claim far more bytes than the tar has.
    """
    allowed = max(SPARSE_BYTES, SPARSE_TIMES * size)
    with target.open("wb") as out:
        writer = TarWriter(out)
        for info, at in read_headers(handle, size, shown):
            if info is None:
                writer.other(_rest(size - at), UNKNOWN)
                continue
            name = info.name  # its bytes: the copy is listed as the tar would be
            if info.isreg():
                allowed -= info.size if info.issparse() else 0
                if allowed < 0:
                    what = f"sparse member '{printable(name)}' claims {info.size:,} bytes"
                    raise damaged(shown, what)
                writer.stream(name, _content(handle, info, at, shown))
                progress.advance(info.size)
            elif not info.isdir():
                writer.other(name, info.type, info.linkname)
        writer.close()


def _content(handle: BinaryIO, info: tarfile.TarInfo, at: int, shown: Path) -> Iterator[bytes]:
    """Yield the bytes of a member whose tar begins at byte ``at``; holes are zeros."""
    holes: Any = info.sparse  # typed as bytes in typeshed; it is a list of (start, length)
    segments: list[tuple[int, int]] = [(0, info.size)] if holes is None else holes
    position, stored = 0, at + info.offset_data
    for start, length in [*(one for one in segments if one[1]), (info.size, 0)]:
        if start < position or length < 0 or start + length > info.size:
            raise damaged(shown, f"the map of sparse member '{printable(info.name)}' is wrong")
        while position < start:
            yield bytes(count := min(BLOCK, start - position))
            position += count
        handle.seek(stored)
        while position < start + length:
            block = handle.read(min(BLOCK, start + length - position))
            if not block:
                raise damaged(shown, f"it ends inside member '{printable(info.name)}'")
            yield block
            position, stored = position + len(block), stored + len(block)


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

    def other(self, name: str, kind: bytes, target: str = "") -> None:
        """Write an entry without content: a link to ``target``, or a special file."""
        self._handle.write(_header(name, 0, kind, target))

    def close(self) -> None:
        """Write the end of the archive; the file itself stays open."""
        self._handle.write(END)

    def _pad(self, size: int) -> None:
        self._handle.write(bytes(-size % tarfile.BLOCKSIZE))


def _header(name: str, size: int, kind: bytes = tarfile.REGTYPE, target: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, target
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def _rest(size: int) -> str:
    return f"({size:,} bytes after the end of the archive)"


def _raw(name: str) -> bytes:
    """Return the bytes of a name as the standard library decodes it."""
    return name.encode(errors="surrogateescape")


def _target(info: tarfile.TarInfo) -> str:
    return decode_name(_raw(info.linkname), FALLBACK)[0]
