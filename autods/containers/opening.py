"""Open a dataset's file as a container, converting it first where that is needed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from autods.containers.base import NESTED, Container, Member, damaged, plain_name
from autods.containers.kinds import UNREADABLE, compression
from autods.containers.reader import MemberReader, container_path, inner_path
from autods.errors import ContainerError
from autods.files import atomic
from autods.progress import Progress, Silent
from autods.root import DataRoot

if TYPE_CHECKING:
    from autods.manifest import Manifest


class Listed:
    """A container whose members were listed; the one class for all kinds of container."""

    def __init__(self, reader: MemberReader, file: str, members: list[Member]) -> None:
        self._reader = reader
        self._file = file
        # A name that occurs twice stands for its last entry, as unpacking would leave it.
        self._by_name = {member.name: member for member in sorted(members, key=_name)}

    def members(self) -> list[Member]:
        """Return all files, sorted by name; no folders, no links."""
        return list(self._by_name.values())

    def find(self, name: str) -> Member:
        """Return one member by its name; raise `ContainerError` if absent."""
        if name not in self._by_name:
            raise ContainerError(
                f"{self._file}: member '{name}' was expected but is not among its "
                f"{len(self._by_name)} members; nothing was changed. Correct the manifest."
            )
        return self._by_name[name]

    def read(self, name: str) -> bytes:
        """Return the content of one member; raise `ContainerError` if absent or damaged."""
        member = self.find(name)
        return self._reader.read(self._file, name, member.offset, member.size)

    def close(self) -> None:
        """Release file handles."""
        self._reader.close()


def open_container(
    root: DataRoot,
    manifest: Manifest,
    file: str,
    *,
    nested: bool = False,
    progress: Progress | None = None,
) -> Container:
    """Open one file of a dataset and list its members.

    A compressed tar is first converted into an uncompressed one beside the archives;
    that is done once, and again only when the manifest's checksum has changed. Call
    this under the dataset's lock.

    Parameters
    ----------
    file
        Name of one of the manifest's files.
    nested
        Also list what is inside the container's own zip files, as ``inner.zip!/path``.

    Raises
    ------
    ContainerError
        When the file is missing, damaged or of a kind that cannot be read.
    UnsafePath
        When a member's name is absolute or contains ``..``.
    """
    source = root.archive(manifest.name, file)
    if not source.exists():
        raise ContainerError(
            f"{source} is missing; nothing was changed. Run 'autods fetch {manifest.name}' first."
        )
    checksum = next(entry.checksum for entry in manifest.files if entry.name == file)
    path = container_path(root, manifest.name, file)
    progress = progress or Silent()
    if path != source and not _made_from(path, checksum):
        from autods.containers.tars import decompress_tar

        _stamp(path).unlink(missing_ok=True)
        decompress_tar(source, path, compression(file) or "", progress)
        _write_stamp(path, checksum)
    members = _list(path, file)
    reader = MemberReader(root, manifest.name)
    if nested:
        outer = Listed(reader, file, members)
        inner = _nested(root, manifest.name, file, checksum, outer)
        members = [m for m in members if not _is_zip(m.name)] + list(inner)
    return Listed(reader, file, members)


def _name(member: Member) -> str:
    return member.name


def _list(path: Path, file: str) -> list[Member]:
    if path.is_dir():
        return list(_list_folder(path))
    lowered = path.name.lower()
    if lowered.endswith(".zip"):
        from autods.containers.zips import list_zip

        return list_zip(path)
    if lowered.endswith(".tar"):
        from autods.containers.tars import list_tar

        return list_tar(path)
    if lowered.endswith(UNREADABLE):
        raise ContainerError(
            f"{path}: expected a folder, zip, tar, compressed tar or plain file, got "
            f"'{path.suffix}'; the file was left as it is. Repack it as a zip or tar."
        )
    return [Member(file, 0, path.stat().st_size)]


def _list_folder(folder: Path) -> Iterator[Member]:
    for place, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not (Path(place) / name).is_symlink()]
        for name in names:
            path = Path(place) / name
            relative = plain_name(folder, path.relative_to(folder).as_posix())
            if relative is not None and path.is_file() and not path.is_symlink():
                yield Member(relative, -1, path.stat().st_size)


def _refuse(error: OSError) -> None:
    raise damaged(Path(error.filename), error.strerror)


def _nested(
    root: DataRoot, dataset: str, file: str, checksum: str, outer: Listed
) -> Iterator[Member]:
    from autods.containers.zips import list_zip

    for member in outer.members():
        if not _is_zip(member.name):
            continue
        path = inner_path(root, dataset, file, member.name)
        if member.offset >= 0:  # stored: read through the outer file
            path.unlink(missing_ok=True)  # taken out of an older version of the archive
            place = container_path(root, dataset, file)
            found = list_zip(place, member.offset, member.size, member.name)
        else:
            if member.offset < -1 and not _made_from(path, checksum):
                _stamp(path).unlink(missing_ok=True)
                with atomic(path) as temporary:
                    temporary.write_bytes(outer.read(member.name))
                _write_stamp(path, checksum)
            found = list_zip(path)
        for inner in found:
            yield Member(f"{member.name}{NESTED}{inner.name}", inner.offset, inner.size)


def _is_zip(name: str) -> bool:
    return name.lower().endswith(".zip")


def _stamp(path: Path) -> Path:
    return path.with_name(path.name + ".source")


def _made_from(path: Path, checksum: str) -> bool:
    stamp = _stamp(path)
    return path.is_file() and stamp.is_file() and stamp.read_text(encoding="utf-8") == checksum


def _write_stamp(path: Path, checksum: str) -> None:
    with atomic(_stamp(path)) as temporary:
        temporary.write_text(checksum, encoding="utf-8")
