"""Typed manifests of datasets and streams.

A dataset is data: one YAML file checked against `Manifest`. How its archives are
read is code, one layout family per file in `autods.layouts`. Unknown keys are
refused; unknown facts are ``null``, never a guess. Where the files are found and how
their errors are told is `autods.catalogue`'s.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from autods.errors import UnsafePath
from autods.layouts import AnyLayout
from autods.names import unknown
from autods.root import inside

CHECKSUM = re.compile(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}|git:[0-9a-f]{40}|tree:[0-9a-f]{64}")
NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
TASK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")  # becomes the name of columns and arrays
PROTOCOLS = ("clean", "paper")

T = TypeVar("T")
Protocol = Literal["clean", "paper"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Mirror(_Strict):
    """One place a file can be fetched from. Mirrors are tried in order."""

    kind: Literal["http", "ftp", "git", "file"]
    url: str  # http(s)://, ftp://, a git remote, or a local path (absolute or beside the manifest)


class FileEntry(_Strict):
    """One file of a dataset as published: an archive, a list, or a folder of images."""

    name: str
    checksum: str  # md5:, sha256:, git:<commit>, or tree:<sha256 of a folder, see files.hash_tree>
    size: int | None = None  # bytes
    mirrors: list[Mirror] = Field(min_length=1)

    @field_validator("checksum")
    @classmethod
    def _known_algorithm(cls, value: str) -> str:
        if not CHECKSUM.fullmatch(value):
            raise ValueError(
                "expected md5:<32 hex>, sha256:<64 hex>, git:<40 hex> or tree:<64 hex>"
            )
        return value

    @field_validator("name")
    @classmethod
    def _stays_inside(cls, value: str) -> str:
        try:
            inside(Path("archives"), value)
        except UnsafePath:
            raise ValueError("expected a relative path without '..'") from None
        return value


class ClassTable(_Strict):
    """A table inside the archive that maps a layout's label keys to class names."""

    file: str  # the manifest file that holds the table
    member: str | None = None  # its path inside that container; None: the file is the table
    delimiter: str = ","
    header: bool = False
    key: int = 0  # column of the key
    name: int = 1  # column of the class name


class TaskSpec(_Strict):
    """One labelling of a dataset.

    ``classes`` is the ordered list of class names, or a table in the archive, or
    ``null``: the sorted names found in the archive over all splits. ``keys`` says
    whether the layout's labels are names of that list or positions in it.
    """

    classes: list[str] | ClassTable | None = None
    keys: Literal["name", "index"] = "name"

    @model_validator(mode="after")
    def _index_needs_names(self) -> TaskSpec:
        if self.keys == "index" and not isinstance(self.classes, list):
            raise ValueError("keys 'index' expects a list of class names in 'classes'")
        return self

    @field_validator("classes")
    @classmethod
    def _different_names(
        cls, value: list[str] | ClassTable | None
    ) -> list[str] | ClassTable | None:
        if isinstance(value, list) and (again := _repeated(value)):
            raise ValueError(f"expected each class once, got '{again}' twice")
        return value


class SplitRule(_Strict):
    """How one protocol divides a dataset into train, dev and test.

    ``official`` maps the split names that the layout yields; ``random`` draws a
    stratified test set. ``dev_fraction`` of train is held out, stratified, unless
    ``dev`` names official splits. Everything random is seeded by ``seed``.
    """

    rule: Literal["official", "random"]
    train: list[str] = ["train"]
    dev: list[str] = []
    test: list[str] = ["test"]
    test_fraction: Annotated[float, Field(gt=0, lt=1)] | None = None
    dev_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1
    seed: int = 0

    @model_validator(mode="after")
    def _random_needs_fraction(self) -> SplitRule:
        if (self.rule == "random") != (self.test_fraction is not None):
            raise ValueError("'test_fraction' is expected with rule 'random', and only there")
        return self

    @model_validator(mode="after")
    def _one_split_per_name(self) -> SplitRule:
        of: dict[str, str] = {}
        for split in ("train", "dev", "test"):
            for name in getattr(self, split) if self.rule == "official" else []:
                if of.setdefault(name, split) != split:
                    raise ValueError(f"official split '{name}' is given to {of[name]} and {split}")
        return self


class Expected(_Strict):
    """Counts as published under protocol clean, where known, and who says so.

    ``train`` counts train and dev together.
    """

    train: int | None = None
    test: int | None = None
    classes: int | None = None
    source: str | None = None


class Manifest(_Strict):
    """One dataset: where it comes from, how it is laid out, labelled and split."""

    name: str
    title: str
    homepage: str | None
    citation: str | None
    licence: str | None
    access: Literal["open", "kaggle", "kaggle-competition", "form"]
    files: list[FileEntry] = Field(min_length=1)
    layout: AnyLayout
    tasks: dict[str, TaskSpec] = Field(min_length=1)
    default_task: str
    splits: dict[Protocol, SplitRule]
    expected: Expected = Expected()
    quirks: list[str] = []

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
                    f"expected a task name of letters, digits, '_', '-' and '.', got '{task}'"
                )
        return value

    @field_validator("files")
    @classmethod
    def _different_files(cls, value: list[FileEntry]) -> list[FileEntry]:
        names = {Path(entry.name): entry.name for entry in value}
        if again := _repeated([Path(entry.name) for entry in value]):
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
            "tasks": {name: _stated(task) for name, task in self.tasks.items()},
            "default_task": self.default_task,
            "splits": {name: _stated(rule) for name, rule in self.splits.items()},
        }
        return hashlib.sha256(json.dumps(core, sort_keys=True).encode()).hexdigest()


class StreamItem(_Strict):
    """One dataset of a stream; cut into tasks of about ``classes_per_task`` classes if given."""

    dataset: str
    task: str | None = None  # None: the dataset's default task
    classes_per_task: Annotated[int, Field(ge=1)] | None = None


class StreamSpec(_Strict):
    """A stream: datasets in their published order."""

    name: str
    title: str
    citation: str | None = None
    datasets: list[StreamItem] = Field(min_length=1)

    @field_validator("datasets", mode="before")
    @classmethod
    def _plain_names(cls, value: Any) -> Any:
        if not isinstance(value, list):
            return value
        return [{"dataset": item} if isinstance(item, str) else item for item in value]


def _repeated(values: list[T]) -> T | None:
    """Return the first value that stands there twice, ``None`` if there is none."""
    seen: set[T] = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None


def _stated(part: BaseModel) -> dict[str, Any]:
    return part.model_dump(mode="json", exclude_defaults=True)
