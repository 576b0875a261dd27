"""Open a dataset's file as a container, converted first if necessary."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from autods.containers.array_specs import ImageSource
from autods.containers.base import (
    Listing,
    Member,
    NeedsConversion,
    Why,
    cured,
    damaged,
    plain_name,
    printable,
)
from autods.containers.container import Container
from autods.containers.convert import (
    converted,
    converting,
    copy_stamp,
    decompress,
    expand,
    unpack,
)
from autods.containers.kinds import Kind, kind_of_file, unpacked_name
from autods.containers.locations import Location, location_path
from autods.containers.nested import InnerArchives
from autods.containers.reader import MemberReader
from autods.containers.tars import list_tar
from autods.containers.zips import list_zip
from autods.core.patterns import compile_pattern
from autods.core.progress import Progress, Silent
from autods.core.root import DataRoot
from autods.core.trees import Tree, list_tree
from autods.errors import ContainerError


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

    Its content says what it is; its name does where the content tells nothing. What cannot be
    read in place (compressed tars, tars with sparse members, rar, 7z, deflate64, single
    compressed files, arrays) is first converted into an uncompressed tar beside the archives;
    that is done once, and again only when the checksum has changed. Call this under the
    dataset's lock.

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
    with cured(source, checksum):
        kind = _kind(source)
        if arrays and kind.is_single:  # it is unpacked while its images are converted
            kind = Kind()
        listing = _listing(reader, source, file, kind, checksum, progress)
        if nested:
            inner = InnerArchives(reader, file, checksum, progress)
            listing = inner.opened(listing, [compile_pattern(pattern) for pattern in nested])
        if arrays:
            from autods.containers.arrays import array_members

            container = Container(reader, file, kind, listing)
            listing.members += array_members(
                root, dataset, file, container, arrays, checksum, progress
            )
        return Container(reader, file, kind, listing)


def _kind(source: Path) -> Kind:
    """Return what a manifest file is, by its content."""
    if source.is_dir():
        return Kind()
    try:
        with source.open("rb") as handle:
            kind = kind_of_file(handle, source.name)
    except OSError as error:
        raise damaged(source, error) from None
    if kind.unreadable:
        raise ContainerError(
            f"{source}: expected a folder, zip, tar, compressed tar, rar, 7z, gz, bz2, xz or "
            f"plain file, got '{kind.unreadable}'; the file was left as it is. Repack it as a zip "
            "or tar."
        )
    return kind


def _listing(
    reader: MemberReader, source: Path, file: str, kind: Kind, checksum: str, progress: Progress
) -> Listing:
    """List a manifest file, from a converted copy if it needs one."""
    if source.is_dir():
        return _list_folder(source)
    try:
        if not kind.is_converted:
            listing = {"zip": list_zip, "tar": list_tar}.get(kind.archive)
            name = unpacked_name(file)  # of one that came unpacked, though its name says .gz
            return listing(source) if listing else Listing([Member(name, 0, source.stat().st_size)])
    except NeedsConversion:
        pass
    copy = location_path(reader.root, reader.dataset, file, Location.COPY)

    def make(temporary: Path) -> None:
        with converting(file, progress):
            if kind.module:
                with source.open("rb") as packed:
                    name = unpacked_name(source.name)
                    decompress(packed, source, kind, name, temporary, progress)
            elif kind.archive == "tar":
                expand(source, source, temporary, progress)
            else:
                unpack(source, source, kind.archive, temporary, progress)

    stamp = copy_stamp(checksum, kind)
    return converted(copy, stamp, make, shown=source, location=Location.COPY)


def _list_folder(folder: Path) -> Listing:
    try:
        tree = list_tree(folder)
    except OSError as error:
        raise damaged(Path(error.filename or folder), error) from None
    return folder_listing(folder, tree)


def folder_listing(folder: Path, tree: Tree) -> Listing:
    """Return the entries of a folder as those of a container."""
    listing = Listing()
    for raw, size, linked in tree.files:
        name = plain_name(folder, raw)
        if name is None:
            listing.left.append((raw, Why.HIDDEN))
            continue
        listing.members.append(Member(name, -1, size))
        if linked:
            listing.links.add(name)
    for name, told in tree.left:
        why = Why.LINK if told.startswith("link") else Why.UNSUPPORTED
        listing.left.append((printable(name), why))
    return listing
