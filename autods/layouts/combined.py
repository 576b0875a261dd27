"""Combined: a dataset whose parts are laid out differently, for example per split."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Literal, TypeVar

from pydantic import Field
from typing_extensions import override

from autods.containers import Container
from autods.containers.array_specs import ImageSource
from autods.containers.base import Why
from autods.layouts.arrays import Arrays
from autods.layouts.base import Layout, RawSample
from autods.layouts.class_folders import ClassFolders
from autods.layouts.csv_table import CsvTable
from autods.layouts.list_files import ListFiles
from autods.layouts.nested_archives import NestedArchives
from autods.layouts.numbered import Numbered
from autods.layouts.parquet_table import ParquetTable

T = TypeVar("T")

Simple = Arrays | ClassFolders | CsvTable | ListFiles | NestedArchives | Numbered | ParquetTable
Part = Annotated[Simple, Field(discriminator="family")]


class Combined(Layout):
    """Samples of all ``parts``; each part is a layout of another family."""

    family: Literal["combined"]
    parts: list[Part] = Field(min_length=1)

    @override
    def files(self) -> list[str]:
        return list(dict.fromkeys(name for part in self.parts for name in part.files()))

    @override
    def labelled(self) -> list[str]:
        return list(dict.fromkeys(task for part in self.parts for task in part.labelled()))

    @override
    def nested_files(self) -> dict[str, list[str]]:
        return _merged(part.nested_files() for part in self.parts)

    @override
    def arrays(self) -> dict[str, list[ImageSource]]:
        return _merged(part.arrays() for part in self.parts)

    @override
    def judge(self, file: str) -> Callable[[str], Why]:
        judges = [part.judge(file) for part in self.parts if file in part.files()]
        order = (Why.LEFT_OUT, Why.UNMATCHED, Why.UNSUPPORTED)  # the first that a part says
        return lambda name: min((judge(name) for judge in judges), key=order.index)

    def read(self, containers: Mapping[str, Container]) -> Iterator[RawSample]:
        """Yield the samples of one part after the other."""
        for part in self.parts:
            yield from part.read(containers)


def _merged(by_part: Iterable[Mapping[str, Sequence[T]]]) -> dict[str, list[T]]:
    merged: dict[str, list[T]] = {}
    for by_file in by_part:
        for file, values in by_file.items():
            merged.setdefault(file, []).extend(v for v in values if v not in merged[file])
    return merged
