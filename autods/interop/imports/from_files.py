"""Import features that were made elsewhere; `autods.interop.imports` reads their formats."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autods.core.files import hash_file, locked
from autods.core.halves import EXPECTED, SCALE, unfit_rows, worst
from autods.core.progress import Progress, Silent
from autods.core.root import DataRoot
from autods.core.splits import SPLITS
from autods.errors import AutodsError, DatasetsFailed, FeatureMismatch
from autods.features.sets import seal_features
from autods.features.shards import ShardData, ShardInfo, write_shard
from autods.index.splits import hold_out
from autods.interop.imports import find_sources
from autods.interop.imports.base import Reader, Table, wrong
from autods.interop.imports.common import (
    ImportOutcome,
    check_request,
    hash_rows,
    import_info,
    is_current,
    present_width,
)

TASK = "class"  # imported features have one labelling
TEST_FRACTION = 0.2  # drawn, stratified, where a file knows no splits
SHARD_ROWS = 65_536  # of one shard at most: what is held in memory

Array = npt.NDArray[Any]
Rows = npt.NDArray[np.int64]


def import_files(
    place: Path,
    root: DataRoot,
    encoder_name: str,
    *,
    pad_to: int | None = None,
    dev_fraction: float = 0.1,
    seed: int = 0,
    progress: Progress | None = None,
    failed: Callable[[str, AutodsError], None] = lambda name, error: None,
) -> ImportOutcome:
    """Import features from a file or folder of any format of `autods.interop.imports`.

    A folder of several files gives a feature set for each, named as the file is (in lower
    case). Files that were imported before in the same way are kept. Features are stored as
    float16; what is read at once is bounded, but for ``.npz`` files.

    Narrower features are filled up with zeros to ``pad_to``; without it all files must have the
    same width. ``dev_fraction`` of the training samples is held out, stratified, if a file has
    no development part; a file without splits gives a stratified fifth for test.

    Raises `LayoutError` or `ContainerError` for a file that is not as described,
    `FeatureMismatch` if widths differ or other features of that name exist. One of several files
    does not stop the others: ``failed`` learns of it, and `DatasetsFailed` names all at the end.
    """
    progress = progress or Silent()
    sources = find_sources(place)
    check_request(encoder_name, dev_fraction, seed)
    width = _agreed_width(root, encoder_name, pad_to)
    options = {"dev_fraction": dev_fraction, "seed": seed, "pad_to": pad_to}
    imported, kept, notes = [], [], []
    failures: dict[str, AutodsError] = {}
    progress.start(f"importing {place.name}", len(sources), "files")
    for name, source in sources.items():
        try:
            found = _import_one(root, encoder_name, name, source, options, width)
        except AutodsError as error:
            if len(sources) == 1:
                raise
            failures[name] = error
            failed(name, error)
        else:
            if found is None:
                kept.append(name)
            else:
                imported.append(name)
                notes += found
                width = width or present_width(root, encoder_name)
        progress.advance(1)
    progress.finish()
    outcome = ImportOutcome(imported, kept, tuple(notes))
    if failures:
        raise DatasetsFailed(failures, outcome)
    return outcome


def _import_one(
    root: DataRoot,
    encoder: str,
    name: str,
    source: tuple[Path, Reader],
    options: dict[str, Any],
    width: int | None,
) -> list[str] | None:
    """Import one file, of ``width`` unless that is open; return notes, ``None`` if it is here."""
    path, reader = source
    origin = {"file": path.name, **options}
    fingerprint = _fingerprint(reader.files(path))
    with locked(root.features(encoder, name)):
        if is_current(root, encoder, name, fingerprint, origin):
            return None
        table = reader.open(path)
        width = width or table.dim
        _check_width(path, table.dim, width, options["pad_to"])
        wide = {**origin, "width": table.dim}
        info = import_info(name, encoder, {TASK: table.class_names}, fingerprint, wide)
        return [*table.notes, *_write(root, encoder, path, table, info, width)]


def _fingerprint(files: Sequence[Path]) -> str:
    """Return the sha256 of a source's files, that of the file itself if there is one."""
    hashes = [hash_file(file, "sha256") for file in files]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def _agreed_width(root: DataRoot, encoder: str, pad_to: int | None) -> int | None:
    """Return the width all features of the encoder must have; ``None`` while it is open."""
    existing = present_width(root, encoder)
    if existing is not None and pad_to not in (None, existing):
        raise FeatureMismatch(
            f"features by encoder '{encoder}' have {existing} dimensions, padding to {pad_to} "
            f"was asked for; nothing was imported. Import with --pad-to {existing}, or under "
            "another encoder name."
        )
    return pad_to if existing is None else existing


