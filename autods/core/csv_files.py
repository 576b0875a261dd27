"""CSV files that people write: encoding, delimiter and columns are detected.

Cells are taken as they are: a blank at an end may belong to a name. Only where the first line has
blanks beside its delimiters ("path, label") are they no part of any cell. Lines end where CSV
says, at a line feed or carriage return, and nowhere else.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from autods.core.strict import repeated
from autods.errors import LayoutError

DELIMITERS = ",;\t|"
NOTHING = "nothing was written"  # what happened to the data, unless the caller says


class CsvRow(NamedTuple):
    """One row: its line in the file (1-based; of its last line) and its cells by column."""

    line: int
    cells: dict[str, str]


class CsvFile(NamedTuple):
    """The detected delimiter and columns of a file, and its rows."""

    delimiter: str
    columns: list[str]
    rows: list[CsvRow]


def read_csv(path: Path, *, wanted: Sequence[Sequence[str]], done: str = NOTHING) -> CsvFile:
    """Read a CSV file in UTF-8, with or without a byte order mark.

    ``wanted`` are the required columns, each with its other names; ``done`` is what an error
    says of the data. `LayoutError` names file and line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise LayoutError(
            f"{path}: line {line}: expected UTF-8 text, got byte "
            f"0x{error.object[error.start]:02x}; {done}. Save the file as UTF-8."
        ) from None
    head = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=head.count)  # the first of them where none occurs
    found = list(_rows(path, text, delimiter, done))
    columns = [cell.strip().lower() for cell in found[0][1]] if found else []
    if again := repeated(columns):
        raise LayoutError(f"{path}: line 1: expected column '{again}' once, got it twice; {done}.")
    for names in wanted:
        if not set(names) & set(columns):
            known = " or ".join(f"'{name}'" for name in names)
            raise LayoutError(
                f"{path}: line 1: expected a column {known}, got "
                f"{', '.join(columns) or 'an empty file'}; {done}. Name the columns in the first "
                "line."
            )
    if len(found) < 2:
        raise LayoutError(
            f"{path}: expected rows below the names of the columns, got none; {done}."
        )
    rows = [CsvRow(line, dict(zip(columns, cells, strict=True))) for line, cells in found[1:]]
    return CsvFile(delimiter, columns, rows)


def _rows(path: Path, text: str, delimiter: str, done: str) -> Iterator[tuple[int, list[str]]]:
    header = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
    padded = any(cell != cell.strip() for cell in header)
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=padded
    )
    width = 0
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            width = width or len(cells)
            if len(cells) != width:
                raise LayoutError(
                    f"{path}: line {reader.line_num}: expected {width} cells as in the first line, "
                    f"got {len(cells)}; {done}. Put cells that hold '{delimiter}' in quotes."
                )
            yield reader.line_num, [cell.rstrip() for cell in cells] if padded else cells
    except csv.Error as error:
        raise LayoutError(
            f"{path}: line {reader.line_num}: expected delimited text, got {error}; {done}."
        ) from None
