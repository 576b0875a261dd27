"""Collect the entries of an archive: files, links and others; follow the links in the end.

Links are followed to members of the same archive, never out of it: nothing is unpacked.
"""

from __future__ import annotations

import posixpath
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path

from autods.containers.base import Listing, Member, Why, damaged, decode_name, plain_name

HOPS = 40  # links on the way to one target, as in Linux
# Members that links to folders may add: so many, or so many times the entries of the archive.
LINKED, LINKED_TIMES = 20_000, 20

Entry = Member | str  # a file, or the target of a link as a path in the archive ("" outside)


class Entries:
    """The entries of one archive in their order; of several with one name the last counts."""

    def __init__(self, shown: Path) -> None:
        self._shown = shown
        self._entries: dict[str, Entry] = {}
        self._left: list[tuple[str, Why]] = []
        self._hard: set[str] = set()  # hard links that were resolved at once
        self._guessed: dict[str, list[str]] = {}

    def file(self, raw: str, offset: int, size: int, crc32: int = -1) -> None:
        """Add a file by its name in the archive; the rest is as of `Member`."""
        if (name := self._name(raw)) is not None:
            self._put(name, Member(name, offset, size, crc32))

    def decoded(self, raw: bytes, fallback: str) -> str:
        """Return a name as text, and note it if it is not UTF-8, so that ``fallback`` was taken."""
        name, guessed = decode_name(raw, fallback)
        if guessed:
            self._guessed.setdefault(guessed, []).append(name)
        return name

    def symlink(self, raw: str, target: str) -> None:
        """Add a symbolic link, whose target is relative to its folder."""
        if (name := self._name(raw)) is not None:
            joined = posixpath.join(posixpath.dirname(name), target)
            self._put(name, _inside(joined))

    def hard_link(self, raw: str, target: str) -> None:
        """Add a hard link, whose target is the name of another entry, mostly an earlier one."""
        if (name := self._name(raw)) is not None:
            place = _inside(target.removeprefix("./"))
            known = self._entries.get(place)
            if isinstance(known, Member):  # a later entry of that name does not change this one
                self._put(name, known.named(name))
                self._hard.add(name)
            else:
                self._put(name, place)

    def special(self, raw: str) -> None:
        """Add what is neither file nor folder nor link."""
        if (name := self._name(raw)) is not None:
            self._left.append((name, Why.UNSUPPORTED))

    def listing(self) -> Listing:
        """Follow all links and return what there is."""
        files = {n: entry for n, entry in self._entries.items() if isinstance(entry, Member)}
        links = {n: entry for n, entry in self._entries.items() if isinstance(entry, str)}
        listing = Listing(list(files.values()), set(self._hard), self._left, self._guessed)
        if links:
            _Follower(self._shown, files, links).follow(listing)
        return listing

    def _name(self, raw: str) -> str | None:
        name = plain_name(self._shown, raw)
        if name is None:
            self._left.append((raw, Why.HIDDEN))
        return name

    def _put(self, name: str, entry: Entry) -> None:
        if name in self._entries:
            self._left.append((name, Why.REPLACED))
            self._hard.discard(name)
        self._entries[name] = entry


class _Follower:
    """Resolves links of an archive as a file system would after unpacking."""

    def __init__(self, shown: Path, files: dict[str, Member], links: dict[str, str]) -> None:
        self._shown = shown
        self._files, self._links = files, links
        self._file_names, self._link_names = sorted(files), sorted(links)
        self._allowed = max(LINKED, LINKED_TIMES * (len(files) + len(links)))

    def follow(self, listing: Listing) -> None:
        """Add what the links lead to; those that lead to nothing are left out and told."""
        known = {*self._files, *self._links}
        for link in self._link_names:
            for name, found in self._expanded(link, link, (posixpath.dirname(link),)):
                if name != link and name in known:  # an entry of its own below a link
                    continue
                if found is None:
                    listing.left.append((name, Why.LINK))
                else:
                    listing.members.append(found.named(name))
                    listing.links.add(name)

    def _expanded(
        self, link: str, name: str, above: tuple[str, ...]
    ) -> Iterator[tuple[str, Member | None]]:
        """Yield what a link stands for, as names below ``name``; ``None`` for what is not there.

        ``above`` are the folders that were entered on the way to it.
        """
        self._allowed -= 1
        if self._allowed < 0:
            raise damaged(self._shown, "its links lead into each other without end")
        place = self._resolved(link)
        if place in self._files:
            yield name, self._files[place]
            return
        below = list(_below(place, self._file_names)) if place else []
        links = list(_below(place, self._link_names)) if place else []
        round_trip = len(above) > HOPS or any(_holds(place, folder) for folder in above)
        if not (below or links) or round_trip:
            yield name, None
            return
        self._allowed -= len(below)
        for file in below:
            yield name + file[len(place) :], self._files[file]
        for inner in links:
            yield from self._expanded(
                inner, name + inner[len(place) :], (*above, place, posixpath.dirname(inner))
            )

    def _resolved(self, link: str) -> str:
        """Return the place that a link leads to, through other links; ``""`` if out of here."""
        path = self._links[link]
        for _ in range(HOPS):
            if not path or path in self._files:
                return path
            parts = path.split("/")
            heads = ("/".join(parts[:count]) for count in range(1, len(parts) + 1))
            head = next((head for head in heads if head in self._links), None)
            if head is None:
                return path
            target, rest = self._links[head], path[len(head) :]
            path = _inside(target + rest) if target else ""
        return ""


def _inside(path: str) -> str:
    """Return a path in its shortest form, ``.`` for the whole archive.

    It is ``""`` if it is absolute or leads out of the archive.
    """
    plain = posixpath.normpath(path.replace("\\", "/")) if path else ""
    return "" if plain == ".." or plain.startswith(("/", "../")) else plain


def _below(folder: str, names: list[str]) -> Iterator[str]:
    """Yield the sorted names that begin with ``folder/``."""
    for position in range(bisect_left(names, f"{folder}/"), len(names)):
        if not names[position].startswith(f"{folder}/"):
            return
        yield names[position]


def _holds(folder: str, other: str) -> bool:
    """Tell whether a folder is another one, or one above it."""
    return other == folder or other.startswith(f"{folder}/")