def _check_width(path: Path, dim: int, width: int, pad_to: int | None) -> None:
    if dim == width or (pad_to is not None and dim < width):
        return
    if dim < width:
        cure = f"Pass --pad-to {width} to fill up with zeros"
    else:
        cure = f"Pass --pad-to {dim} in a fresh import"
    raise FeatureMismatch(
        f"{path}: expected {width} dimensions as the other features of this encoder "
        f"have, got {dim}; this file was not imported, those before it were. {cure}, or import "
        "it under another encoder name."
    )


def _rows_of(
    path: Path, table: Table, fraction: float, seed: int
) -> tuple[dict[str, Rows], list[str]]:
    """Return the rows of each split, ascending, and notes on what was drawn."""
    labels, notes = table.labels, []
    if table.splits is None:
        test = hold_out(labels, TEST_FRACTION, seed)
        rows = {"train": np.flatnonzero(~test), "test": np.flatnonzero(test)}
        notes.append(f"{path.name}: it has no splits; a stratified fifth became test.")
    else:
        found = {s: np.flatnonzero(table.splits == k) for k, s in enumerate(SPLITS)}
        rows = {split: part for split, part in found.items() if len(part)}
        if "test" not in rows and "dev" in rows:  # what was looked at last, published as "val"
            rows["test"] = rows.pop("dev")
            notes.append(f"{path.name}: it has no test part; its val part became test.")
    for split in ("train", "test"):
        if not len(rows.get(split, ())):
            raise wrong(path, "splits", f"at least one row of {split}", "none")
    if "dev" not in rows:
        held = hold_out(labels[rows["train"]], fraction, seed)
        rows["dev"], rows["train"] = rows["train"][held], rows["train"][~held]
    return rows, notes


@contextmanager
def _rounded(path: Path, table: Table, folder: Path) -> Iterator[npt.NDArray[np.float16]]:
    """Give all features as float16 [n, d], checked: in a nameless file, not in memory."""
    count = len(table.labels)
    with tempfile.TemporaryFile(dir=folder) as file:
        features = np.memmap(file, np.float16, "w+", shape=(count, table.dim))
        start = 0
        for block in table.blocks():
            if (unfit := unfit_rows(block)).any():
                row = int(unfit.argmax())
                expected = f"{EXPECTED} ({SCALE})"
                raise wrong(path, table.where(start + row), expected, worst(block[row]))
            if start + len(block) > count:
                break
            features[start : start + len(block)] = block
            start += len(block)
        if start != count:
            raise wrong(path, "rows", f"{count} of features, as labels", start)
        yield features


def _write(
    root: DataRoot, encoder: str, path: Path, table: Table, info: ShardInfo, width: int
) -> list[str]:
    """Write the shards of every split, padded to ``width``, then the record; return notes."""
    name = info.dataset
    rows, notes = _rows_of(path, table, info.origin["dev_fraction"], info.origin["seed"])
    with _rounded(path, table, root.features(encoder, name).parent) as features:
        for split, chosen in rows.items():
            starts = range(0, max(1, len(chosen)), SHARD_ROWS)
            for index, start in enumerate(starts):
                part = chosen[start : start + SHARD_ROWS]
                values = features[part]
                padded = np.pad(values, ((0, 0), (0, width - table.dim)))
                data = ShardData(padded, {TASK: table.labels[part]}, part, hash_rows(values))
                told = replace(
                    info, split=split, start=start, stop=start + len(part), index=index,
                    count=len(starts),
                )  # fmt: skip
                write_shard(root.shard(encoder, name, split, index, len(starts)), data, told)
    seal_features(root, encoder, name)
    return notes
