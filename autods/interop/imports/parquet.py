"""``NAME.parquet``, or a folder with ``train*.parquet``, ``test*.parquet`` ...: one row a sample.

Features are one column of lists, or numbered columns (``f0``, ``f1`` ...); ``label`` is text or
whole numbers; ``split`` is optional. Class names are read from the metadata of ``datasets``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from autods.core.json_texts import parse_json
from autods.core.label_texts import label_text
from autods.core.limited import ParserFailed, call
from autods.errors import ContainerError
from autods.interop.imports.base import (
    ROWS,
    USUAL,
    Array,
    Reader,
    Table,
    float_type,
    numbered,
    split_numbers,
    wrong,
)

if TYPE_CHECKING:
    import pyarrow as pa

LABELS = ("label", "labels", "class", "y")
NUMBERED = re.compile(r"(.*?)(\d+)")
PART = re.compile(r"([a-z]+)([-._].*)?\.parquet")  # train.parquet, train-00000-of-00002.parquet


@dataclass(frozen=True)
class _Columns:
    """Which columns hold what; ``features`` is one column of lists or d numbered ones."""

    features: list[str]
    label: str
    split: str | None
    is_list: bool


def open_parquet(path: Path) -> Table:
    """Open a file or folder; features are read in batches, one row group after the other."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = _files(path)
    _rehearse(files)
    try:
        opened = [pq.ParquetFile(file) for file in files]
        schema = opened[0].schema_arrow
        columns = _columns(path, schema)
        small = [columns.label, *([columns.split] if columns.split else [])]
        for file, part in zip(files, opened, strict=True):
            if not part.schema_arrow.equals(schema):
                raise wrong(file, "columns", f"those of {files[0].name}", "others")
        tables = [part.read(columns=small) for part in opened]
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, error) from None
    starts = np.cumsum([0, *(table.num_rows for table in tables)])
    where = _where(files, starts)
    if not starts[-1]:
        raise wrong(path, "rows", "at least one", 0)
    labels = [value for table in tables for value in _values(path, table, columns.label, where)]
    kind = schema.field(columns.label).type
    if not pa.types.is_integer(kind):
        labels = [label_text(value) for value in labels]
    numbers, names, notes = numbered(path, labels, _class_names(schema, columns.label), where)
    splits = None
    if columns.split:
        texts = [str(v) for table in tables for v in _values(path, table, columns.split, where)]
        splits = split_numbers(path, texts, where)
    elif len(files) > 1 or _split_of(files[0]):
        counts = [table.num_rows for table in tables]
        splits = np.repeat(np.array([USUAL[_split_of(f) or ""] for f in files], np.int8), counts)

    def blocks() -> Iterator[Array]:
        start = 0
        for part in opened:
            try:
                for batch in part.iter_batches(ROWS, columns=columns.features):
                    yield _block(path, batch, columns, dim, start, where)
                    start += len(batch)
            except (OSError, pa.ArrowException) as error:
                raise _unreadable(path, error) from None

    dim = len(columns.features)
    if columns.is_list:
        first = next(opened[0].iter_batches(1, columns=columns.features))
        dim = len(first.column(0)[0].as_py() or ())
        if not dim:
            raise wrong(path, f"{columns.features[0]}: {where(0)}", "a list of numbers", "none")
    own = schema.field(columns.features[0]).type
    value = str(own.value_type if columns.is_list else own)
    told = {"halffloat": "float16", "float": "float32", "double": "float64"}.get(value, value)
    more = float_type(path, columns.features[0], told)
    notes = (*more, *_other_labels(path, schema, columns.label), *notes)
    return Table(dim, numbers, splits, names, blocks, where, notes)


def _rehearse(files: Sequence[Path]) -> None:
    """Read files to their ends in a child, so that none crashes this process."""
    for file in files:
        try:
            with file.open("rb") as handle:
                call(f"{__name__}:rehearse", handle)
        except (OSError, ParserFailed) as error:
            raise _unreadable(file, error) from None


