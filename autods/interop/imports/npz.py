"""``NAME.npz``: ``x_train``, ``y_train``, ``x_test`` or ``x_val`` ..., perhaps ``class_names``."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from autods.containers.array_files import check_length, npy_header
from autods.containers.sizes import unpacked_limit
from autods.core.halves import EXPECTED, SCALE, unfit_rows, worst
from autods.core.splits import SPLITS
from autods.errors import ContainerError
from autods.interop.imports.base import Array, Reader, Table, numbered, wrong

NEEDED = "this array (of x_train, y_train, x_test or x_val, y_test or y_val)"


def open_npz(path: Path) -> Table:
    """Open a file; its arrays are read whole, since a compressed file has no other way."""
    try:
        with zipfile.ZipFile(path) as archive:
            _check_sizes(archive, path.stat().st_size)
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
            if odd := [key for key in arrays if not isinstance(arrays[key], np.ndarray)]:
                raise ValueError(f"'{odd[0]}' is no array")
    except Exception as error:  # NumPy's readers of zips and headers fail in many ways
        raise ContainerError(
            f"{path}: cannot be read as an .npz of plain arrays: {error}; it was not imported. "
            "Save it again with numpy.savez; text as unicode arrays, no Python objects."
        ) from None
    tests = [part for part in ("test", "val") if f"x_{part}" in arrays]
    for key in [f"{a}_{p}" for p in ("train", *(tests or ["test"])) for a in "xy"]:
        if key not in arrays:
            raise wrong(path, key, NEEDED, f"only {', '.join(sorted(arrays)) or 'none'}")
    dim = arrays["x_train"].shape[-1] if arrays["x_train"].ndim else 0
    names = _class_names(path, arrays["class_names"]) if "class_names" in arrays else None
    parts = {"train": "train"} | {
        p: "dev" if p == "val" and len(tests) == 2 else "test" for p in tests
    }
    for part in parts:
        _check_part(path, arrays, part, None if names is None else len(names), dim)
    order = [*parts]
    starts = np.cumsum([0, *(len(arrays[f"x_{part}"]) for part in order)])

    def blocks() -> Iterator[Array]:
        return (arrays[f"x_{part}"] for part in order)

    def where(row: int) -> str:
        number = int(np.searchsorted(starts, row, side="right")) - 1
        return f"x_{order[number]}: row {row - int(starts[number])}"

    splits = [np.full(len(arrays[f"y_{p}"]), SPLITS.index(s), np.int8) for p, s in parts.items()]
    labels = np.concatenate([arrays[f"y_{part}"].astype(np.int32) for part in order])
    if names is None:
        labels, names, _ = numbered(path, labels.tolist(), None, where)
    return Table(dim, labels, np.concatenate(splits), names, blocks, where)


def _check_sizes(archive: zipfile.ZipFile, size: int) -> None:
    """Raise `ValueError` if the arrays are larger than the file explains, or than they say."""
    allowed = unpacked_limit(size)
    for info in archive.infolist():
        allowed -= info.file_size
        if allowed < 0:
            raise ValueError(f"its arrays have more bytes than a file of {size:,} explains")
        with archive.open(info) as member:
            if not info.filename.endswith(".npy"):
                continue
            dtype, shape, _ = npy_header(cast(BinaryIO, member))
            check_length(dtype, shape, info.file_size)


def _class_names(path: Path, names: Array) -> list[str]:
    if names.dtype.kind != "U" or names.ndim != 1:
        raise wrong(path, "class_names", "text [C]", f"{names.dtype} {names.shape}")
    values, counts = np.unique(names, return_counts=True)
    if (counts > 1).any():
        raise wrong(path, "class_names", "distinct names", f"'{values[counts > 1][0]}' twice")
    return [str(name) for name in names]


def _check_part(
    path: Path, arrays: dict[str, Array], part: str, classes: int | None, dim: int
) -> None:
    x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
    if x.dtype.kind != "f" or x.ndim != 2 or x.shape[1] == 0:
        raise wrong(path, f"x_{part}", "floating point [n, d]", f"{x.dtype} {x.shape}")
    if y.dtype.kind not in "iu" or y.shape != x.shape[:1]:
        raise wrong(path, f"y_{part}", f"integers ({len(x)},)", f"{y.dtype} {y.shape}")
    if classes is not None and len(outside := np.flatnonzero((y < 0) | (y >= classes))):
        got = f"{int(y[outside[0]])} in row {outside[0]}"
        raise wrong(path, f"y_{part}", f"labels from 0 to {classes - 1}", got)
    if (unfit := unfit_rows(x)).any():
        row = int(unfit.argmax())
        got = f"{worst(x[row])} in row {row}"
        raise wrong(path, f"x_{part}", f"{EXPECTED} ({SCALE})", got)
    if x.shape[1] != dim:
        raise wrong(path, f"x_{part}", f"{dim} columns as x_train", x.shape[1])
    if not len(x):
        raise wrong(path, f"x_{part}", "at least one row", 0)


READER = Reader(
    lambda path: path.suffix == ".npz" and path.is_file(), lambda path: [path], open_npz
)
