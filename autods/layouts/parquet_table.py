"""Parquet: tables of encoded images and their labels, the most common format of the Hub."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import override

from autods.containers import Container
from autods.containers.array_specs import ParquetImages
from autods.containers.base import Why
from autods.core.label_texts import label_text
from autods.core.limited import ParserFailed, call
from autods.core.strict import Strict, repeated
from autods.errors import FETCH_AGAIN, LayoutError
from autods.layouts.base import Layout, RawSample, Shared


class ParquetPart(Strict):
    """One Parquet file of the dataset."""

    file: str
    split: str | None = None  # official split of all of its rows


class ParquetTable(Layout):
    """Images in a column of Parquet files, each a sample ``<file>/<7-digit row>.jpg``.

    The label key is the label as text, of a whole number without a fraction. Rows without a
    label, or with -1, are no samples.
    """

    family: Literal["parquet"]
    parts: list[ParquetPart] = Field(min_length=1)
    image: str = "image"  # of bytes, or of structs with `bytes` as `datasets` writes them
    labels: dict[str, str] = Field(min_length=1)  # task to the column of its labels

    @model_validator(mode="after")
    def _files_differ(self) -> ParquetTable:
        if again := repeated(part.file for part in self.parts):
            raise ValueError(f"parts: expected each file once, got '{again}' again")
        return self

    @override
    def files(self) -> list[str]:
        return [part.file for part in self.parts]

    @override
    def labelled(self) -> list[str]:
        return list(self.labels)

    @override
    def arrays(self) -> dict[str, list[ParquetImages]]:
        return {
            part.file: [ParquetImages(file=part.file, column=self.image)] for part in self.parts
        }

    @override
    def judge(self, file: str) -> Callable[[str], Why]:
        return lambda name: Why.LEFT_OUT  # a row without a label

    def read(self, containers: Mapping[str, Container]) -> Iterator[RawSample]:
        """Yield every row that has a label."""
        shared = Shared(self.labels)
        for part in self.parts:
            container = containers[part.file]
            inside = f"{part.file}/"
            names = [m.name for m in container.members() if m.name.startswith(inside)]
            columns = [self._keys(part.file, container, column) for column in self.labels.values()]
            for name, *keys in zip(names, *columns, strict=True):
                if all(key not in ("", "-1") for key in keys):
                    yield RawSample(part.file, name, shared(keys), part.split)

    def _keys(self, file: str, container: Container, column: str) -> list[str]:
        """Return the labels of a file's rows as text, ``""`` if a row has none."""
        with container.open(file) as handle:
            try:
                values = call("autods.containers.parquets:column_values", handle, column, file)
            except ParserFailed as error:
                raise LayoutError.at(file, "a Parquet file", error, step=FETCH_AGAIN) from None
        return [label_text(value) for value in values]
