"""Samples named by the rows of a table: shared by list files and CSV tables."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from sys import intern

from pydantic import Field, field_validator
from typing_extensions import override

from autods.containers import Container
from autods.containers.base import Why
from autods.core.patterns import (
    FIELD,
    Pattern,
    check_fields,
    compile_pattern,
    compile_template,
    filler,
)
from autods.errors import ContainerError, LayoutError
from autods.layouts.base import Layout, RawSample, Shared
from autods.layouts.joins import Join
from autods.layouts.tables import Row, TextFile


class ListedSamples(Layout):
    """Parameters of every family whose images are named by rows.

    With ``*`` in ``path`` (not in its last part), the image is the one member that matches.
    """

    file: str  # manifest file that holds the images
    path: str  # template of the image's path inside `file`, for example "images/{id}.jpg"
    labels: dict[str, str] = Field(min_length=1)  # task to template of its label key
    group: str | None = None  # template of what a split must not tear apart
    # column to a pattern that takes further fields out of it
    take: dict[str, str] = Field(default_factory=dict)
    join: list[Join] = Field(default_factory=list)  # tables whose columns are added to each row
    # patterns of image paths; their rows are left out
    exclude: list[str] = Field(default_factory=list)
    empty: str | None = None  # label key of rows whose label is empty
    nested: list[str] = Field(default_factory=list)  # patterns of inner archives of `file` to open

    @field_validator("path")
    @classmethod
    def _plain_last_part(cls, value: str) -> str:
        if "*" in _last(value):
            raise ValueError("expected no '*' in the last part of the path")
        compile_template(value)
        return value

    @field_validator("take")
    @classmethod
    def _patterns(cls, value: dict[str, str]) -> dict[str, str]:
        for pattern in value.values():
            Pattern(pattern)
        return value

    @override
    def files(self) -> list[str]:
        return list(dict.fromkeys([self.file, *(table.file for table in self.join)]))

    @override
    def labelled(self) -> list[str]:
        return list(self.labels)

    @override
    def nested_files(self) -> dict[str, list[str]]:
        return {self.file: self.nested} if self.nested else {}

    @override
    def judge(self, file: str) -> Callable[[str], Why]:
        unwanted, usual = [Pattern(text) for text in self.exclude], super().judge(file)

        def why(name: str) -> Why:
            if any(pattern.match(name) is not None for pattern in unwanted):
                return Why.LEFT_OUT
            return usual(name)

        return why

    def samples(
        self,
        containers: Mapping[str, Container],
        table: TextFile,
        columns: list[str],
        rows: Iterable[Row],
        split: str | None,
    ) -> Iterator[RawSample]:
        """Yield a sample for each row of ``table``; its image must be in the container ``file``.

        ``columns`` name the cells, ``split`` is the template of the official split. `LayoutError`
        if a template has an unknown field, an image or a partner in a joined table is missing, or
        there is no row at all.
        """
        add = [self._taker(column, pattern, table) for column, pattern in self.take.items()]
        known = {*columns, *self._taken()}
        add += [joined.reader(containers[joined.file], table, known) for joined in self.join]
        find = self._finder(containers[self.file], table)
        unwanted = [Pattern(text) for text in self.exclude]
        path, labelled = filler(self.path), [filler(text) for text in self.labels.values()]
        official, grouped = filler(split or ""), filler(self.group or "")
        shared, first = Shared(self.labels), True
        for row in rows:
            values = dict(zip(columns, row.cells, strict=True))
            for extend in add:
                extend(row, values)
            if first:
                first = self._checked(values, table, split)
            name = path(values)
            if any(pattern.match(name) is not None for pattern in unwanted):
                continue
            keys = [label(values) for label in labelled]
            if self.empty is not None:
                keys = [key or self.empty for key in keys]
            given = None if split is None else intern(official(values))
            group = None if self.group is None else grouped(values)
            yield RawSample(self.file, find(row, name, values), shared(keys), given, group)
        if first:
            raise LayoutError.at(table.shown, "at least one row", "none")

    def check_templates(self, known: Collection[str], *splits: str | None) -> None:
        """Raise `ValueError` for a template with a field that is not ``known``."""
        check_fields("path", self.path, known)
        check_fields("group", self.group or "", known)
        for task, template in self.labels.items():
            check_fields(f"labels: {task}", template, known)
        for split in splits:
            check_fields("split", split or "", known)

    def known_fields(self, columns: list[str] | None) -> set[str] | None:
        """Return the fields that templates may use, ``None`` if only the tables have them."""
        if columns is None or any(table.columns is None for table in self.join):
            return None
        joined = {name for table in self.join for name in table.columns or []}
        return {*columns, *self._taken(), *joined}

    def _taken(self) -> set[str]:
        return {field for pattern in self.take.values() for field in Pattern(pattern).fields}

    def _checked(self, values: Mapping[str, str], table: TextFile, split: str | None) -> bool:
        """Check the templates by the first row; return that it is no longer the first."""
        try:
            self.check_templates(values, split)
        except ValueError as error:
            raise LayoutError(
                f"{table.shown}: {error}; nothing was indexed. Correct the manifest."
            ) from None
        return False

    def _taker(
        self, column: str, text: str, table: TextFile
    ) -> Callable[[Row, dict[str, str]], None]:
        pattern = Pattern(text)

        def take(row: Row, values: dict[str, str]) -> None:
            taken = pattern.match(values.get(column, ""))
            if taken is None:
                expected, got = f"column '{column}' to match '{text}'", f"'{values.get(column)}'"
                raise LayoutError.at(table.at(row.line), expected, got, "take")
            values.update(taken)

        return take

    def _finder(
        self, container: Container, table: TextFile
    ) -> Callable[[Row, str, Mapping[str, str]], str]:
        """Return a function from a row's path to its member."""
        if "*" not in self.path:

            def exact(row: Row, name: str, values: Mapping[str, str]) -> str:
                try:
                    return container.find(name).name
                except ContainerError:
                    raise self._missing(table, row, name, "no such member") from None

            return exact
        members, stands_for = self._candidates(container), compile_template(self.path)

        def matching(row: Row, name: str, values: Mapping[str, str]) -> str:
            names = [n for n in members.get(_last(name), []) if stands_for(n, values)]
            if len(names) != 1:
                got = " and ".join(names[:2]) or "no such member"
                raise self._missing(table, row, name, got)
            return names[0]

        return matching

    def _candidates(self, container: Container) -> dict[str, list[str]]:
        """Return file name to the members that ``path`` can mean."""
        loose = compile_pattern(FIELD.sub("**", self.path))
        members: dict[str, list[str]] = {}
        for member in container.members():
            if loose.fullmatch(member.name):
                members.setdefault(_last(member.name), []).append(member.name)
        return members

    def _missing(self, table: TextFile, row: Row, name: str, got: str) -> LayoutError:
        return LayoutError.at(table.at(row.line), f"image '{name}' in {self.file}", got, "path")


def _last(path: str) -> str:
    return path.rpartition("/")[2]
