"""Combined: a dataset whose parts are laid out differently, for example per split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import Field

from autods.containers import Container
from autods.layouts.base import Layout, RawSample
from autods.layouts.class_folders import ClassFolders
from autods.layouts.csv_table import CsvTable
from autods.layouts.list_files import ListFiles
from autods.layouts.nested_zips import NestedZips
from autods.layouts.numbered import Numbered

Part = Annotated[
    ClassFolders | CsvTable | ListFiles | NestedZips | Numbered, Field(discriminator="family")
]


class Combined(Layout):
    """Samples of all ``parts``; each part is a layout of another family."""

    family: Literal["combined"]
    parts: list[Part] = Field(min_length=1)

    def files(self) -> list[str]:
        """Return the manifest files that any part reads."""
        return list(dict.fromkeys(name for part in self.parts for name in part.files()))

    def labelled(self) -> list[str]:
        """Return the tasks that this layout gives labels of."""
        return list(dict.fromkeys(task for part in self.parts for task in part.labelled()))

    def nested_files(self) -> list[str]:
        """Return the files whose inner zips any part reads."""
        return list(dict.fromkeys(name for part in self.parts for name in part.nested_files()))

    def read(self, containers: Mapping[str, Container]) -> Iterator[RawSample]:
        """Yield the samples of one part after the other."""
        for part in self.parts:
            yield from part.read(containers)
