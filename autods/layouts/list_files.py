"""List files: one text list per split, one image per line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import Field, model_validator

from autods.containers import Container
from autods.layouts.base import RawSample
from autods.layouts.listed import ListedSamples
from autods.layouts.patterns import check_fields
from autods.layouts.tables import TextFile, rows


class SplitList(TextFile):
    """One list; ``split`` is a template, or ``None`` without official splits."""

    split: str | None = None


class ListFiles(ListedSamples):
    """Images named by lists.

    Attributes
    ----------
    lists
        The lists, each with the official split it stands for.
    columns
        Names of the columns, for use in ``path`` and ``labels``.
    delimiter
        One character; ``None``: white space, the last column takes the rest of the line.
    skip_lines
        Rows at the start of each list that are not images.
    """

    family: Literal["list-files"]
    lists: list[SplitList] = Field(min_length=1)
    columns: list[str] = Field(min_length=1)
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    skip_lines: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _fields_are_columns(self) -> ListFiles:
        check_fields("path", self.path, self.columns)
        for task, template in self.labels.items():
            check_fields(f"labels: {task}", template, self.columns)
        for entry in self.lists:
            check_fields("split", entry.split or "", self.columns)
        return self

    def files(self) -> list[str]:
        """Return the manifest files that this layout reads."""
        return list(dict.fromkeys([self.file, *(entry.file for entry in self.lists)]))

    def read(self, containers: Mapping[str, Container]) -> Iterator[RawSample]:
        """Yield every image of every list."""
        for entry in self.lists:
            found = rows(entry, containers[entry.file], self.delimiter, len(self.columns))
            for _ in range(self.skip_lines):
                next(found, None)
            yield from self.samples(containers[self.file], entry, self.columns, found, entry.split)
