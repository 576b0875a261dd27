"""Convert other archives to an uncompressed tar, once; members are read from it.

A copy has a stamp beside it that says what it was made from, and its sha256: another checksum
in the manifest, or another content of the copy, makes it again. Both are written after the copy
is whole. Copies of earlier versions have no hash.
"""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO

from autods.containers.base import Listing, NeedsConversion, damaged, plain_name, unwritable
from autods.containers.compressed import ERRORS, unpacked
from autods.containers.kinds import Kind
from autods.containers.locations import Location
from autods.containers.rars import check_rar
from autods.containers.sizes import unpacked_limit
from autods.containers.system_tools import TOOLS, ToolFailed, Unpacked
from autods.containers.tars import TarWriter, expand_tar, list_tar
from autods.containers.zips import FALLBACK, guessed_names
from autods.core.files import BLOCK, atomic, hash_file
from autods.core.progress import Progress
from autods.core.unchanged import cached, remember, touched
from autods.errors import ToolMissing

HASH = "\nsha256 "  # stands in a stamp between what a copy was made from and its hash


def made_once(target: Path, source: str, make: Callable[[Path], None]) -> None:
    """Have ``make`` write ``target``, unless it was made from the same ``source`` before.

    ``source`` tells what it is made from and how; the stamp keeps it. After an error
    ``target`` is as before or absent.
    """
    stamp = _stamp(target)
    if target.is_file() and _stamped(target)[0] == source and not has_changed(target):
        return
    try:
        stamp.unlink(missing_ok=True)
        with atomic(target) as temporary:
            make(temporary)
        written = hash_file(target, "sha256")
        with atomic(stamp) as temporary:
            temporary.write_text(f"{source}{HASH}{written}", encoding="utf-8")
    except OSError as error:
        raise unwritable(target, error) from None
    remember(*_memory(target, written))


def has_changed(target: Path, *, always: bool = False) -> bool:
    """Tell whether a copy is no longer what was written, as far as its stamp knows its sha256.

    It is hashed if it was touched since it was last hashed, or ``always``.
    """
    written = _stamped(target)[1]
    if not written or not (always or touched(*_memory(target, written))):
        return False
    if hash_file(target, "sha256") != written:
        return True
    remember(*_memory(target, written))
    return False


def converted(
    copy: Path,
    checksum: str,
    make: Callable[[Path], None],
    *,
    shown: Path,
    location: Location,
) -> Listing:
    """List a converted copy, which is made first unless there is one of this ``checksum``."""
    made_once(copy, checksum, make)
    try:
        return list_tar(copy, shown=shown, location=location)
    except NeedsConversion:  # a copy of an earlier version, which left sparse members as they are
        _stamp(copy).unlink()
    made_once(copy, checksum, make)
    return list_tar(copy, shown=shown, location=location)


def decompress(
    source: BinaryIO, shown: Path, kind: Kind, name: str, target: Path, progress: Progress
) -> None:
    """Write what a compressed file holds as an uncompressed tar.

    A compressed tar gives its own bytes, unless it has sparse members; a single file a tar with
    the member ``name``. `ContainerError`, which names ``shown``, if the source is damaged.
    """
    with target.open("wb") as plain:
        blocks = _blocks(source, kind.module, shown, progress)
        if kind.is_single:
            writer = TarWriter(plain)
            writer.stream(name, blocks)
            writer.close()
        else:
            plain.writelines(blocks)
    try:
        list_tar(target, shown=shown)  # a damaged archive leaves nothing behind
    except NeedsConversion:
        packed = target.with_name(target.name + ".sparse")
        target.replace(packed)
        try:
            expand(packed, shown, target, progress)
        finally:
            packed.unlink()


def expand(source: Path, shown: Path, target: Path, progress: Progress) -> None:
    """Write a tar with sparse members again, without holes."""
    with source.open("rb") as handle:
        expand_tar(handle, source.stat().st_size, shown, target, progress)


def copy_stamp(checksum: str, kind: Kind) -> str:
    """Return what a converted copy is made from and how, for `converted`."""
    # Copies that system tools made before had no links.
    return checksum if kind.module or kind.archive == "tar" else f"{checksum}\nwith links"


def _stamp(target: Path) -> Path:
    return target.with_name(target.name + ".source")


def _memory(target: Path, written: str) -> tuple[Path, dict[Path, str], Path]:
    """Return the arguments of `touched` and `remember` for one copy."""
    return target.parent, {target: written}, cached(target.parent)


