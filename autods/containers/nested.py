"""List archives inside a container, as members ``inner.zip!/path``."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from autods.containers.base import NESTED, Listing, Member, NeedsConversion, Why
from autods.containers.convert import (
    converted,
    converting,
    copy_stamp,
    decompress,
    expand,
    made_once,
    unpack,
)
from autods.containers.kinds import Kind, kind_of
from autods.containers.locations import Location, location_path, split_offset
from autods.containers.tars import list_tar
from autods.containers.zips import list_zip
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

    def opened(self, listing: Listing, patterns: Sequence[re.Pattern[str]]) -> Listing:
        """Put what inner archives hold in their place, of those whose names match a pattern.

        Their members are named ``inner.zip!/path``.
        """
        guessed = {encoding: list(names) for encoding, names in listing.guessed.items()}
        found = Listing(links=set(listing.links), left=list(listing.left), guessed=guessed)
        inner: list[tuple[Member, Kind]] = []
        for member in {member.name: member for member in listing.members}.values():
            matches = any(pattern.fullmatch(member.name) for pattern in patterns)
            kind = self._kind(member) if matches else Kind()
            if kind.archive:
                inner.append((member, kind))
            else:
                found.members.append(member)
        for archive, kind in sorted(inner, key=lambda pair: pair[0].name):
            below = self._listing(archive, kind)
            found.left.append((archive.name, Why.READ))
            prefix = f"{archive.name}{NESTED}"
            found.links |= {prefix + name for name in below.links}
            found.left += [(prefix + name, why) for name, why in below.left]
            found.members += [m.named(prefix + m.name) for m in below.members]
            for encoding, names in below.guessed.items():
                found.guessed.setdefault(encoding, []).extend(prefix + name for name in names)
        return found

    def _kind(self, archive: Member) -> Kind:
        head = self._reader.begin(self._file, *archive.address)
        return kind_of(head, archive.name)

    def _listing(self, archive: Member, kind: Kind) -> Listing:
        """List an inner archive.

        Stored zips and tars are read in place, deflated ones are taken out once, others
        are converted once.
        """
        try:
            if not kind.is_converted:
                return self._plain(archive, kind)
        except NeedsConversion:
            pass
        return self._converted(archive, kind)

    def _plain(self, archive: Member, kind: Kind) -> Listing:
        listing = list_zip if kind.archive == "zip" else list_tar
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

    def _converted(self, archive: Member, kind: Kind) -> Listing:
        target = self._path(Location.INNER_COPY, archive)
        shown = self._path(Location.FOLDER, archive)

        def make(temporary: Path) -> None:
            with converting(f"{self._file}/{archive.name}", self._progress):
                if kind.module:
                    with self._open(archive) as source:
                        decompress(source, shown, kind, "", temporary, self._progress)
                    return
                with self._file_of(archive, kind, temporary) as path:
                    if kind.archive == "tar":
                        expand(path, shown, temporary, self._progress)
                    else:
                        unpack(path, shown, kind.archive, temporary, self._progress)

        stamp = copy_stamp(self._checksum, kind)
        return converted(target, stamp, make, shown=shown, location=Location.INNER_COPY)

    @contextmanager
    def _file_of(self, archive: Member, kind: Kind, beside: Path) -> Iterator[Path]:
        """Give the inner archive as a file with its own suffix, because tools rely on it."""
        if archive.offset == -1:
            yield self._path(Location.FOLDER, archive)
            return
        path = beside.with_name(f"{beside.name}.{kind.archive}")
        try:
            self._take_out(archive, path)
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _take_out(self, archive: Member, target: Path) -> None:
        with self._open(archive) as source, target.open("wb") as handle:
            shutil.copyfileobj(source, handle, BLOCK)

    def _open(self, archive: Member) -> BinaryIO:
        return self._reader.open(self._file, *archive.address)

    def _path(self, location: Location, archive: Member) -> Path:
        return location_path(
            self._reader.root, self._reader.dataset, self._file, location, archive.name
        )
