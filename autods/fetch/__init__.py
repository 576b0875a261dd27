"""Fetch the files of a dataset into its archive folder: decide, fetch, verify, record, place.

How bytes come from one kind of mirror is in the file of that kind; the paths are
`autods.root`'s. A target exists only whole and verified.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from autods.errors import ChecksumMismatch, DiskFull, FetchError
from autods.fetch import (  # noqa: F401  (each registers its kind)
    ftp,
    gdrive,
    git,
    http,
    huggingface,
    kaggle,
    local,
)
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
from autods.fetch.magic import ENOUGH, told_apart
from autods.fetch.mirrors import KINDS, described, fits, most_useful, together, users_mirrors
from autods.fetch.parts import discard, part_of, place, set_aside
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
    "KINDS",
    "SOURCES",
    "Action",
    "FetchOutcome",
    "FetchedFile",
    "Source",
    "decide",
    "fetch_dataset",
    "fetch_file",
    "missing_files",
    "verify_archives",
]

Action = Literal["keep", "adopt", "set aside", "resume", "download"]

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no space, no quota, no larger file


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

    A file that no mirror gives does not keep the others from being fetched. Different
    datasets can be fetched from several threads at once, each with its own progress.

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
        When no mirror gives a file; names the cause of each. It is of the subclass that
        the user can do most about: `CredentialsMissing`, `RulesNotAccepted`,
        `QuotaExceeded`, `ChecksumMismatch`, `Unreachable`, none of these, `LinkGone`.
    DiskFull
        When the disk holds no more; files that were fetched before stay.
    Busy
        When another process works on this dataset.
    """
    files: list[FetchedFile] = []
    errors: list[FetchError] = []
    with unwritable_explained(manifest.name, root), locked(root.record(manifest.name)):
        for entry in manifest.files:
            tried = [users_mirrors(mirrors, manifest.name, entry), entry.mirrors]
            try:
                files.append(fetch_file(manifest.name, entry, tried, root, progress))
            except FetchError as error:
                errors.append(error)
    if errors:
        raise errors[0] if len(errors) == 1 else together(errors)
    return FetchOutcome(manifest.name, files)


@contextmanager
def unwritable_explained(dataset: str, root: DataRoot) -> Iterator[None]:
    """Turn an `OSError` of what is written below the root into a `FetchError`."""
    try:
        yield
    except OSError as error:
        kind = DiskFull if error.errno in FULL else FetchError
        step = "" if kind is DiskFull else "Correct the permissions, then run it again."
        raise kind(
            f"{dataset}: cannot write {error.filename or root.path}: "
            f"{error.strerror or error}; what has arrived stays and will be continued. "
            "Free space or correct the permissions, then run the same command again.",
            step,
        ) from None


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
    if part_of(target).is_file():
        return "resume", "resuming"
    return "download", "fetching"


def fetch_file(
    dataset: str,
    entry: FileEntry,
    mirrors: Sequence[Sequence[Mirror]],
    root: DataRoot,
    progress: Progress,
) -> FetchedFile:
    """Bring one file into its place; the caller holds the lock of the dataset's record.

    Parameters
    ----------
    dataset, entry
        The file as the manifest describes it.
    mirrors
        Groups of mirrors, tried in order.
    root, progress
        As in `fetch_dataset`.

    Raises
    ------
    FetchError
        When no mirror gives the file.
    """
    target = root.archive(dataset, entry.name)
    recorded = recorded_files(root, dataset).get(entry.name)
    action, word = decide(entry, target, recorded)
    progress.note(f"{word} {dataset}/{entry.name}")
    if action == "set aside":
        bad = set_aside(target, target)
        action, word = decide(entry, target, recorded)
        progress.note(f"it was not what the manifest describes and is now {bad}; {word} it")
    if action == "adopt":
        record_file(root, dataset, entry, target, mirror=None)
        discard(part_of(target))
    elif action != "keep":
        # A part goes on where its newest bytes came from: an earlier mirror may give an
        # error page, which would take the place of what has arrived.
        begun = Seen.load(part_of(target)).url
        ordered = [
            mirror
            for group in mirrors
            for mirror in sorted(group, key=lambda mirror: shown(mirror.url) != begun)
        ]
        _download(dataset, entry, ordered, root, progress)
    size = recorded_files(root, dataset)[entry.name]["size"]
    return FetchedFile(entry.name, action, target, size)


def _download(
    dataset: str, entry: FileEntry, mirrors: list[Mirror], root: DataRoot, progress: Progress
) -> None:
    """Fetch one file from the first mirror that gives it, and move it into place."""
    target = root.archive(dataset, entry.name)
    part = part_of(target)
    part.parent.mkdir(parents=True, exist_ok=True)
    failures, causes = [], []
    for mirror in mirrors:
        try:
            got = _arrive(mirror, part, entry, progress)
            if got == entry.checksum:
                record_file(root, dataset, entry, part, mirror)
                place(part, target)
                return
            raise _mismatch(got, part, target, entry)
        except MirrorFailed as error:
            failures.append(error)
            causes.append(f"{described(mirror)}: {shown(str(error))}")
            progress.note(f"  {causes[-1]}")
            if part.is_dir():  # half a folder cannot be continued
                remove(part)
    raise most_useful(_no_mirror(dataset, entry, causes, target, failures), failures)


def _arrive(mirror: Mirror, part: Path, entry: FileEntry, progress: Progress) -> str:
    """Let a source fill the part; return its checksum in the form that the manifest uses.

    A part that was continued can be wrong because its beginning was of another content.
    Only a file fetched in one go is judged; therefore such a part is fetched again.
    """
    if not fits(mirror, entry):
        form = entry.checksum.partition(":")[0]
        raise MirrorFailed(f"a mirror of kind {mirror.kind} cannot give what '{form}:' describes")
    if part.is_dir():
        remove(part)
    continued = size_of(part) > 0
    SOURCES.get(mirror.kind)(mirror, part, entry, progress)
    # The git source has compared the commit; nobody else can.
    got = entry.checksum if mirror.kind == "git" else digest(part, entry.checksum)
    if continued and got != entry.checksum:
        progress.note("  the continued download is not the expected file; fetching it anew")
        discard(part)
        return _arrive(mirror, part, entry, progress)
    return got


def _mismatch(got: str, part: Path, target: Path, entry: FileEntry) -> MirrorFailed:
    """Set a wrong file aside; return what the mirror gave as a failure."""
    what = f"{size_of(part):,} bytes"
    if part.is_file():
        with part.open("rb") as handle:
            told = told_apart(handle.read(ENOUGH), entry.name)
        what += f"; {told}" if told else ""
    seen_path(part).unlink(missing_ok=True)
    return MirrorFailed(
        f"gave {got} ({what}), set aside as {set_aside(part, target)}", ChecksumMismatch
    )


def _no_mirror(
    dataset: str,
    entry: FileEntry,
    causes: list[str],
    target: Path,
    failures: Sequence[MirrorFailed],
) -> str:
    part = part_of(target)
    kept = "No archive was changed."
    if part.is_file() and size_of(part):
        kept = f"Kept: {size_of(part):,} bytes in {part}, which will be continued."
    step = most_useful("", failures).next_step.replace(" NAME", f" {dataset}")
    if "autods import" not in step:
        step += f" By hand: 'autods import {dataset} FILE' checks a file and puts it there."
    lines = [f"{dataset}/{entry.name}: expected {entry.checksum}, no mirror gave it:"]
    lines += [f"  {cause}" for cause in causes]
    lines += [kept, step]
    return "\n".join(lines)
