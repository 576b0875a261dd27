"""One file of a dataset: decide, fetch from the first mirror that gives it, verify, place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from autods.core.progress import Progress
from autods.core.root import DataRoot
from autods.errors import ChecksumMismatch
from autods.fetch.digests import digest, remove, size_of
from autods.fetch.magic import ENOUGH, told_apart
from autods.fetch.mirrors import described, fits, most_useful
from autods.fetch.part_files import discard, part_of, place, set_aside
from autods.fetch.records import (
    is_recorded,
    is_unchanged,
    record_file,
    recorded_files,
    remember_file,
)
from autods.fetch.sources.base import SOURCES, MirrorFailed, Seen, seen_path, shown
from autods.fetch.versions import of_another_version
from autods.manifest.schema import FileEntry, Mirror

Action = Literal["keep", "adopt", "set aside", "resume", "download"]


@dataclass(frozen=True)
class FetchedFile:
    """One file of the manifest, now in place: what was done, where it is, its bytes."""

    name: str
    action: Action
    path: Path
    size: int

    @property
    def fetched(self) -> bool:
        """Whether a mirror gave it now; otherwise it was there already."""
        return self.action in ("resume", "download")


def decide(entry: FileEntry, target: Path, recorded: dict[str, Any] | None) -> tuple[Action, str]:
    """Decide what to do with one file; return it with the word that the log uses.

    A file that agrees with its record of an earlier run is not hashed here; `fetch_file` does
    that if it was touched since, `verify_archives` always.
    """
    if target.exists():
        if is_recorded(entry, target, recorded):
            return "keep", "keeping"
        if _is_right(entry, target, digest(target, entry.checksum)):
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

    ``mirrors`` are groups, tried in order. Raises `FetchError` if no mirror gives the file.
    """
    target = root.archive(dataset, entry.name)
    recorded = recorded_files(root, dataset).get(entry.name)
    action, word = decide(entry, target, recorded)
    if action == "keep" and not is_unchanged(
        root, dataset, entry.name, recorded or {}, progress.note
    ):
        action, word = "set aside", "setting aside"
    progress.note(f"{word} {dataset}/{entry.name}")
    if action == "set aside":
        bad = set_aside(target, target)
        action, word = decide(entry, target, recorded)
        progress.note(f"it was not what the manifest describes and is now {bad}; {word} it")
    if action == "adopt":
        record_file(root, dataset, entry, target, mirror=None)
        remember_file(root, dataset, entry)
        discard(part_of(target))
    elif action != "keep":
        # A part goes on where its newest bytes came from: an earlier mirror may give an
        # error page, which would take the place of what has arrived.
        begun = Seen.load(part_of(target)).url
        if entry.checksum.endswith(":"):  # nothing would notice halves of two different files
            mirrors = [list(chain(*mirrors))]
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
    for number, mirror in enumerate(mirrors, start=1):
        try:
            got = _arrive(mirror, part, entry, progress)
            if _is_right(entry, part, got):
                record_file(root, dataset, entry, part, mirror)
                place(part, target)
                remember_file(root, dataset, entry)
                return
            raise _mismatch(got, part, target, entry, mirror)
        except MirrorFailed as error:
            failures.append(error)
            causes.append(f"{described(mirror)}: {shown(str(error))}")
            if number < len(mirrors):  # the error reports the last one's cause
                progress.note(f"  {causes[-1]}; asking the next mirror")
            if part.is_dir():  # half a folder cannot be continued
                remove(part)
    raise most_useful(dataset, _no_mirror(dataset, entry, causes, part), failures)


def _arrive(mirror: Mirror, part: Path, entry: FileEntry, progress: Progress) -> str:
    """Let a source fill the part; return its checksum in the form that the manifest uses.

    A continued part can be wrong because its beginning was of another content: it is fetched again.
    """
    if not fits(mirror, entry):
        form = entry.checksum.partition(":")[0]
        raise MirrorFailed(f"a mirror of kind {mirror.kind} cannot give what '{form}:' describes")
    if part.is_dir():
        remove(part)
    continued = size_of(part) > 0
    if not continued or size_of(part) != entry.size:  # else it was killed before it was checked
        SOURCES.get(mirror.kind)(mirror, part, entry, progress)
    # The git source has compared the commit; nobody else can.
    got = entry.checksum if mirror.kind == "git" else digest(part, entry.checksum)
    if continued and not _is_right(entry, part, got):
        progress.note("  the continued download is not the expected file; fetching it anew")
        discard(part)
        return _arrive(mirror, part, entry, progress)
    return got


def _is_right(entry: FileEntry, path: Path, got: str) -> bool:
    """Tell whether a file of this checksum is the one; a checksum without digits fits any."""
    return got.startswith(entry.checksum) and entry.fault(path) is None


def _mismatch(got: str, part: Path, target: Path, entry: FileEntry, mirror: Mirror) -> MirrorFailed:
    """Set a wrong file aside; return what the mirror gave as a failure."""
    what, told, step = f"{size_of(part):,} bytes", "", ""
    if part.is_file():
        with part.open("rb") as handle:
            told = entry.fault(part) or told_apart(handle.read(ENOUGH), entry.name)
    if mirror.kind == "kaggle" and not told:
        told, step = of_another_version(mirror)
    what += f"; {told}" if told else ""
    seen_path(part).unlink(missing_ok=True)
    return MirrorFailed(
        f"gave {got} ({what}), set aside as {set_aside(part, target)}", ChecksumMismatch, step
    )


def _no_mirror(dataset: str, entry: FileEntry, causes: list[str], part: Path) -> str:
    kept = "No archive was changed."
    if part.is_file() and size_of(part):
        kept = f"Kept: {size_of(part):,} bytes in {part}, which will be continued."
    expected = entry.checksum.removesuffix("sha256:") or "the published file"
    first = f"{dataset}/{entry.name}: expected {expected}, no mirror gave it:"
    return "\n".join([first, *(f"  {cause}" for cause in causes), kept])
