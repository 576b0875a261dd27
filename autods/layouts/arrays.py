"""Arrays: images and labels in the arrays of MATLAB, HDF5, NumPy, idx or pickle files."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import override

from autods.containers import Container
from autods.containers.array_specs import ArrayFile, ArrayImages
from autods.core.strict import Strict, repeated
from autods.errors import LayoutError
from autods.layouts.base import Layout, RawSample, Shared


class ArrayPart(Strict):
    """One array of images with its labels."""

    # each is a sample <file>/<array file>/<7-digit index>.ppm, .pgm without channels
    images: ArrayImages
    # task to the array or list with a label for each image; the label key is the number as text
    labels: dict[str, ArrayFile] = Field(min_length=1)
    split: str | None = None  # official split of all of them


class Arrays(Layout):
    """Images that are elements of arrays, not files of their own."""

    family: Literal["arrays"]
    parts: list[ArrayPart] = Field(min_length=1)

    @model_validator(mode="after")
    def _paths_differ(self) -> Arrays:
        if again := repeated(part.images.shown for part in self.parts):
            raise ValueError(f"parts: expected each file with images once, got '{again}' again")
        return self

    @override
    def files(self) -> list[str]:
        refs = [ref for part in self.parts for ref in (part.images, *part.labels.values())]
        return list(dict.fromkeys(ref.file for ref in refs))

    @override
    def labelled(self) -> list[str]:
        return list(dict.fromkeys(task for part in self.parts for task in part.labels))

    @override
    def arrays(self) -> dict[str, list[ArrayImages]]:
        by_file: dict[str, list[ArrayImages]] = {}
        for part in self.parts:
            by_file.setdefault(part.images.file, []).append(part.images)
        return by_file

    def read(self, containers: Mapping[str, Container]) -> Iterator[RawSample]:
        """Yield every image of every part with its labels."""
        names: dict[str, list[str]] = {}  # listed once for all parts of a file
        for part in self.parts:
            file = part.images.file
            if file not in names:
                names[file] = [member.name for member in containers[file].members()]
            yield from _samples(part, containers, _below(part.images.name, names[file]))


def _samples(
    part: ArrayPart, containers: Mapping[str, Container], images: list[str]
) -> Iterator[RawSample]:
    from autods.containers.array_files import read_labels

    labels = []
    for task, source in part.labels.items():
        labels.append(read_labels(source, containers[source.file]))
        if len(labels[-1]) != len(images):
            raise LayoutError.at(
                f"{part.images.shown}: task '{task}'",
                f"a label for each of the {len(images)} images",
                f"{len(labels[-1])} in {source.shown}",
                step="Correct 'images' or 'labels' in the manifest.",
            )
    shared = Shared(part.labels)
    for name, *keys in zip(images, *labels, strict=True):
        yield RawSample(part.images.file, name, shared(keys), part.split)


def _below(folder: str, names: list[str]) -> list[str]:
    """Return the sorted names that begin with ``folder/``."""
    return names[bisect_left(names, folder + "/") : bisect_left(names, folder + "0")]  # 0 follows /
