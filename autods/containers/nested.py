"""List archives inside a container, as members ``inner.zip!/path``."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from autods.containers.base import NESTED, Member
from autods.containers.convert import converting, decompress, made_once, unpack
from autods.containers.kinds import Kind, kind_of
from autods.containers.locations import Location, location_path, split_offset
from autods.containers.tars import list_tar
from autods.containers.zips import NeedsConversion, list_zip
from autods.core.files import BLOCK
from autods.core.progress import Progress

if TYPE_CHECKING:
    from autods.containers.reader import MemberReader


class InnerArchives:
    """Opens inner archives of one container, a manifest file of the reader's dataset."""

    def __init__(self, reader: MemberReader, file: str, checksum: str, progress: Progress) -> None:
        self._reader = reader
        self._file = file
        self._checksum = checksum
        self._progress = progress

    def members(self, archive: Member) -> Iterator[Member]:
        """Yield the members of an inner archive, by their names in the container.

        Stored zips and tars are read in place, deflated ones are taken out once, others
        are converted once.
        """
        kind = kind_of(archive.name)
        try:
            found = self._converted(archive, kind) if kind.is_converted else self._plain(archive)
        except NeedsConversion:
            found = self._converted(archive, kind)
        for member in found:
            yield Member(f"{archive.name}{NESTED}{member.name}", member.offset, member.size)

    def _plain(self, archive: Member) -> list[Member]:
        listing = list_zip if kind_of(archive.name).archive == "zip" else list_tar
        shown = self._path(Location.FOLDER, archive)
        if archive.offset == -1:
            return listing(shown, location=Location.FOLDER)
        location, byte, deflated = split_offset(archive.offset)
        if not deflated:
            outer = self._path(location, archive)
            return listing(outer, byte, archive.size, shown=shown, location=location)
        path = self._path(Location.INNER, archive)
        made_once(path, self._checksum, lambda temporary: self._take_out(archive, temporary))
        return listing(path, shown=shown, location=Location.INNER)

    def _converted(self, archive: Member, kind: Kind) -> list[Member]:
        target = self._path(Location.INNER_COPY, archive)
        shown = self._path(Location.FOLDER, archive)

        def make(temporary: Path) -> None:
            with converting(f"{self._file}/{archive.name}", self._progress):
                if kind.module:
                    with self._open(archive) as source:
                        decompress(source, shown, kind, "", temporary, self._progress)
                else:
                    with self._file_of(archive, temporary) as path:
                        unpack(path, shown, kind.archive, temporary, self._progress)

        made_once(target, self._checksum, make)
        return list_tar(target, shown=shown, location=Location.INNER_COPY)

    @contextmanager
    def _file_of(self, archive: Member, beside: Path) -> Iterator[Path]:
        """Give the inner archive as a file with its own suffix, because tools rely on it."""
        if archive.offset == -1:
            yield self._path(Location.FOLDER, archive)
            return
        path = beside.with_name(f"{beside.name}.{kind_of(archive.name).archive}")
        try:
            self._take_out(archive, path)
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _take_out(self, archive: Member, target: Path) -> None:
        with self._open(archive) as source, target.open("wb") as handle:
            shutil.copyfileobj(source, handle, BLOCK)

    def _open(self, archive: Member) -> BinaryIO:
        return self._reader.open(self._file, archive.name, archive.offset, archive.size)

    def _path(self, location: Location, archive: Member) -> Path:
        return location_path(
            self._reader.root, self._reader.dataset, self._file, location, archive.name
        )
