"""Import features that were made elsewhere: folders of ``NAME.npz`` files.

Each file becomes a feature set like an extracted one, with a development part held out
of its training samples.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autods.errors import ContainerError, FeatureMismatch, LayoutError, UsageError
from autods.feature_sets import seal_features
from autods.files import hash_file, locked
from autods.imported import (
    LARGEST,
    ImportOutcome,
    check_request,
    hash_rows,
    is_current,
    present_width,
)
from autods.manifest import NAME
from autods.progress import Progress, Silent
from autods.root import DataRoot
from autods.splits import hold_out
from autods.store import ShardData, ShardInfo, write_shard

TASK = "class"  # imported features have one labelling

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class _Source:
    """A checked file: split name to features float16 [n, d] and labels int32 [n]."""

    parts: dict[str, tuple[npt.NDArray[np.float16], npt.NDArray[np.int32]]]
    class_names: list[str]
    dim: int


def import_npz_folder(
    folder: Path,
    root: DataRoot,
    encoder_name: str,
    *,
    pad_to: int | None = None,
    dev_fraction: float = 0.1,
    seed: int = 0,
    progress: Progress | None = None,
) -> ImportOutcome:
    """Import every ``NAME.npz`` of a folder as the feature set NAME (in lower case).

    A file holds ``x_train`` float [n, d], ``y_train`` int [n], ``x_test`` / ``y_test`` (or
    ``x_val`` / ``y_val``; when both are there, val becomes the development part) and
    ``class_names`` [C]. Files that were imported before in the same way are kept.

    Parameters
    ----------
    encoder_name
        Name under which streams find the features, for example ``mobilenetv2.imagenet``.
    pad_to
        Width to which narrower features are filled up with zeros; ``None``: all files must
        have the same width.
    dev_fraction, seed
        Stratified part of the training samples held out for development, and its seed.

    Raises
    ------
    LayoutError, ContainerError
        When a file is not as described; the message names file, key, expected and got.
    FeatureMismatch
        When widths differ, or other features of that name stand under the root already.
    """
    progress = progress or Silent()
    names = _names(folder)
    check_request(encoder_name, dev_fraction, seed)
    width = _agreed_width(root, encoder_name, pad_to)
    imported, kept = [], []
    progress.start(f"importing {folder.name}", len(names), "files")
    for name, path in names.items():
        origin = {"file": path.name, "dev_fraction": dev_fraction, "seed": seed, "pad_to": pad_to}
        fingerprint = hash_file(path, "sha256")
        with locked(root.features(encoder_name, name)):
            if is_current(root, encoder_name, name, fingerprint, origin):
                kept.append(name)
            else:
                source = _load(path)
                width = width or source.dim
                _check_width(path, source.dim, width, pad_to)
                info = _info(name, encoder_name, source, fingerprint, origin)
                _write(root, encoder_name, info, _divide(source, dev_fraction, seed), width)
                imported.append(name)
        progress.advance(1)
    progress.finish()
    return ImportOutcome(imported, kept)


def _names(folder: Path) -> dict[str, Path]:
    """Map feature set names to files, sorted by name."""
    names: dict[str, Path] = {}
    for path in sorted(folder.glob("*.npz")):
        name = path.stem.lower()
        if not NAME.fullmatch(name):
            raise UsageError(
                f"{path}: '{name}' cannot name a feature set: expected letters, digits, '_' and "
                "'-'; nothing was imported. Rename the file."
            )
        if name in names:
            raise UsageError(
                f"{names[name].name} and {path.name} in {folder} would both become '{name}'; "
                "nothing was imported. Rename one of them."
            )
        names[name] = path
    if not names:
        raise UsageError(
            f"{folder}: expected a folder with NAME.npz files, found none; nothing was imported."
        )
    return dict(sorted(names.items()))


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
        f"{path}: x_train: expected {width} dimensions as the other features of this encoder "
        f"have, got {dim}; this file was not imported, those before it were. {cure}, or import "
        "it under another encoder name."
    )


def _load(path: Path) -> _Source:
    """Read and check one file."""
    try:
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, ValueError) as error:
        raise ContainerError(
            f"{path}: cannot be read as an .npz of plain arrays: {error}; it was not imported. "
            "Save it again with numpy.savez; text as unicode arrays, no Python objects."
        ) from None
    tests = [part for part in ("test", "val") if f"x_{part}" in arrays]
    pairs = [f"{axis}_{part}" for part in ("train", *(tests or ["test"])) for axis in "xy"]
    for key in (*pairs, "class_names"):
        if key not in arrays:
            raise _wrong(path, key, "this array", f"only {', '.join(sorted(arrays)) or 'none'}")
    classes = _class_names(path, arrays["class_names"])
    parts = {"train": _part(path, arrays, "train", len(classes))}
    for part in tests:
        split = "dev" if part == "val" and len(tests) == 2 else "test"
        parts[split] = _part(path, arrays, part, len(classes))
    dim = parts["train"][0].shape[1]
    for split, (features, _) in parts.items():
        if features.shape[1] != dim:
            raise _wrong(path, f"x of {split}", f"{dim} columns as x_train", features.shape[1])
    for part in ("train", *tests):
        if not len(arrays[f"x_{part}"]):
            raise _wrong(path, f"x_{part}", "at least one row", 0)
    return _Source(parts, classes, dim)


def _class_names(path: Path, names: Array) -> list[str]:
    if names.dtype.kind != "U" or names.ndim != 1:
        raise _wrong(path, "class_names", "text [C]", f"{names.dtype} {names.shape}")
    values, counts = np.unique(names, return_counts=True)
    if (counts > 1).any():
        raise _wrong(path, "class_names", "distinct names", f"'{values[counts > 1][0]}' twice")
    return [str(name) for name in names]


def _part(
    path: Path, arrays: dict[str, Array], part: str, classes: int
) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.int32]]:
    """Check features and labels of one part and bring them to the stored dtypes."""
    x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
    if x.dtype.kind != "f" or x.ndim != 2 or x.shape[1] == 0:
        raise _wrong(path, f"x_{part}", "floating point [n, d]", f"{x.dtype} {x.shape}")
    if y.dtype.kind not in "iu" or y.shape != x.shape[:1]:
        raise _wrong(path, f"y_{part}", f"integers ({len(x)},)", f"{y.dtype} {y.shape}")
    outside = y[(y < 0) | (y >= classes)]
    if len(outside):
        raise _wrong(path, f"y_{part}", f"labels from 0 to {classes - 1}", int(outside[0]))
    if not (np.abs(x) <= LARGEST).all():  # false for NaN as well
        raise _wrong(path, f"x_{part}", f"finite values within +-{LARGEST:.0f}", "others")
    return x.astype(np.float16), y.astype(np.int32)


def _divide(source: _Source, fraction: float, seed: int) -> dict[str, ShardData]:
    """Hold the development part out of train; number the samples as the file has them."""
    shards: dict[str, ShardData] = {}
    start = 0
    for split, (features, labels) in source.parts.items():
        sample = np.arange(start, start + len(labels), dtype=np.int64)
        shards[split] = ShardData(features, {TASK: labels}, sample, hash_rows(features))
        start += len(labels)
    train = shards["train"]
    if "dev" not in shards:
        held = hold_out(train.labels[TASK], fraction, seed)
        shards["train"], shards["dev"] = _choose(train, ~held), _choose(train, held)
    return shards


def _info(
    name: str, encoder: str, source: _Source, fingerprint: str, origin: dict[str, Any]
) -> ShardInfo:
    return ShardInfo(
        dataset=name,
        split="train",
        default_task=TASK,
        class_names={TASK: source.class_names},
        encoder={"model": encoder, "pretrained": None, "imported": True},
        fingerprint=fingerprint,
        samples_sha256="",
        start=0,
        stop=0,
        index=0,
        count=1,
        hashed="features",
        origin={**origin, "width": source.dim},
    )


def _choose(data: ShardData, mask: npt.NDArray[np.bool_]) -> ShardData:
    labels = {task: array[mask] for task, array in data.labels.items()}
    return ShardData(data.features[mask], labels, data.sample[mask], data.content_hash[mask])


def _write(
    root: DataRoot, encoder: str, info: ShardInfo, shards: dict[str, ShardData], width: int
) -> None:
    """Write one shard per split, padded to ``width``, then the record."""
    for split, data in shards.items():
        missing = width - data.features.shape[1]
        padded = replace(data, features=np.pad(data.features, ((0, 0), (0, missing))))
        path = root.shard(encoder, info.dataset, split, 0, 1)
        write_shard(path, padded, replace(info, split=split, stop=len(data)))
    seal_features(root, encoder, info.dataset)


def _wrong(path: Path, key: str, expected: str, got: object) -> LayoutError:
    return LayoutError(
        f"{path}: {key}: expected {expected}, got {got}; this file was not imported. Correct it "
        "and run the same command again: what was imported before is kept."
    )