def _stamped(target: Path) -> tuple[str, str]:
    """Return what a copy was made from, and its sha256; empty if nothing says so."""
    stamp = _stamp(target)
    if not stamp.is_file():
        return "", ""
    source, _, written = stamp.read_text(encoding="utf-8", errors="replace").partition(HASH)
    return source, written


def unpack(source: Path, shown: Path, archive: str, target: Path, progress: Progress) -> None:
    """Write the members of an archive that needs a system tool as a tar, sorted by name.

    The tar is the same whichever tool of ``TOOLS[archive]`` is used. `ToolMissing` if none is
    installed, `ContainerError` if none of those installed can read the archive.
    """
    tools = [(tool, path) for tool in TOOLS[archive] if (path := tool.find())]
    if not tools:
        raise _missing(shown, archive)
    crcs = check_rar(source, shown) if archive == "rar" else {}
    limit = unpacked_limit(source.stat().st_size)
    if archive == "zip" and (guessed := guessed_names(source)):
        progress.note(
            f"{shown}: {len(guessed):,} names are not UTF-8 and were read as {FALLBACK}, for "
            f"example {guessed[0]!r}"
        )
    complaints = []
    for tool, executable in tools:
        try:
            with closing(tool.unpack(executable, source, archive)) as members:
                _write_sorted(members, crcs, shown, target, progress, limit)
            return
        except ToolFailed as error:
            complaints.append(f"{Path(executable).name}: {error}")
    others = [tool.executables[0] for tool in TOOLS[archive] if not tool.find()]
    advice = f"; install {' or '.join(others)}, which may read it" if others else ""
    raise damaged(shown, f"no tool can unpack it ({'; '.join(complaints)}){advice}")


def _write_sorted(
    members: Iterable[Unpacked],
    crcs: Mapping[str, int],
    shown: Path,
    target: Path,
    progress: Progress,
    limit: int,
) -> None:
    """Write members as a tar: first into one nameless file in their order, then sorted.

    `ContainerError` if they have more than ``limit`` bytes.
    """
    byte_ranges: dict[str, tuple[int, int]] = {}
    others: dict[str, Unpacked] = {}  # links and special files
    with tempfile.TemporaryFile(dir=target.parent) as bag:
        for member in members:
            name = plain_name(shown, member.name)
            if name is None:  # without its content, which nobody reads
                others[member.name] = Unpacked(member.name)
                continue
            byte_ranges.pop(name, None)  # of several with one name the last counts
            others.pop(name, None)
            if member.stream is None:
                others[name] = member
                continue
            byte_ranges[name] = start, size = bag.tell(), member.size
            if start + size > limit:
                raise damaged(shown, f"more than {limit:,} bytes come out of it")
            crc = 0
            while block := member.stream.read(min(BLOCK, start + size - bag.tell())):
                bag.write(block)
                crc = zlib.crc32(block, crc)
                progress.advance(len(block))
            if bag.tell() != start + size or crcs.get(member.name, crc) != crc:
                raise ToolFailed(f"'{name}' came out incomplete or with a wrong CRC")
        if not byte_ranges and not others:
            raise ToolFailed("it holds no files")
        with target.open("wb") as handle:
            writer = TarWriter(handle)
            for name in sorted([*byte_ranges, *others]):
                if name in others:
                    writer.other(name, others[name].kind, others[name].target)
                    continue
                start, size = byte_ranges[name]
                bag.seek(start)
                writer.copy(name, bag, size)
            writer.close()


@contextmanager
def converting(title: str, progress: Progress) -> Iterator[None]:
    """Report a conversion, in bytes."""
    progress.start(f"converting {title}", None, "bytes")
    try:
        yield
    finally:
        progress.finish()


def _blocks(source: BinaryIO, module: str, shown: Path, progress: Progress) -> Iterator[bytes]:
    blocks = unpacked(source, module)
    while True:
        try:
            block = next(blocks)
        except StopIteration as end:
            if end.value:
                progress.note(f"{shown}: the last {end.value:,} bytes are no part of it: ignored")
            return
        except ERRORS as error:
            raise damaged(shown, error) from None
        progress.advance(len(block))
        yield block


def _missing(shown: Path, archive: str) -> ToolMissing:
    tools = TOOLS[archive]
    names = ", ".join(name for tool in tools for name in tool.executables)
    what = "a zip with deflate64 data" if archive == "zip" else f"a {archive} archive"
    first = tools[0]
    return ToolMissing(
        f"{shown}: {what} needs one of the tools {names}, and none is installed; nothing was "
        f"changed. Install one, for example 'apt-get install {first.debian}' (Debian, Ubuntu), "
        f"'conda install -c conda-forge {first.conda}' or 'brew install {first.brew}' (macOS), "
        "then run the same command again."
    )
