"""List files: one list per split, one image per line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import override

from autods.containers import Container
from autods.errors import LayoutError
from autods.layouts.base import RawSample
from autods.layouts.listed import ListedSamples
from autods.layouts.tables import Row, TextFile, rows


class SplitList(TextFile):
    """One list."""

    split: str | None = None  # template of the official split that its images are; None: none
    skip_lines: int = Field(default=0, ge=0)  # rows at the start that are not images
    # struct array of a MATLAB file whose elements are the rows; None: a text
    variable: str | None = None


class ListFiles(ListedSamples):
    """Images named by lists."""

    family: Literal["list-files"]
    lists: list[SplitList] = Field(min_length=1)
    # their names, for use in templates; of a struct, its fields
    columns: list[str] = Field(min_length=1)
    # None: white space, the last column takes the rest of the line
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)

    @model_validator(mode="after")
    def _fields_are_columns(self) -> ListFiles:
        if (known := self.known_fields(self.columns)) is not None:
            self.check_templates(known, *(entry.split for entry in self.lists))
        return self

    @override
    def files(self) -> list[str]:
        return list(dict.fromkeys([*super().files(), *(entry.file for entry in self.lists)]))

    def read(self, containers: Mapping[str, Container]) -> Iterator[RawSample]:
        """Yield every image of every list."""
        for entry in self.lists:
            below = islice(self._rows(entry, containers[entry.file]), entry.skip_lines, None)
            yield from self.samples(containers, entry, self.columns, below, entry.split)

    def _rows(self, entry: SplitList, container: Container) -> Iterator[Row]:
        if entry.variable is None:
            yield from rows(entry, container, self.delimiter, len(self.columns))
            return
        from autods.containers.array_files import read_struct

        for line, record in enumerate(
            read_struct(entry.data(container), entry.shown, entry.variable), start=1
        ):
            if missing := [name for name in self.columns if name not in record]:
                where = f"{entry.shown}: {entry.variable}"
                raise LayoutError.at(where, f"a field '{missing[0]}'", ", ".join(record), "columns")
            yield Row(line, [record[name] for name in self.columns])
