"""Typed manifests of datasets: each is one YAML file checked against `Manifest`.

Unknown keys are refused; unknown facts are ``null``, never a guess.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal
from unicodedata import normalize

from pydantic import BaseModel, Field, field_validator, model_validator

from autods.containers.array_specs import ArrayFormat
from autods.core.patterns import Pattern
from autods.core.registry import unknown
from autods.core.splits import SPLITS
from autods.core.strict import Strict, repeated
from autods.layouts import AnyLayout
from autods.manifest.sources import Acceptance, FileEntry, Mirror, Release
from autods.manifest.stream import Protocol, StreamItem, StreamSpec

__all__ = [
    "PROTOCOLS",
    "Acceptance",
    "ClassTable",
    "Expected",
    "FileEntry",
    "Manifest",
    "Mirror",
    "Protocol",
    "SplitRule",
    "StreamItem",
    "StreamSpec",
    "TaskSpec",
]

NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
TASK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_. -]*(?<! )")  # becomes the name of columns and arrays
PROTOCOLS = ("clean", "paper")


class ClassTable(Strict):
    """A table inside the archive that maps a layout's label keys to class names.

    Without ``variable`` it is a text table, whose rows give the order of the classes, unless
    all keys are whole numbers, which do so then. With it, it is a list of names in a MATLAB
    or pickle file, whose positions from ``first`` on are the keys.
    """

    file: str  # the manifest file that holds the table
    member: str | None = None  # its path inside that container; None: the file is the table
    delimiter: str | None = ","  # None: white space, the last needed column takes the rest
    header: bool = False
    key: int = 0  # column of the key
    name: int = 1  # column of the class name
    take: str | None = None  # pattern with a field {name} that takes the class name from its cell
    key_offset: int = 0  # added to a key that is a number
    variable: str | None = None
    format: ArrayFormat | None = None  # None: by the suffix
    first: int = 0

    @field_validator("take")
    @classmethod
    def _takes_a_name(cls, value: str | None) -> str | None:
        if value is not None and Pattern(value).fields != {"name"}:
            raise ValueError("expected a pattern with the one field '{name}'")
        return value


class TaskSpec(Strict):
    """One labelling of a dataset.

    ``classes`` is the ordered list of class names, or a table in the archive, or ``null``: the
    names found in the archive over all splits, sorted (as numbers, if all are whole numbers).
    ``keys`` says what the layout's labels are: ``name``, class names or keys of the table;
    ``index``, positions in ``classes``; or a mapping from each label to its class name, which
    gives the order too if ``classes`` is ``null``. ``readable`` says how classes read in a
    sentence whose published names are numbers, codes or misspelt; it changes no index.
    """

    classes: list[str] | ClassTable | None = None
    keys: Literal["name", "index"] | dict[str, str] = "name"
    readable: dict[str, Annotated[str, Field(min_length=1)]] = Field(default={})

    @model_validator(mode="after")
    def _keys_fit_classes(self) -> TaskSpec:
        if self.keys == "index" and not isinstance(self.classes, list):
            raise ValueError("keys 'index' expects a list of class names in 'classes'")
        if isinstance(self.keys, dict):
            if isinstance(self.classes, ClassTable):
                raise ValueError("keys: a mapping expects a list of names in 'classes', or null")
            for key, name in self.keys.items():
                if self.classes is not None and name not in self.classes:
                    raise ValueError(f"keys: {key}: {unknown('class', name, self.classes)}")
        return self

    @model_validator(mode="after")
    def _readable_are_classes(self) -> TaskSpec:
        if (known := self.names()) is not None:
            for name in self.readable:
                if name not in known:
                    raise ValueError(f"readable: {unknown('class', name, known)}")
        return self

    @field_validator("classes")
    @classmethod
    def _different_names(
        cls, value: list[str] | ClassTable | None
    ) -> list[str] | ClassTable | None:
        if isinstance(value, list):
            # indexing compares names in this form
            if again := repeated(normalize("NFC", name) for name in value):
                raise ValueError(f"expected each class once, got '{again}' twice")
            if not all(name.strip() for name in value):
                raise ValueError("expected a name of each class, got an empty one")
        return value

    def names(self) -> list[str] | None:
        """Return the class names in order, ``None`` if only the archive has them."""
        if isinstance(self.classes, list):
            return list(self.classes)
        return list(dict.fromkeys(self.keys.values())) if isinstance(self.keys, dict) else None


class SplitRule(Strict):
    """How one protocol divides a dataset into train, dev and test.

    ``official`` maps the split names that the layout yields; ``random`` draws a
    stratified test set. ``dev_fraction`` of train is held out, stratified, unless
    ``dev`` names official splits. Everything random is seeded by ``seed``. With
    ``grouped`` the images of a group (see the layout) stay together: draws take whole
    groups, and images of train and dev whose group is also in test are left out.
    """

    rule: Literal["official", "random"]
    train: list[str] = Field(default=["train"])
    dev: list[str] = Field(default=[])
    test: list[str] = Field(default=["test"])
    test_fraction: Annotated[float, Field(gt=0, lt=1)] | None = None
    dev_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1
    seed: int = 0
    grouped: bool = False

    @model_validator(mode="after")
    def _random_needs_fraction(self) -> SplitRule:
        if (self.rule == "random") != (self.test_fraction is not None):
            raise ValueError("'test_fraction' is expected with rule 'random', and only there")
        return self

    @model_validator(mode="after")
    def _one_split_per_name(self) -> SplitRule:
        of: dict[str, str] = {}
        for split in SPLITS:
            for name in getattr(self, split) if self.rule == "official" else []:
                if of.setdefault(name, split) != split:
                    raise ValueError(f"official split '{name}' is given to {of[name]} and {split}")
        return self


class Expected(Strict):
    """Counts of the default task's images as published, where known, and who says so."""

    classes: int | None = None
    total: int | None = None  # images that protocol clean divides, without second copies
    train: int | None = None  # of protocol clean; with dev
    test: int | None = None  # of protocol clean
    # train and validation in the published run, see protocol paper
    published_train: int | None = None
    published_test: int | None = None
    per_class: dict[str, int] = Field(default={})  # class to its number of images in all splits
    source: str | None = None

    @property
    def images(self) -> int | None:
        """The number of images: as clean divides them, else as published; ``None``: unknown."""
        pairs = [(self.train, self.test), (self.published_train, self.published_test)]
        if self.total is not None:
            return self.total
        return next((a + b for a, b in pairs if a is not None and b is not None), None)