def rehearse(handle: BinaryIO) -> None:
    """Read a file to its end; for `autods.core.limited`."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(handle)
    list(file.schema_arrow)
    for _ in file.iter_batches(ROWS, use_threads=False):
        pass


def _columns(path: Path, schema: pa.Schema) -> _Columns:
    import pyarrow as pa

    def is_list(kind: pa.DataType) -> bool:
        types = (pa.ListType, pa.FixedSizeListType, pa.LargeListType)
        return isinstance(kind, types) and bool(pa.types.is_floating(kind.value_type))

    lists = [field.name for field in schema if is_list(field.type)]
    label = next((name for name in LABELS if name in schema.names), None)
    if label is None:
        known = " or ".join(f"'{name}'" for name in LABELS)
        raise wrong(path, "columns", f"a column {known}", _named(schema))
    if pa.types.is_nested(schema.field(label).type):
        raise wrong(path, label, "texts or whole numbers", schema.field(label).type)
    split = "split" if "split" in schema.names else None
    if "features" in lists or len(lists) == 1:
        return _Columns(["features"] if "features" in lists else lists, label, split, True)
    if lists:
        expected = "one column of lists, or one called 'features'"
        raise wrong(path, "columns", expected, ", ".join(lists))
    found: dict[str, dict[int, str]] = {}
    for field in schema:
        match = NUMBERED.fullmatch(field.name)
        if match and pa.types.is_floating(field.type):
            first = found.setdefault(match[1], {}).setdefault(int(match[2]), field.name)
            if first != field.name:
                raise wrong(path, "columns", f"each number once, as '{first}'", f"'{field.name}'")
    if len(found) != 1:
        expected = "features: one column of lists of floats, or numbered columns f0, f1 ..."
        raise wrong(path, "columns", expected, _named(schema))
    ((prefix, names),) = found.items()
    numbers = sorted(names)
    for wanted, number in enumerate(numbers, start=numbers[0]):
        if number != wanted:
            expected = f"'{prefix}{wanted}' after '{prefix}{wanted - 1}'"
            raise wrong(path, "columns", expected, f"'{names[number]}'")
    if len({schema.field(name).type for name in names.values()}) > 1:
        raise wrong(path, "columns", f"one type of all '{prefix}' columns", "several")
    return _Columns([names[number] for number in numbers], label, split, False)


def _named(schema: pa.Schema, most: int = 8) -> str:
    """Return the names of columns for a message: first those that are not one of many numbers."""
    names = sorted(schema.names, key=lambda name: NUMBERED.fullmatch(name) is not None)
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def _other_labels(path: Path, schema: pa.Schema, label: str) -> list[str]:
    """Return a note if further columns could be the labels."""
    others = ", ".join(f"'{name}'" for name in LABELS if name in schema.names and name != label)
    return [f"{path.name}: labels are those of column '{label}', not of {others}."] * bool(others)


def _values(path: Path, table: pa.Table, name: str, where: Callable[[int], str]) -> list[Any]:
    column = table[name]
    values: list[Any] = column.to_pylist()
    if column.null_count:
        raise wrong(path, f"{name}: {where(values.index(None))}", "a value", "null")
    return values


def _block(
    path: Path,
    batch: pa.RecordBatch,
    columns: _Columns,
    dim: int,
    start: int,
    where: Callable[[int], str],
) -> Array:
    """Return the features of a batch from row ``start`` on, [m, dim]."""
    for name in columns.features:
        if batch.column(name).null_count:
            row = start + batch.column(name).is_null().to_pylist().index(True)
            raise wrong(path, f"{name}: {where(row)}", "features", "null")
    if not columns.is_list:
        arrays = [batch.column(name).to_numpy(zero_copy_only=False) for name in columns.features]
        return np.stack(arrays, axis=1)
    column = batch.column(0)
    lengths = np.asarray(column.value_lengths())
    if len(strange := np.flatnonzero(lengths != dim)):
        row = int(strange[0])
        got = int(lengths[row])
        raise wrong(path, where(start + row), f"{dim} numbers as in the first row", got)
    values: Array = column.flatten().to_numpy(zero_copy_only=False)
    return values.reshape(len(batch), dim)


def _class_names(schema: pa.Schema, label: str) -> list[str] | None:
    """Return the names that `datasets` leaves in the metadata of a schema, if any."""
    try:
        stored = parse_json((schema.metadata or {})[b"huggingface"])
        names = stored["info"]["features"][label]["names"]
    except (KeyError, ValueError, TypeError):
        return None
    is_named = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return list(names) if is_named else None


def _split_of(file: Path) -> str | None:
    match = PART.fullmatch(file.name.lower())
    return match[1] if match and match[1] in USUAL else None


def _where(files: Sequence[Path], starts: Array) -> Callable[[int], str]:
    def where(row: int) -> str:
        if len(files) == 1:
            return f"row {row}"
        number = int(np.searchsorted(starts, row, side="right")) - 1
        return f"{files[number].name}: row {row - int(starts[number])}"

    return where


def _unreadable(path: Path, error: Exception) -> ContainerError:
    cause = " ".join(str(error).split())[:200]
    return ContainerError(f"{path}: cannot be read as Parquet: {cause}; it was not imported.")


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(file for file in path.glob("*.parquet") if _split_of(file))


def _matches(path: Path) -> bool:
    return path.suffix == ".parquet" if path.is_file() else bool(_files(path))


READER = Reader(_matches, _files, open_parquet)
