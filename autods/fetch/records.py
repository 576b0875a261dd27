"""What was fetched, as ``record.json`` says it under ``files``, and whether it still holds.

Names and sizes are compared wherever somebody asks what is here. `fetch`, `index` and `extract`
hash again what was touched since it was hashed, `verify` hashes everything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from autods.core.files import read_json, write_json
from autods.core.root import DataRoot
from autods.core.unchanged import cached, remember, touched
from autods.errors import FetchError
from autods.fetch.digests import digest, listing, size_of
from autods.fetch.sources.base import shown
from autods.manifest.sources import FileEntry, Mirror, Release


def record_file(
    root: DataRoot, dataset: str, entry: FileEntry, arrived: Path, mirror: Mirror | None
) -> None:
    """Write down a verified file; other keys of the record belong to other steps.

    It is recorded before it is moved into place: a kill in between leaves a record without its
    file, which is fetched again, and never a file without its record, which for a git checkout
    could not be verified any more.
    """
    checksum = entry.checksum
    if checksum.endswith(":"):  # none is published: later changes are still noticed
        checksum = digest(arrived, checksum)
    value = {
        "checksum": checksum,
        "size": size_of(arrived),
        "kind": mirror.kind if mirror else None,
        "url": shown(mirror.url) if mirror else None,
    }
    if arrived.is_dir():
        value["listing"] = listing(arrived)
    if entry.checksum.startswith("git:"):
        value["tree"] = digest(arrived, entry.checksum)
    record = read_record(root, dataset)
    record["files"] = {**record.get("files", {}), entry.name: value}
    write_json(root.record(dataset), record)


def recorded_files(root: DataRoot, dataset: str) -> dict[str, dict[str, Any]]:
    """Return file name to what is recorded of it: checksum, size, kind and url it came from."""
    return dict(read_record(root, dataset).get("files", {}))


def is_recorded(entry: FileEntry, target: Path, recorded: dict[str, Any] | None) -> bool:
    """Tell whether ``target`` is, by names and sizes, what was verified; nothing is hashed."""
    if recorded is None or not str(recorded.get("checksum")).startswith(entry.checksum):
        return False
    if not target.exists():
        return False
    if target.is_dir():
        return recorded.get("listing") == listing(target)
    return recorded.get("size") == size_of(target)


def is_verified(
    root: DataRoot, dataset: str, entry: FileEntry, note: Callable[[str], None]
) -> bool:
    """Tell whether a file is what was verified; one that was touched since is hashed again.

    ``note`` is told before one is hashed, which takes minutes for a large one.
    """
    target = root.archive(dataset, entry.name)
    recorded = recorded_files(root, dataset).get(entry.name)
    if recorded is None or not is_recorded(entry, target, recorded):
        return False
    return is_unchanged(root, dataset, entry.name, recorded, note)


def is_unchanged(
    root: DataRoot,
    dataset: str,
    name: str,
    recorded: Mapping[str, Any],
    note: Callable[[str], None],
) -> bool:
    """Tell whether a file has its recorded checksum; it is hashed if it was touched since."""
    target = root.archive(dataset, name)
    expected = str(recorded.get("tree") or recorded["checksum"])
    archives = root.archive(dataset, "x").parent
    if not touched(archives, {target: expected}, cached(archives)):
        return True
    note(f"hashing {dataset}/{name}, which was touched since it was last hashed")
    if digest(target, expected) != expected:
        return False
    remember(archives, {target: expected}, cached(archives))
    return True


def remember_file(root: DataRoot, dataset: str, entry: FileEntry) -> None:
    """Note that a file in its place is what was recorded just now."""
    recorded = recorded_files(root, dataset)[entry.name]
    expected = str(recorded.get("tree") or recorded["checksum"])
    archives = root.archive(dataset, "x").parent
    remember(archives, {root.archive(dataset, entry.name): expected}, cached(archives))


def unverified_files(manifest: Release, root: DataRoot, note: Callable[[str], None]) -> list[str]:
    """Return the names of the files that are not what was verified, see `is_verified`."""
    return [
        entry.name for entry in manifest.files if not is_verified(root, manifest.name, entry, note)
    ]


def missing_files(manifest: Release, root: DataRoot) -> list[str]:
    """Return the names of the files that are not fetched yet, see `is_recorded`."""
    recorded = recorded_files(root, manifest.name)
    return [
        entry.name
        for entry in manifest.files
        if not is_recorded(entry, root.archive(manifest.name, entry.name), recorded.get(entry.name))
    ]


def verify_archives(manifest: Release, root: DataRoot) -> list[str]:
    """Hash all archives of a dataset again; return the problems as sentences, none if sound."""
    recorded = recorded_files(root, manifest.name)
    problems = []
    for entry in manifest.files:
        target = root.archive(manifest.name, entry.name)
        label = f"{manifest.name}/{entry.name}"
        expected = entry.checksum
        if expected.startswith("git:"):  # a commit is verified by the tree recorded with it
            expected = recorded.get(entry.name, {}).get("tree", "a recorded checkout")
        if not target.exists():
            problems.append(f"{label} is not fetched; run 'autods fetch {manifest.name}'.")
        elif (got := digest(target, entry.checksum)) != expected:
            problems.append(
                f"{label} is damaged: expected {expected}, got {got}; move {target} away and "
                f"run 'autods fetch {manifest.name}'."
            )
    return problems


def read_record(root: DataRoot, dataset: str) -> dict[str, Any]:
    """Return the whole record of a dataset, ``{}`` if there is none; `FetchError` if unreadable."""
    path = root.record(dataset)
    try:
        record = read_json(path) if path.exists() else {}
        if not isinstance(record, dict) or any(
            not isinstance(record.get(key, {}), dict) for key in ("files", "index")
        ):
            raise ValueError("JSON of another shape")
    except ValueError as error:
        raise FetchError(
            f"{path}: expected JSON, got: {error}; no archive was changed.",
            "Move it away and run 'autods fetch NAME': the archives are checked and recorded "
            "again.",
            dataset=dataset,
        ) from None
    return record