class Manifest(Release):
    """One dataset: where it comes from, how it is laid out, labelled and split."""

    layout: AnyLayout
    tasks: dict[str, TaskSpec] = Field(min_length=1)
    default_task: str
    splits: dict[Protocol, SplitRule]
    expected: Expected = Expected()
    quirks: list[str] = Field(default=[])
    # Whether its licence lets features made of the images be given on; None: it does not say.
    share_features: bool | None = None

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not NAME.fullmatch(value):
            raise ValueError("expected lower-case letters, digits, '_' and '-'")
        return value

    @field_validator("tasks")
    @classmethod
    def _plain_tasks(cls, value: dict[str, TaskSpec]) -> dict[str, TaskSpec]:
        for task in value:
            if not TASK.fullmatch(task):
                raise ValueError(
                    f"expected a task name of letters, digits, '_', '-', '.' and blanks between "
                    f"them, got '{task}'"
                )
        return value

    @field_validator("files")
    @classmethod
    def _different_files(cls, value: Sequence[FileEntry]) -> Sequence[FileEntry]:
        names = {Path(entry.name): entry.name for entry in value}
        if again := repeated(Path(entry.name) for entry in value):
            raise ValueError(f"expected each file once, got '{names[again]}' again")
        return value

    @model_validator(mode="after")
    def _tasks_are_labelled(self) -> Manifest:
        labelled = self.layout.labelled()
        for task in labelled:
            if task not in self.tasks:
                raise ValueError(f"layout: labels: {unknown('task', task, self.tasks)}")
        for task in self.tasks:
            if task not in labelled:
                given = ", ".join(labelled)
                raise ValueError(f"task '{task}' gets no labels: the layout gives those of {given}")
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        if self.default_task not in self.tasks:
            raise ValueError(f"default_task '{self.default_task}' is not among tasks")
        if "clean" not in self.splits:
            raise ValueError("splits: protocol 'clean' is required")
        names = [entry.name for entry in self.files]
        tables = [t.classes.file for t in self.tasks.values() if isinstance(t.classes, ClassTable)]
        for name in [*self.layout.files(), *tables]:
            if name not in names:
                raise ValueError(f"'{name}' is not among files: {', '.join(names)}")
        return self

    def fingerprint(self) -> str:
        """Return the sha256 of what determines index and features (not of mirrors or texts)."""
        # Defaults are left out, so that a new optional field does not change old fingerprints.
        core = {
            "name": self.name,
            "files": {entry.name: entry.checksum for entry in self.files},
            "layout": _stated(self.layout),
            "tasks": {name: _stated(task, {"readable"}) for name, task in self.tasks.items()},
            "default_task": self.default_task,
            "splits": {name: _stated(rule) for name, rule in self.splits.items()},
        }
        return hashlib.sha256(json.dumps(core, sort_keys=True).encode()).hexdigest()


def _stated(part: BaseModel, without: set[str] | None = None) -> dict[str, Any]:
    return part.model_dump(mode="json", exclude_defaults=True, exclude=without)
