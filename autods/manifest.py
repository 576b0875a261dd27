"""Typed manifests of datasets and streams, and where they are found.

A dataset is data: one YAML file checked against `Manifest`. How its archives are
read is code, one layout family per file in `autods.layouts`. Unknown keys are
refused; unknown facts are ``null``, never a guess.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from autods.errors import ManifestError, UnsafePath
from autods.layouts import AnyLayout
from autods.names import unknown
from autods.root import inside

CHECKSUM = re.compile(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}|git:[0-9a-f]{40}|tree:[0-9a-f]{64}")
NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
PROTOCOLS = ("clean", "paper")

ModelT = TypeVar("ModelT", bound=BaseModel)
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
        core = {
            "name": self.name,
            "files": {entry.name: entry.checksum for entry in self.files},
            "layout": self.layout.model_dump(mode="json"),
            "tasks": {name: task.model_dump(mode="json") for name, task in self.tasks.items()},
            "default_task": self.default_task,
            "splits": {name: rule.model_dump(mode="json") for name, rule in self.splits.items()},
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


class Catalogue:
    """All manifests and streams that can be named.

    Parameters
    ----------
    folders
        Further folders, searched after the shipped ones; a name found later wins, so
        that a user can correct a shipped manifest. Each holds ``*.yaml`` manifests
        directly or in ``datasets/``, and streams in ``streams/``.
    """

    def __init__(self, folders: Iterable[Path] = ()) -> None:
        extra = [Path(p) for p in os.environ.get("AUTODS_MANIFESTS", "").split(os.pathsep) if p]
        self._datasets: dict[str, Path] = {}
        self._streams: dict[str, Path] = {}
        for folder in [shipped_manifests(), *extra, *folders]:
            if not folder.is_dir():
                raise ManifestError(
                    f"manifest folder {folder} does not exist; nothing was read. "
                    "Correct --manifests or AUTODS_MANIFESTS."
                )
            for path in sorted([*folder.glob("*.yaml"), *folder.glob("datasets/*.yaml")]):
                self._datasets[path.stem] = path
            for path in sorted(folder.glob("streams/*.yaml")):
                self._streams[path.stem] = path

    def datasets(self) -> list[str]:
        """List the names of all datasets, sorted."""
        return sorted(self._datasets)

    def streams(self) -> list[str]:
        """List the names of all streams that are defined by a file, sorted."""
        return sorted(self._streams)

    def path(self, name: str) -> Path:
        """Return the file of a dataset's manifest; raise `UnknownName` otherwise."""
        if name not in self._datasets:
            raise unknown("dataset", name, self._datasets)
        return self._datasets[name]

    def dataset(self, name: str) -> Manifest:
        """Load one manifest. Local mirrors are resolved against the manifest's folder."""
        path = self.path(name)
        manifest = load(path, Manifest)
        if manifest.name != path.stem:
            raise ManifestError(
                f"{path}: name: expected '{path.stem}' as the file is called, got "
                f"'{manifest.name}'; the manifest was not used. Rename one of the two."
            )
        return manifest.model_copy(
            update={"files": [_resolved(entry, path.parent) for entry in manifest.files]}
        )

    def stream(self, name: str) -> StreamSpec:
        """Load a stream by name, by YAML path, or from comma-separated dataset names."""
        if name.endswith((".yaml", ".yml")):
            return load(Path(name), StreamSpec)
        if name in self._streams:
            return load(self._streams[name], StreamSpec)
        parts = [part for part in name.split(",") if part]
        if len(parts) > 1 or name in self._datasets:
            for part in parts:
                self.path(part)
            items = [StreamItem(dataset=part) for part in parts]
            return StreamSpec(name=name, title=f"Datasets {name}", datasets=items)
        raise unknown("stream", name, [*self._streams, *self._datasets, "synthetic"])


def shipped_manifests() -> Path:
    """Return the folder of manifests inside the wheel, or of the checkout."""
    packaged = Path(__file__).parent / "_manifests"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "manifests"


def load(path: Path, model: type[ModelT]) -> ModelT:
    """Read and validate one YAML file.

    Raises
    ------
    ManifestError
        With the file, the line, the field, what was expected and what came.
    """
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        return model.model_validate(yaml.safe_load(text))
    except OSError as error:
        raise ManifestError(
            f"{path}: cannot be read: {error.strerror}; nothing was used."
        ) from None
    except yaml.YAMLError as error:
        raise ManifestError(f"{path}: not valid YAML: {error}; nothing was used.") from None
    except ValidationError as error:
        lines = [_explain(path, node, problem) for problem in error.errors()]
        raise ManifestError("\n".join([*lines, "The manifest was not used."])) from None


def _explain(path: Path, node: yaml.Node | None, problem: Any) -> str:
    field = ".".join(str(part) for part in problem["loc"]) or "(whole file)"
    line = _line(node, problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    got = ""
    if problem["type"] == "extra_forbidden":
        message = "unknown key"
    elif problem["type"] == "missing":
        message = "required key is missing"
    elif isinstance(problem["input"], str | int | float):
        got = f", got '{problem['input']}'"
    return f"{path}:{line}: {field}: {message}{got}"


def _line(node: yaml.Node | None, location: Iterable[int | str]) -> int:
    """Return the line (1-based) of the innermost node on the way to a location."""
    for part in location:
        if isinstance(node, yaml.MappingNode):
            found = [value for key, value in node.value if key.value == str(part)]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            found = node.value[part : part + 1]
        else:
            found = []
        if found:  # a location also names the family of a layout, which is no node
            node = found[0]
    return node.start_mark.line + 1 if node is not None else 1


def _resolved(entry: FileEntry, folder: Path) -> FileEntry:
    mirrors = [
        m.model_copy(update={"url": str((folder / Path(m.url).expanduser()).resolve())})
        if m.kind == "file"
        else m
        for m in entry.mirrors
    ]
    return entry.model_copy(update={"mirrors": mirrors})
