"""Fetch a published archive of features into the data root, verify what can be, record it."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from autods.core.files import hash_file, held, write_json
from autods.core.progress import Progress
from autods.core.root import DataRoot
from autods.errors import ChecksumMismatch, ContainerError, FetchError
from autods.fetch import SOURCES, unwritable_explained
from autods.fetch.digests import size_of
from autods.fetch.magic import ENOUGH, kind_of
from autods.fetch.many import duration, pause_after
from autods.fetch.mirrors import described, most_useful, users_mirrors
from autods.fetch.part_files import discard, part_of, place, set_aside
from autods.fetch.sources.base import MirrorFailed, Seen, shown
from autods.interop.published.archive import whole_tar
from autods.interop.published.spec import FeatureArchive
from autods.manifest.sources import Mirror

BY_HAND = (
    "Run the same command again later, or download the file in a browser ({homepage}) and run "
    "'autods import-features FILE'."
)


@dataclass(frozen=True)
class FetchedArchive:
    """An archive that is in place: what was done, where it is, its sha256 and bytes."""

    action: Literal["keep", "adopt", "download"]
    path: Path
    sha256: str
    size: int


def fetch_archive(
    archive: FeatureArchive,
    root: DataRoot,
    progress: Progress,
    mirrors: Sequence[str] = (),
    pauses: Sequence[float] = (),
) -> FetchedArchive:
    """Fetch the file of a feature archive; what is there already is kept or continued.

    Where no checksum is published, a tar must be whole to its end, and the sha256 of what came
    is recorded: it tells later whether the file has changed, not whether it is the authors'.

    Parameters
    ----------
    mirrors
        Further places, tried first; the file is at ``<mirror>/<archive>/<file>``.
    pauses
        Seconds before each further round where a host is down or over its quota. What a host
        itself asks to wait is always waited, as by `autods.fetch.many.fetch_many`.

    Raises
    ------
    FetchError
        When no mirror gives the file; of the subclass that the user can do most about.
    Busy
        When another process fetches it.
    """
    tries = 0
    while True:
        tries += 1
        try:
            return _fetch(archive, root, progress, mirrors)
        except FetchError as error:
            if (pause := pause_after(error.again, tries, pauses)) is None:
                raise
            progress.note(f"{error.message}\ntrying again in {duration(pause)}")
        time.sleep(pause)


def _fetch(
    archive: FeatureArchive, root: DataRoot, progress: Progress, mirrors: Sequence[str]
) -> FetchedArchive:
    """Keep, take over or download the file, in one try."""
    target = root.feature_archive(archive.name, archive.file.name)
    record = root.feature_archive_record(archive.name)
    with unwritable_explained(archive.name, root), held(record, archive.name, progress.note):
        if target.exists():
            recorded = _recorded(record)
            if recorded.get("size") == size_of(target) and _is_published(archive, recorded):
                progress.note(f"keeping {target}")
                return _fetched("keep", target, recorded)
            found = _describe(target, None)
            if _fault(target) is None and _is_published(archive, found):
                progress.note(f"found {target}, sha256 {found['sha256']}")
                write_json(record, found)
                return _fetched("adopt", target, found)
            bad = set_aside(target, target)
            progress.note(f"{target} was not the published file and is now {bad}")
        return _fetched("download", target, _download(archive, target, record, progress, mirrors))


def _download(
    archive: FeatureArchive,
    target: Path,
    record: Path,
    progress: Progress,
    mirrors: Sequence[str],
) -> dict[str, Any]:
    """Fetch from the first mirror that gives the file, record it and move it into place."""
    entry, part = archive.file.entry(), part_of(target)
    part.parent.mkdir(parents=True, exist_ok=True)
    begun = Seen.load(part).url
    asked = [*users_mirrors(mirrors, archive.name, entry), *entry.mirrors]
    failures, causes = [], []
    for mirror in sorted(asked, key=lambda mirror: shown(mirror.url) != begun):
        try:
            progress.note(f"fetching {archive.name} from {described(mirror)}")
            continued = size_of(part) > 0
            SOURCES.get(mirror.kind)(mirror, part, entry, progress)
            if continued and _fault(part):
                progress.note("  the continued download is not whole; fetching it anew")
                discard(part)
                SOURCES.get(mirror.kind)(mirror, part, entry, progress)
            found = _describe(part, mirror)
            fault = _fault(part)
            if fault is None and not _is_published(archive, found):
                fault = f"it is not {archive.file.checksum}"
            if fault is not None:
                raise MirrorFailed(
                    f"gave sha256:{found['sha256']} ({found['size']:,} bytes), set aside as "
                    f"{set_aside(part, target)}: {fault}",
                    ChecksumMismatch,
                )
            _note_sum(archive, found, progress)
            write_json(record, found)
            place(part, target)
            return found
        except MirrorFailed as error:
            error.next_step = BY_HAND.format(homepage=archive.homepage)
            failures.append(error)
            causes.append(f"  {described(mirror)}: {shown(str(error))}")
    kept = "Nothing of it is here."
    if size_of(part):
        kept = f"Kept: {size_of(part):,} bytes in {part}, which will be continued."
    first = f"{archive.name}/{archive.file.name}: no mirror gave it:"
    raise most_useful(archive.name, "\n".join([first, *causes, kept]), failures)


def _fault(path: Path) -> str | None:
    """Say why a file cannot be the archive; a compressed one may be it."""
    with path.open("rb") as handle:
        kind = kind_of(handle.read(ENOUGH))
    if kind is None:
        return "it does not begin like an archive"
    if kind == "tar archive":
        try:
            whole_tar(path)
        except ContainerError:
            return "it is a tar without its end"
    return None


def _note_sum(archive: FeatureArchive, found: dict[str, Any], progress: Progress) -> None:
    if archive.file.checksum is None:
        progress.note(
            f"no checksum of {archive.file.name} is published; recorded is the sha256 of what "
            f"came: {found['sha256']}"
        )


def _is_published(archive: FeatureArchive, found: dict[str, Any]) -> bool:
    """Tell whether a file has the published checksum; any has, where none is published."""
    return archive.file.checksum in (None, f"sha256:{found.get('sha256')}")


def _describe(path: Path, mirror: Mirror | None) -> dict[str, Any]:
    return {
        "file": path.name.removesuffix(".part"),
        "size": size_of(path),
        "sha256": hash_file(path, "sha256"),
        "kind": mirror.kind if mirror else None,
        "url": shown(mirror.url) if mirror else None,
    }


def _recorded(record: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(record.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # the file is then hashed and recorded again
        return {}


def _fetched(
    action: Literal["keep", "adopt", "download"], path: Path, found: dict[str, Any]
) -> FetchedArchive:
    return FetchedArchive(action, path, found["sha256"], found["size"])
