"""Import one dataset of a published archive: check, join labels with features, write."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from autods.core import pickles
from autods.core.files import held
from autods.core.progress import Progress
from autods.core.root import DataRoot
from autods.errors import AutodsError, ContainerError, LayoutError, UnsafePickle
from autods.features.sets import seal_features
from autods.interop.imports.common import import_info, is_current, present_width
from autods.interop.published.archive import SPLITS, PublishedDataset, Stored
from autods.interop.published.lmdb_file import LmdbFile
from autods.interop.published.metadata import LabelSet, path_key, read_metadata
from autods.interop.published.rows import Rows, hold_out_dev, make_rows
from autods.interop.published.shards import FILE_NAMES, Writers
from autods.interop.published.spec import FeatureArchive
from autods.manifest.schema import NAME

LARGE = 1 << 30  # bytes; hashing that many takes seconds, so it is reported


@dataclass(frozen=True)
class Request:
    """What does not change from dataset to dataset; see `import_published`."""

    root: DataRoot
    archive: FeatureArchive
    extractor: str
    encoder: str
    dev_fraction: float
    seed: int
    progress: Progress


def import_dataset(request: Request, name: str, dataset: PublishedDataset) -> bool:
    """Import one dataset; return whether anything was to be done.

    After an `AutodsError` nothing of it is left, unless other features stood there.
    """
    root, encoder = request.root, request.encoder
    files = _files(request, name, dataset)
    with held(root.features(encoder, name), f"{name} by {encoder}", request.progress.note):
        try:
            hashes = _hashes(request, name, files)
            fingerprint = hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()
            origin = {
                "archive": request.archive.name,
                "extractor": request.extractor,
                "dev_fraction": request.dev_fraction,
                "seed": request.seed,
                "sha256": hashes,
            }
            if is_current(root, encoder, name, fingerprint, origin):
                return False
        except ContainerError as error:
            raise _refused(error, name) from None
        _clear(request, name)  # what an import that was ended has left: this one's, unfinished
        try:
            _write(request, name, files, fingerprint, origin)
        except AutodsError as error:
            _clear(request, name)
            raise _refused(error, name) from None
    return True


def _clear(request: Request, name: str) -> None:
    folder = request.root.features(request.encoder, name)
    for path in folder.glob("*.h5"):
        path.unlink()
    with suppress(OSError):
        folder.rmdir()


def _hashes(request: Request, name: str, files: Mapping[str, Stored]) -> dict[str, str]:
    total = sum(file.size for file in files.values())
    if total < LARGE:
        return {place: file.sha256() for place, file in files.items()}
    request.progress.start(f"hashing {name}", total, "bytes")
    try:
        return {place: file.sha256(request.progress.advance) for place, file in files.items()}
    finally:
        request.progress.finish()


def _files(request: Request, name: str, dataset: PublishedDataset) -> dict[str, Stored]:
    """Return the three files of a dataset by their published places."""
    if not NAME.fullmatch(name):
        raise LayoutError(
            f"'{name}' cannot name a feature set: expected letters, digits, '_' and '-'; nothing "
            "of it was imported. Unpack the archive and rename that folder."
        )
    databases = dataset.features.get(request.extractor, {})
    files = {"metadata.pickle": dataset.metadata}
    files |= {f"{split}/data.mdb": databases.get(split) for split in SPLITS}
    there = {place: file for place, file in files.items() if file is not None}
    if missing := [place for place in files if place not in there]:
        raise LayoutError(
            f"{dataset.folder}: expected {', '.join(files)} (of extractor {request.extractor}), "
            f"got no {', '.join(missing)}; nothing of '{name}' was imported. Fetch the archive "
            "again if others have it."
        )
    return there


def _write(
    request: Request,
    name: str,
    files: Mapping[str, Stored],
    fingerprint: str,
    origin: Mapping[str, Any],
) -> None:
    """Write all shards and the record of one dataset."""
    progress, databases = request.progress, {s: files[f"{s}/data.mdb"] for s in SPLITS}
    positions = {split: _positions(file) for split, file in databases.items()}
    sets = read_metadata(files["metadata.pickle"], positions)
    counts = {split: len(numbers) for split, numbers in positions.items()}
    del positions
    rows = {split: make_rows(sets, split, counts[split]) for split in SPLITS}
    for split in SPLITS:
        _check_rows(request, name, databases[split], rows[split], counts[split])
    tasks = _ordered(sets, request.archive.default_tasks.get(name))
    hold_out_dev(rows["train"], tasks, request.dev_fraction, request.seed)
    class_names = {task: sets[task].class_names for task in tasks}
    facts = {
        "extractor": request.extractor,
        "source": request.archive.known(request.extractor).source,
    }
    info = import_info(name, request.encoder, class_names, fingerprint, origin, **facts)
    del sets  # the shards need the numbers only
    width = present_width(request.root, request.encoder)
    writers = Writers(request.root, request.encoder, info, width, progress)
    progress.start(f"importing {name}", sum(counts.values()), "features")
    try:
        first = 0
        for split, file in databases.items():
            with LmdbFile(file) as database:
                writers.write(database, file.shown, rows[split], first)
            first += len(rows[split])
    finally:
        progress.finish()
    seal_features(request.root, request.encoder, name)


def _check_rows(request: Request, name: str, file: Stored, rows: Rows, features: int) -> None:
    """Refuse a split without rows; say how many features no list names."""
    if not len(rows):
        raise LayoutError(f"{file.shown}: expected features with labels, got none")
    if unnamed := features - len(np.unique(rows.feature)):
        request.progress.note(
            f"{name}: {unnamed:,} features of {file.shown} have no label in metadata.pickle and "
            "are left out"
        )


def _positions(file: Stored) -> dict[bytes, int]:
    """Return the number of each feature of a database, by keys; it must list the same keys."""
    with LmdbFile(file) as database:
        stored = database.get(FILE_NAMES)
        keys = (key for key in database.keys() if key != FILE_NAMES)  # noqa: SIM118  # no mapping
        positions = {key: number for number, key in enumerate(keys)}
    if stored is None:
        raise ContainerError(
            f"{file.shown}: expected a list of its keys under 'file_names', which is written last, "
            "got none: the database was not finished"
        )
    try:
        listed = pickles.load(stored, paths=True)
        del stored
        numbers = np.array([positions.get(_key(item), -1) for item in listed], np.int64)
    except UnsafePickle as error:
        raise UnsafePickle(f"{file.shown}: the value of 'file_names': {error}") from None
    except (ValueError, TypeError) as error:
        raise ContainerError(f"{file.shown}: the value of 'file_names': {error}") from None
    absent, found = np.flatnonzero(numbers < 0), np.unique(numbers[numbers >= 0])
    if len(absent) or len(found) < len(positions):
        raise LayoutError(
            f"{file.shown}: expected the features that its 'file_names' lists, got "
            f"{len(positions) - len(found):,} others and none of {len(absent):,} of the "
            f"{len(numbers):,} in the list"
        )
    return positions


def _key(item: object) -> bytes:
    if not isinstance(item, str):  # the text of a list may be longer than any memory
        raise ValueError(f"expected paths, got a {type(item).__name__}")
    return path_key(item)


def _ordered(sets: Mapping[str, LabelSet], default: str | None) -> list[str]:
    """Return the label sets, the default one first: the known one, else the first."""
    first = next(task for task in (default, *sets) if task in sets)
    return [str(first), *(task for task in sets if task != first)]


def _refused(error: AutodsError, name: str) -> AutodsError:
    """Add to an error what it means for the dataset."""
    return type(error)(f"{error}; nothing of '{name}' was imported.")
