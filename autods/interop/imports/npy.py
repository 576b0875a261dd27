"""A folder with ``features.npy`` [n, d] and ``labels.csv``: label, perhaps row and split."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from autods.core.csv_files import CsvRow, read_csv
from autods.core.label_texts import whole_texts
from autods.errors import ContainerError
from autods.interop.imports.base import (
    ROWS,
    Array,
    Reader,
    Table,
    float_type,
    numbered,
    split_numbers,
    wrong,
)

FEATURES, LABELS = "features.npy", "labels.csv"
DONE = "this folder was not imported"


def open_npy(folder: Path) -> Table:
    """Open a folder; the features are mapped into memory, and read block by block."""
    features, labels = folder / FEATURES, folder / LABELS
    try:
        array = np.load(features, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # NumPy's reader of headers fails in many ways
        raise ContainerError(
            f"{features}: cannot be read as a plain array: {error}; {DONE}. Save it again with "
            "numpy.save."
        ) from None
    notes = float_type(features, "type", array.dtype.name)
    if array.ndim != 2 or 0 in array.shape:
        raise wrong(features, "shape", "[n, d]", array.shape)
    found = read_csv(labels, wanted=[["label"]], done=DONE)
    rows = _in_order(labels, found.rows, len(array), "row" in found.columns)

    def line(row: int) -> str:
        return f"line {rows[row].line}"

    texts = [text if (text := row.cells["label"]).strip() else "" for row in rows]
    numbers, names, more = numbered(labels, whole_texts(texts), None, line)
    splits = None
    if "split" in found.columns:
        splits = split_numbers(labels, [row.cells["split"] for row in rows], line)

    def blocks() -> Iterator[Array]:
        return (array[start : start + ROWS] for start in range(0, len(array), ROWS))

    return Table(
        array.shape[1], numbers, splits, names, blocks, lambda row: f"{FEATURES}: row {row}",
        (*notes, *more),
    )  # fmt: skip


def _in_order(path: Path, rows: Sequence[CsvRow], count: int, by_number: bool) -> list[CsvRow]:
    """Return the lines in the order of the rows of features, each exactly once."""
    if not by_number:
        if len(rows) != count:
            raise wrong(path, "lines", f"{count}, one for each row of {FEATURES}", len(rows))
        return list(rows)
    ordered: list[CsvRow | None] = [None] * count
    for row in rows:
        text = row.cells["row"].strip()
        number = int(text) if text.isascii() and text.isdecimal() else -1
        if not 0 <= number < count:
            expected = f"a number from 0 to {count - 1}"
            raise wrong(path, f"line {row.line}: row", expected, f"'{text}'")
        if (other := ordered[number]) is not None:
            got = f"{number}, as in line {other.line}"
            raise wrong(path, f"line {row.line}: row", "each row once", got)
        ordered[number] = row
    if None in ordered:
        expected = f"a line for each of the {count} rows of {FEATURES}"
        raise wrong(path, "rows", expected, f"none for row {ordered.index(None)}")
    return [row for row in ordered if row is not None]


READER = Reader(
    lambda path: (path / FEATURES).is_file(),
    lambda path: [path / FEATURES, path / LABELS],
    open_npy,
)
