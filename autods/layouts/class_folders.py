"""Class folders: labels, and often splits, are parts of each image's path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from sys import intern
from typing import Literal

from pydantic import Field, model_validator

from autods.containers import Container
from autods.errors import LayoutError
from autods.layouts.base import Layout, RawSample, Shared, is_image
from autods.layouts.patterns import check_fields, compile_pattern, fields, fill


class PathLabels(Layout):
    """What families have in common that read everything from paths.

    Attributes
    ----------
    in_files
        Manifest files that hold the images (``files`` in YAML).
    pattern
        Path pattern, for example ``"{split}/{class}/*"`` (see `autods.layouts.patterns`).
        Images that do not match are not part of the dataset.
    labels
        Task name to template of its label key, for example ``"{alphabet}/{character}"``.
    split
        Template of the official split name; ``None``: no official split.
    exclude
        Patterns of paths to leave out although they match.
    suffixes
        File name endings to keep, in any case; ``None``: those of images.
    """

    in_files: list[str] = Field(alias="files", min_length=1)
    pattern: str
    labels: dict[str, str] = Field(min_length=1)
    split: str | None = None
    exclude: list[str] = Field(default_factory=list)
    suffixes: list[str] | None = None

    @model_validator(mode="after")
    def _fields_are_taken(self) -> PathLabels:
        for pattern in [self.pattern, *self.exclude]:
            compile_pattern(pattern)
        known = fields(self.pattern)
        for task, template in self.labels.items():
            check_fields(f"labels: {task}", template, known)
        check_fields("split", self.split or "", known)
        return self

    def files(self) -> list[str]:
        """Return the manifest files that this layout reads."""
        return list(self.in_files)

    def labelled(self) -> list[str]:
        """Return the tasks that this layout gives labels of."""
        return list(self.labels)

    def read(self, containers: Mapping[str, Container]) -> Iterator[RawSample]:
        """Yield every image whose path matches."""
        pattern = compile_pattern(self.pattern)
        shared = Shared()
        unwanted = [compile_pattern(text) for text in self.exclude]
        for file in self.in_files:
            names = [member.name for member in containers[file].members()]
            matched = 0
            for name in names:
                found = pattern.fullmatch(name)
                if not found or not self._kept(name) or any(p.fullmatch(name) for p in unwanted):
                    continue
                matched += 1
                values = found.groupdict()
                labels = shared({task: fill(text, values) for task, text in self.labels.items()})
                split = None if self.split is None else intern(fill(self.split, values))
                yield RawSample(file, name, labels, split)
            if not matched:
                near = f"such as '{names[len(names) // 2]}'" if names else "the file is empty"
                raise LayoutError(
                    f"{file}: expected images that match '{self.pattern}', got none among "
                    f"{len(names)} members, {near}; nothing was indexed. Correct "
                    "'pattern' in the manifest."
                )

    def _kept(self, name: str) -> bool:
        if self.suffixes is None:
            return is_image(name)
        return name.lower().endswith(tuple(suffix.lower() for suffix in self.suffixes))


class ClassFolders(PathLabels):
    """Images in folders, in one or more containers."""

    family: Literal["class-folders"]
