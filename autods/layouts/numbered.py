"""Numbered: flat files whose number gives the label, and lists of numbers the splits.

Oxford Flowers-17 needs it: neither a folder nor a list holds its labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import Field, field_validator
from typing_extensions import override

from autods.containers import Container
from autods.containers.array_specs import DatasetFile
from autods.core.patterns import Pattern
from autods.errors import LayoutError
from autods.layouts.base import Layout, RawSample, is_image
from autods.layouts.tables import TextFile, rows


class MatSplits(DatasetFile):
    """Official splits as numbers of images in the variables of a MATLAB file.

    ``variables`` maps each official split to the variables that hold its numbers.
    """

    variables: dict[str, list[str]] = Field(min_length=1)

    def read(self, container: Container) -> Iterator[tuple[str, int]]:
        """Yield (split, number); raise `LayoutError` if the file is not as described."""
        import numpy as np

        from autods.containers.array_files import load

        for split, variables in self.variables.items():
            for variable in variables:
                with container.open(self.name) as handle:
                    numbers = load(handle, "mat", variable, self.shown)
                yield from ((split, int(number)) for number in np.ravel(numbers))


class Numbered(Layout):
    """Images named by numbers, ``per_class`` consecutive ones for each class.

    The label is the position ``(number - first) // per_class`` as text.
    """

    family: Literal["numbered"]
    file: str  # manifest file that holds the images
    pattern: str  # with the field {number}, for example "jpg/image_{number}.jpg"
    tasks: list[str] = Field(min_length=1)  # those that get the label
    per_class: int = Field(ge=1)
    first: int = 1  # number of the first image
    splits: MatSplits | None = None
    # official split to the numbers of its images, one per line
    split_lists: dict[str, TextFile] = Field(default_factory=dict)

    @field_validator("pattern")
    @classmethod
    def _has_a_number(cls, value: str) -> str:
        if Pattern(value).fields != {"number"}:
            raise ValueError("expected a pattern with the one field '{number}'")
        return value

    @override
    def labelled(self) -> list[str]:
        return list(self.tasks)

    @override
    def files(self) -> list[str]:
        names = [self.splits.file] if self.splits else []
        names += [table.file for table in self.split_lists.values()]
        return list(dict.fromkeys([self.file, *names]))

    def read(self, containers: Mapping[str, Container]) -> Iterator[RawSample]:
        """Yield every image whose path matches, with its official split if it has one."""
        images = self._images(containers[self.file])
        splits: dict[int, str] = {}
        for split, number in self._numbers(containers):
            if number not in images:
                expected = f"image number {number} of official split '{split}'"
                got = f"no file that matches '{self.pattern}' with it"
                raise LayoutError.at(self.file, expected, got, "pattern")
            if splits.setdefault(number, split) != split:
                where, got = f"{self.file}: {images[number]}", f"'{splits[number]}' and '{split}'"
                raise LayoutError.at(where, "one official split", got, "splits")
        for number, member in images.items():
            label = str((number - self.first) // self.per_class)
            labels = dict.fromkeys(self.tasks, label)
            yield RawSample(self.file, member, labels, splits.get(number))

    def _numbers(self, containers: Mapping[str, Container]) -> Iterator[tuple[str, int]]:
        if self.splits:
            yield from self.splits.read(containers[self.splits.file])
        for split, table in self.split_lists.items():
            for row in rows(table, containers[table.file], None, 1):
                if not row.cells[0].isdecimal():
                    where, got = table.at(row.line), f"'{row.cells[0]}'"
                    raise LayoutError.at(where, "the number of an image", got, "split_lists")
                yield split, int(row.cells[0])

    def _images(self, container: Container) -> dict[int, str]:
        pattern = Pattern(self.pattern)
        images: dict[int, str] = {}
        for name in (member.name for member in container.members()):
            found = pattern.match(name)
            if found is None or not is_image(name):
                continue
            if not found["number"].isdecimal() or int(found["number"]) < self.first:
                expected, got = f"a number from {self.first} on", f"'{found['number']}'"
                raise LayoutError.at(f"{self.file}: {name}", expected, got, "pattern")
            if images.setdefault(int(found["number"]), name) != name:
                got = f"it again after '{images[int(found['number'])]}'"
                raise LayoutError.at(f"{self.file}: {name}", "each number once", got, "pattern")
        if not images:
            expected = f"images that match '{self.pattern}'"
            got = f"none among {len(container.members())} members"
            raise LayoutError.at(self.file, expected, got, "pattern")
        return images
