"""A container: the listed members of one dataset file, read in place."""

from __future__ import annotations

from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO
from unicodedata import normalize

from autods.containers.base import Listing, Member, damaged
from autods.containers.compressed import ERRORS, MAGIC, unpacked
from autods.containers.kinds import Kind, unpacked_name
from autods.containers.reader import MemberReader
from autods.errors import ContainerError


class Container:
    """A folder, archive or single file whose listed members are read in place."""

    def __init__(self, reader: MemberReader, file: str, kind: Kind, listing: Listing) -> None:
        self._reader = reader
        self._file = file
        self._kind = kind
        self.links = listing.links  # names of the members that are links, followed
        self.left = listing.left  # names of the entries that are no members, and why
        self.guessed = listing.guessed  # encoding to the names that are in it, not in UTF-8
        self.was_read: set[str] = set()  # names of the members whose content was asked for
        members = sorted(listing.members, key=attrgetter("name"))
        self._by_name = {member.name: member for member in members}

    @cached_property
    def _by_form(self) -> dict[str, str]:
        """The composed form of each name to the name itself."""
        return {normalize("NFC", name): name for name in self._by_name}

    def members(self) -> list[Member]:
        """Return all files, sorted by name; links are what they lead to. No folders."""
        return list(self._by_name.values())

    def find(self, name: str) -> Member:
        """Return one member by its name; raise `ContainerError` if absent.

        A single compressed file is found by its own name too: ``x.csv.gz`` is ``x.csv``.
        """
        if name not in self._by_name and name == self._file and not self._kind.archive:
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
        self.was_read.add(member.name)
        return self._reader.read(self._file, *member.address)

    def open(self, name: str) -> BinaryIO:
        """Return one member as a seekable file, of any size; a gzip file unpacked."""
        member = self.find(name)
        self.was_read.add(member.name)
        handle = self._reader.open(self._file, *member.address)
        is_gzip = handle.read(3).startswith(MAGIC["gzip"])
        handle.seek(0)
        if not is_gzip:
            return handle
        with handle:
            try:
                return self._reader.unpacked(unpacked(handle, "gzip"))
            except ERRORS as error:
                raise damaged(Path(self._file, member.name), error) from None

    def close(self) -> None:
        """Release file handles."""
        self._reader.close()
