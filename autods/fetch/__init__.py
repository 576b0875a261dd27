"""Fetch the files of a dataset into its archive folder: decide, fetch, verify, record, place.

How bytes come from one kind of mirror is in the file of that kind; the paths are
`autods.root`'s. A target exists only whole and verified.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from autods.errors import ChecksumMismatch, FetchError, UsageError
from autods.fetch import ftp, git, http, local  # noqa: F401  (each registers its kind)
from autods.fetch.base import (
    SOURCES,
    MirrorFailed,
    Seen,
    Source,
    digest,
    remove,
    seen_path,
    shown,
    size_of,
)
from autods.fetch.records import (
    is_recorded,
    missing_files,
    record_file,
    recorded_files,
    verify_archives,
)
from autods.files import locked
from autods.manifest import FileEntry, Manifest, Mirror
from autods.progress import Progress
from autods.root import DataRoot

__all__ = [
    "SOURCES",
    "Action",
    "FetchOutcome",
    "FetchedFile",
    "Source",
    "decide",
    "fetch_dataset",
    "missing_files",
    "verify_archives",
]

Action = Literal["keep", "adopt", "set aside", "resume", "download"]

# What each form of checksum can come from: a folder has no bytes that http could send,
# and only git itself can tell that a folder is a commit.
KINDS = {
    "md5": ("http", "ftp", "file"),
    "sha256": ("http", "ftp", "file"),
    "tree": ("file",),
    "git": ("git",),
}


@dataclass(frozen=True)
class FetchedFile:
    """One file of the manifest, now in place: what was done, where it is, its bytes."""

    name: str
    action: Action
    path: Path
    size: int


@dataclass(frozen=True)
class FetchOutcome:
    """What `fetch_dataset` did; ``files`` are in the order of the manifest."""

    dataset: str
    files: list[FetchedFile]

    @property
    def fetched(self) -> list[str]:
        """Names of the files that came from a mirror now; the others were there already."""
        return [file.name for file in self.files if file.action in ("resume", "download")]


def fetch_dataset(
    manifest: Manifest, root: DataRoot, progress: Progress, mirrors: Sequence[str] = ()
) -> FetchOutcome:
    """Fetch all files of a dataset into the data root; what is there already is kept.

    Parameters
    ----------
    manifest
        The dataset. Mirrors of each file are tried in order.
    root
        Where the archives go.
    progress
        Told one line per file and, while bytes come, their number.
    mirrors
        Further places, tried before those of the manifest: http, https or ftp addresses
        or local folders, below which a file is at ``<dataset>/<file>``.

    Raises
    ------
    FetchError
        When no mirror gives a file; names the cause of each.
    ChecksumMismatch
        The same, where at least one mirror gave another file than the manifest says.
    Busy
        When another process works on this dataset.
    """
    files = []
    try:
        with locked(root.record(manifest.name)):
            for entry in manifest.files:
                extra = _extra_mirrors(mirrors, manifest.name, entry)
                files.append(_fetch_file(manifest.name, entry, extra, root, progress))
    except OSError as error:
        raise FetchError(
            f"{manifest.name}: cannot write {error.filename or root.path}: "
            f"{error.strerror or error}; what has arrived stays and will be continued. "
            "Free space or correct the permissions, then run the same command again."
        ) from None
    return FetchOutcome(manifest.name, files)


def decide(entry: FileEntry, target: Path, recorded: dict[str, Any] | None) -> tuple[Action, str]:
    """Decide what to do with one file; return it with the word that the log uses.

    Parameters
    ----------
    entry
        The file as the manifest describes it.
    target
        Its place among the archives.
    recorded
        Its entry in the record of an earlier run, if there is one. A file that agrees with
        it is not hashed again; `verify_archives` does that.
    """
    if target.exists():
        if is_recorded(entry, target, recorded):
            return "keep", "keeping"
        if digest(target, entry.checksum) == entry.checksum:
            return "adopt", "found"
        return "set aside", "setting aside"
    if _part(target).is_file():
        return "resume", "resuming"
    return "download", "fetching"


def _fetch_file(
    dataset: str, entry: FileEntry, extra: list[Mirror], root: DataRoot, progress: Progress
) -> FetchedFile:
    target = root.archive(dataset, entry.name)
    recorded = recorded_files(root, dataset).get(entry.name)
    action, word = decide(entry, target, recorded)
    progress.note(f"{word} {dataset}/{entry.name}")
    if action == "set aside":
        bad = _set_aside(target, target)
        action, word = decide(entry, target, recorded)
        progress.note(f"it was not what the manifest describes and is now {bad}; {word} it")
    if action == "adopt":
        record_file(root, dataset, entry, target, mirror=None)
        _discard(_part(target))
    elif action != "keep":
        # A part goes on where its newest bytes came from: an earlier mirror may give an
        # error page, which would take the place of what has arrived.
        begun = Seen.load(_part(target)).url
        mirrors = [
            mirror
            for group in (extra, entry.mirrors)
            for mirror in sorted(group, key=lambda mirror: shown(mirror.url) != begun)
        ]
        _download(dataset, entry, mirrors, root, progress)
    size = recorded_files(root, dataset)[entry.name]["size"]
    return FetchedFile(entry.name, action, target, size)


def _download(
    dataset: str, entry: FileEntry, mirrors: list[Mirror], root: DataRoot, progress: Progress
) -> None:
    """Fetch one file from the first mirror that gives it, and move it into place."""
    target = root.archive(dataset, entry.name)
    part = _part(target)
    part.parent.mkdir(parents=True, exist_ok=True)
    causes, kind = [], FetchError
    for mirror in mirrors:
        try:
            got = _arrive(mirror, part, entry, progress)
        except MirrorFailed as error:
            causes.append(shown(f"{mirror.url}: {error}"))
            if part.is_dir():  # half a folder cannot be continued
                remove(part)
        else:
            if got == entry.checksum:
                record_file(root, dataset, entry, part, mirror)
                _place(part, target)
                return
            kind = ChecksumMismatch
            what = f"gave {got} ({size_of(part):,} bytes{_looks_like(part)})"
            seen_path(part).unlink(missing_ok=True)
            causes.append(f"{shown(mirror.url)}: {what}, set aside as {_set_aside(part, target)}")
        progress.note(f"  {causes[-1]}")
    raise kind(_no_mirror(dataset, entry, causes, target))


def _arrive(mirror: Mirror, part: Path, entry: FileEntry, progress: Progress) -> str:
    """Let a source fill the part; return its checksum in the form that the manifest uses.

    A part that was continued can be wrong because its beginning was of another content.
    Only a file fetched in one go is judged; therefore such a part is fetched again.
    """
    form = entry.checksum.partition(":")[0]
    if mirror.kind not in KINDS[form]:
        raise MirrorFailed(f"a mirror of kind {mirror.kind} cannot give what '{form}:' describes")
    if part.is_dir():
        remove(part)
    continued = size_of(part) > 0
    SOURCES.get(mirror.kind)(mirror, part, entry, progress)
    # The git source has compared the commit; nobody else can.
    got = entry.checksum if form == "git" else digest(part, entry.checksum)
    if continued and got != entry.checksum:
        progress.note("  the continued download is not the expected file; fetching it anew")
        _discard(part)
        return _arrive(mirror, part, entry, progress)
    return got


def _no_mirror(dataset: str, entry: FileEntry, causes: list[str], target: Path) -> str:
    part = _part(target)
    kept = "No archive was changed."
    if part.is_file() and size_of(part):
        kept = f"Kept: {size_of(part):,} bytes in {part}, which will be continued."
    by_hand = ""
    if not entry.checksum.startswith("git:"):
        by_hand = f", or put the file at {target} yourself (it is checked there)"
    lines = [f"{dataset}/{entry.name}: expected {entry.checksum}, no mirror gave it:"]
    lines += [f"  {cause}" for cause in causes]
    lines += [f"{kept} Run the same command again later, add a --mirror{by_hand}."]
    return "\n".join(lines)


def _extra_mirrors(mirrors: Sequence[str], dataset: str, entry: FileEntry) -> list[Mirror]:
    """Return the user's mirrors for one file; those that cannot give its kind are left out."""
    found = []
    for base in mirrors:
        scheme = base.partition("://")[0].lower() if "://" in base else ""
        if scheme in ("http", "https", "ftp"):
            url = f"{base.rstrip('/')}/{quote(f'{dataset}/{entry.name}')}"
            found.append(Mirror(kind="ftp" if scheme == "ftp" else "http", url=url))
        elif not scheme:
            place = Path(base).expanduser().resolve() / dataset / entry.name
            found.append(Mirror(kind="file", url=str(place)))
        else:
            raise UsageError(
                f"mirror '{shown(base)}': expected http://, https://, ftp:// or a local folder, "
                f"got '{scheme}://'; nothing was fetched. Correct the mirror."
            )
    return [mirror for mirror in found if mirror.kind in KINDS[entry.checksum.partition(":")[0]]]


def _place(part: Path, target: Path) -> None:
    """Move a verified part into place once it is on the disk."""
    seen_path(part).unlink(missing_ok=True)
    if part.is_dir():
        os.sync()
    else:
        with part.open("rb+") as handle:
            os.fsync(handle.fileno())
    part.replace(target)


def _set_aside(path: Path, target: Path) -> Path:
    """Move a wrong file to ``<target>.bad`` (``.bad2`` ...); one of each content is enough."""
    form = "tree:" if path.is_dir() else "sha256:"
    number, bad = 1, target.with_name(target.name + ".bad")
    while bad.exists():
        if digest(bad, form) == digest(path, form):
            remove(path)
            return bad
        number += 1
        bad = target.with_name(f"{target.name}.bad{number}")
    path.replace(bad)
    return bad


def _discard(part: Path) -> None:
    seen_path(part).unlink(missing_ok=True)
    remove(part)


def _looks_like(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as handle:
        begin = handle.read(256).lstrip().lower()
    is_page = begin.startswith((b"<!doctype html", b"<html"))
    return ", a web page: perhaps a login or a quota notice" if is_page else ""


def _part(target: Path) -> Path:
    return target.with_name(target.name + ".part")
