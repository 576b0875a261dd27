"""Open a dataset's file as a container, converted first if necessary."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from autods.containers.array_specs import ImageSource
from autods.containers.base import Member, damaged, plain_name
from autods.containers.container import Container
from autods.containers.convert import converting, decompress, made_once, unpack
from autods.containers.kinds import Kind, kind_of, unpacked_name
from autods.containers.locations import Location, location_path
from autods.containers.nested import InnerArchives
from autods.containers.reader import MemberReader
from autods.containers.tars import list_tar
from autods.containers.zips import NeedsConversion, list_zip
from autods.core.patterns import compile_pattern
from autods.core.progress import Progress, Silent
from autods.core.root import DataRoot
from autods.errors import ContainerError

UNREADABLE = (".zst", ".lzma", ".z", ".lz")  # compressed files that would pass for plain ones


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
        patterns = [compile_pattern(pattern) for pattern in nested]
        outer = {
            member.name: member
            for member in members
            if kind_of(member.name).archive and any(p.fullmatch(member.name) for p in patterns)
        }
        members = [member for member in members if member.name not in outer]
        for name in sorted(outer):
            members += inner.members(outer[name])
    if arrays:
        from autods.containers.arrays import array_members

        container = Container(reader, file, members)
        members += array_members(root, dataset, file, container, arrays, checksum, progress)
    return Container(reader, file, members)


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
