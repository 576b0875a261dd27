"""Open a dataset's file as a container, converted first if necessary."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import BinaryIO
from unicodedata import normalize

from autods.containers.array_specs import ImageSource
from autods.containers.base import Container, Member, damaged, plain_name
from autods.containers.convert import converting, decompress, made_once, unpack
from autods.containers.kinds import Kind, kind_of, unpacked_name
from autods.containers.locations import Location, location_path
from autods.containers.nested import InnerArchives, inner_archive_names
from autods.containers.reader import MemberReader
from autods.containers.tars import list_tar
from autods.containers.zips import NeedsConversion, list_zip
from autods.core.files import BLOCK
from autods.core.progress import Progress, Silent
from autods.core.root import DataRoot
from autods.errors import ContainerError

UNREADABLE = (".zst", ".lzma", ".z", ".lz")  # compressed files that would pass for plain ones


class Listed:
    """A container whose members were listed; the one class for all kinds of container."""

    def __init__(self, reader: MemberReader, file: str, members: list[Member]) -> None:
        self._reader = reader
        self._file = file
        # Of several entries with one name the last counts, as it would after unpacking.
        self._by_name = {member.name: member for member in sorted(members, key=_name)}

    @cached_property
    def _by_form(self) -> dict[str, str]:
        """The composed form of each name to the name itself."""
        return {normalize("NFC", name): name for name in self._by_name}

    def members(self) -> list[Member]:
        """Return all files, sorted by name; no folders, no links."""
        return list(self._by_name.values())

    def find(self, name: str) -> Member:
        """Return one member by its name; raise `ContainerError` if absent.

        A single compressed file is found by its own name too: ``x.csv.gz`` is ``x.csv``.
        """
        if name not in self._by_name and name == self._file and kind_of(name).is_single:
            name = unpacked_name(name)
        if name not in self._by_name:  # macOS packs names in another form than lists have
            name = self._by_form.get(normalize("NFC", name), name)
        if name not in self._by_name:
            raise ContainerError(
                f"{self._file}: member '{name}' was expected but is not among its "
                f"{len(self._by_name)} members; nothing was changed. Correct the manifest."
            )
        return self._by_name[name]

    def read(self, name: str) -> bytes:
        """Return the content of one member; raise `ContainerError` if absent or damaged."""
        member = self.find(name)
        return self._reader.read(self._file, member.name, member.offset, member.size)

    def open(self, name: str) -> BinaryIO:
        """Return one member as a seekable file, of any size; what ends in ``.gz`` unpacked."""
        member = self.find(name)
        handle = self._reader.open(self._file, member.name, member.offset, member.size)
        if not member.name.lower().endswith(".gz"):
            return handle
        with handle, gzip.open(handle, "rb") as packed:
            try:
                return self._reader.unpacked(iter(lambda: packed.read(BLOCK), b""))
            except (EOFError, OSError, zlib.error) as error:
                raise damaged(Path(self._file, member.name), error) from None

    def close(self) -> None:
        """Release file handles."""
        self._reader.close()


def open_container(
    root: DataRoot,
    dataset: str,
    file: str,
    checksum: str,
    *,
    nested: Sequence[str] = (),
    arrays: Sequence[ImageSource] = (),
    progress: Progress | None = None,
) -> Container:
    """Open one file of a dataset and list its members.

    What cannot be read in place (compressed tars, rar, 7z, deflate64, single compressed
    files, arrays) is first converted into an uncompressed tar beside the archives; that is
    done once, and again only when the checksum has changed. Call this under the dataset's lock.

    Members that match a pattern of ``nested`` are archives and are opened too: what they hold
    are members ``inner.zip!/path`` in their stead. The images of ``arrays`` are members too.

    Raises
    ------
    ContainerError
        When the file is missing, damaged or of a kind that cannot be read.
    UnsafePath
        When a member's name is absolute or contains ``..``.
    LayoutError
        When an array is not as ``arrays`` says.
    """
    source = root.archive(dataset, file)
    if not source.exists():
        raise ContainerError(
            f"{source} is missing; nothing was changed. Run 'autods fetch {dataset}' first."
        )
    progress = progress or Silent()
    reader = MemberReader(root, dataset)
    # An array file that is compressed by itself is unpacked while its images are converted.
    kind = Kind() if arrays and kind_of(file).is_single else kind_of(file)
    members = _members(reader, source, file, kind, checksum, progress)
    if nested:
        inner = InnerArchives(reader, file, checksum, progress)
        names = set(inner_archive_names([member.name for member in members], nested))
        outer = [member for member in members if member.name in names]
        members = [member for member in members if member.name not in names]
        for archive in Listed(reader, file, outer).members():  # each name once
            members += inner.members(archive)
    if arrays:
        from autods.containers.arrays import array_members

        container = Listed(reader, file, members)
        members += array_members(root, dataset, file, container, arrays, checksum, progress)
    return Listed(reader, file, members)


def _members(
    reader: MemberReader, source: Path, file: str, kind: Kind, checksum: str, progress: Progress
) -> list[Member]:
    """List the members of a manifest file, from a converted copy if it needs one."""
    if source.is_dir():
        return list(_list_folder(source))
    if source.name.lower().endswith(UNREADABLE):
        raise ContainerError(
            f"{source}: expected a folder, zip, tar, compressed tar, rar, 7z, gz, bz2, xz or "
            f"plain file, got '{source.suffix}'; the file was left as it is. Repack it as a zip "
            "or tar."
        )
    try:
        if not kind.is_converted:
            listing = {"zip": list_zip, "tar": list_tar}.get(kind.archive)
            return listing(source) if listing else [Member(file, 0, source.stat().st_size)]
    except NeedsConversion:
        pass
    copy = location_path(reader.root, reader.dataset, file, Location.COPY)

    def make(temporary: Path) -> None:
        with converting(file, progress):
            if kind.module:
                with source.open("rb") as packed:
                    name = unpacked_name(source.name)
                    decompress(packed, source, kind, name, temporary, progress)
            else:
                unpack(source, source, kind.archive, temporary, progress)

    made_once(copy, checksum, make)
    return list_tar(copy, shown=source, location=Location.COPY)


def _name(member: Member) -> str:
    return member.name


def _list_folder(folder: Path) -> Iterator[Member]:
    for folder_path, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not (Path(folder_path) / name).is_symlink()]
        for name in names:
            path = Path(folder_path) / name
            relative = plain_name(folder, path.relative_to(folder).as_posix())
            if relative is not None and path.is_file() and not path.is_symlink():
                yield Member(relative, -1, path.stat().st_size)


def _refuse(error: OSError) -> None:
    raise damaged(Path(error.filename), error.strerror)
