"""Encoded images in a column of a Parquet file, row by row; `arrays` puts them into a tar."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from autods.containers.array_specs import ParquetImages
from autods.core.image_signs import image_suffix
from autods.core.limited import ParserFailed, stream
from autods.errors import FETCH_AGAIN, LayoutError

if TYPE_CHECKING:
    from autods.containers.container import Container

BATCH = 64  # images in memory at once


def encoded_images(spec: ParquetImages, container: Container) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of the image of each row.

    `LayoutError` names file and row.
    """
    with container.open(spec.file) as handle:
        try:
            yield from stream(f"{__name__}:rows", handle, spec)
        except ParserFailed as error:
            raise LayoutError.at(spec.shown, "a Parquet file", error, step=FETCH_AGAIN) from None


def rows(handle: BinaryIO, spec: ParquetImages) -> Iterator[tuple[str, bytes]]:
    """Yield what `encoded_images` does; for `autods.core.limited`."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(handle)
    _check(spec, file.schema_arrow)
    row = 0
    for batch in file.iter_batches(BATCH, columns=[spec.column], use_threads=False):
        for value in batch.column(0).to_pylist():
            data = value.get("bytes") if isinstance(value, dict) else value
            if not data:
                where, expected = f"{spec.shown}: row {row}", "the bytes of an image"
                raise LayoutError.at(where, expected, "none", "image")
            yield f"{spec.file}/{row:07d}.{image_suffix(data) or 'img'}", data
            row += 1


def column_values(handle: BinaryIO, column: str, shown: str) -> list[Any]:
    """Return the values of one column of a Parquet file; for `autods.core.limited`."""
    import pyarrow.parquet as pq

    opened = pq.ParquetFile(handle)
    if column not in opened.schema_arrow.names:
        got = ", ".join(opened.schema_arrow.names)
        raise LayoutError.at(shown, f"a column '{column}'", got, "labels")
    values: list[Any] = opened.read(columns=[column], use_threads=False).column(0).to_pylist()
    return values


def _check(spec: ParquetImages, schema: Any) -> None:
    if spec.column not in schema.names:
        got = ", ".join(schema.names)
        raise LayoutError.at(spec.shown, f"a column '{spec.column}'", got, "image")
    kind = schema.field(spec.column).type
    if not holds_bytes(kind):
        where, expected = f"{spec.shown}: {spec.column}", "bytes, or a struct with 'bytes'"
        raise LayoutError.at(where, expected, kind, "image")


def holds_bytes(kind: Any) -> bool:
    """Tell whether a column of this Arrow type can hold encoded images."""
    import pyarrow as pa

    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
