"""Class folders: an image's path gives its label, and often its split."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from sys import intern
from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import override

from autods.containers import Container
from autods.containers.base import Why
from autods.core.patterns import Pattern, check_fields, filler
from autods.errors import LayoutError
from autods.layouts.base import Layout, RawSample, Shared, is_image
from autods.layouts.tables import TextFile, rows


class SplitNames(TextFile):
    """A list of the images of an official split, one per line."""

    path: str = "{line}"  # template of the image's path inside its container
    split: str


class PathLabels(Layout):
    """Parameters shared by families that read everything from paths.

    Images that do not match ``pattern`` (see `autods.core.patterns`) are not part of the dataset.
    """

    in_files: list[str] = Field(alias="files", min_length=1)  # manifest files that hold the images
    pattern: str  # for example "{split}/{class}/*"
    # task to template of its label key, for example "{alphabet}/{character}"
    labels: dict[str, str] = Field(min_length=1)
    split: str | None = None  # template of the official split; None: no official split
    # of further official splits; they win over `split`
    split_lists: list[SplitNames] = Field(default_factory=list)
    group: str | None = None  # template of what a split must not tear apart
    # patterns of paths to leave out although they match
    exclude: list[str] = Field(default_factory=list)
    suffixes: list[str] | None = None  # endings to keep, in any case; None: those of images

    @model_validator(mode="after")
    def _fields_are_taken(self) -> PathLabels:
        for text in self.exclude:
            Pattern(text)
        known = Pattern(self.pattern).fields
        for task, template in self.labels.items():
            check_fields(f"labels: {task}", template, known)
        check_fields("split", self.split or "", known)
        check_fields("group", self.group or "", known)
        for entry in self.split_lists:
            check_fields("split_lists: path", entry.path, {"line"})
        return self

    @override
    def files(self) -> list[str]:
        return list(dict.fromkeys([*self.in_files, *(entry.file for entry in self.split_lists)]))

    @override
    def labelled(self) -> list[str]:
        return list(self.labels)

    @override
    def judge(self, file: str) -> Callable[[str], Why]:
        unwanted = [Pattern(text) for text in self.exclude]

        def why(name: str) -> Why:
            if any(pattern.match(name) is not None for pattern in unwanted):
                return Why.LEFT_OUT
            if self._kept(name):
                return Why.UNMATCHED
            return Why.LEFT_OUT if is_image(name) else Why.UNSUPPORTED

        return why

    def read(self, containers: Mapping[str, Container]) -> Iterator[RawSample]:
        """Yield every image whose path matches."""
        pattern, shared = Pattern(self.pattern), Shared(self.labels)
        labelled = [filler(text) for text in self.labels.values()]
        official, grouped = filler(self.split or ""), filler(self.group or "")
        unwanted = [Pattern(text) for text in self.exclude]
        listed = self._listed(containers)
        for file in self.in_files:
            names = [member.name for member in containers[file].members()]
            matched = 0
            for name in names:
                values = pattern.match(name) if self._kept(name) else None
                if values is None or any(p.match(name) is not None for p in unwanted):
                    continue
                matched += 1
                labels = shared([label(values) for label in labelled])
                split = None if self.split is None else intern(official(values))
                group = None if self.group is None else grouped(values)
                yield RawSample(file, name, labels, listed.pop(name, split), group)
            if not matched:
                near = f"such as '{names[len(names) // 2]}'" if names else "the file is empty"
                got = f"none among {len(names)} members, {near}"
                raise LayoutError.at(file, f"images that match '{self.pattern}'", got, "pattern")
        if listed:
            got = f"none for {len(listed)}, for example '{next(iter(listed))}'"
            files = ", ".join(entry.shown for entry in self.split_lists)
            raise LayoutError.at(files, "an image for each line", got, "split_lists")

    def _listed(self, containers: Mapping[str, Container]) -> dict[str, str | None]:
        """Return image path to official split; the lists must not contradict each other."""
        splits: dict[str, str | None] = {}
        for entry in self.split_lists:
            path = filler(entry.path)
            for row in rows(entry, containers[entry.file], None, 1):
                split = splits.setdefault(path({"line": row.cells[0]}), entry.split)
                if split != entry.split:
                    expected = f"'{row.cells[0]}' in the list of one split"
                    got = f"'{split}' and '{entry.split}'"
                    raise LayoutError.at(entry.at(row.line), expected, got, "split_lists")
        return splits

    def _kept(self, name: str) -> bool:
        return is_image(name, None if self.suffixes is None else tuple(self.suffixes))


class ClassFolders(PathLabels):
    """Images in folders, in one or more containers."""

    family: Literal["class-folders"]
