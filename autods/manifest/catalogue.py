"""The lookup of manifests and streams by name, and errors for wrong files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from autods.core.home import expanded
from autods.core.refusals import refusal
from autods.core.registry import unknown, unknown_dataset
from autods.core.root import DataRoot
from autods.core.yaml_files import YamlFault, parse_yaml
from autods.errors import ManifestError
from autods.manifest.explain import explain
from autods.manifest.files import (
    by_name,
    checked_folders,
    dataset_files,
    has_manifests,
    stream_files,
)
from autods.manifest.remembered import remember, remembered_folders
from autods.manifest.schema import FileEntry, Manifest, StreamItem, StreamSpec

ModelT = TypeVar("ModelT", bound=BaseModel)


class Catalogue:
    """All known manifests and streams.

    Parameters
    ----------
    folders
        Further folders, searched after the shipped ones; a name found later wins, so
        that a user can correct a shipped manifest. Each holds ``*.yaml`` manifests
        directly or in ``datasets/``, and streams in ``streams/``. `ManifestError` for a
        folder that is missing or holds none, and for two files of one name in a folder.
    root
        Data root whose datasets are meant: the folders that it remembers are searched right
        after the shipped ones. Those that are gone are in ``gone``, with their datasets.
    """

    def __init__(
        self, folders: Iterable[Path | str] = (), root: DataRoot | Path | str | None = None
    ) -> None:
        self._datasets: dict[str, Path] = {}
        self._streams: dict[str, Path] = {}
        self._folders: dict[str, Path | None] = {}  # of each dataset; None: shipped
        self.gone: dict[Path, list[str]] = {}
        shipped, *named = checked_folders(map(Path, folders))
        self._add(shipped, None)
        remembered = {} if root is None else remembered_folders(DataRoot.open(root))
        for folder in dict.fromkeys(remembered.values()):
            if has_manifests(folder):
                self._add(folder, folder)
        for folder in named:
            self._add(folder, expanded(folder).resolve())
        for name, folder in remembered.items():
            if self._folders.get(name) is None:
                self.gone.setdefault(folder, []).append(name)

    def _add(self, folder: Path, noted: Path | None) -> None:
        found = by_name(dataset_files(folder))
        self._datasets |= found
        self._folders |= dict.fromkeys(found, noted)
        self._streams |= by_name(stream_files(folder))

    def remember(self, root: DataRoot, names: Iterable[str]) -> None:
        """Let a root remember the folders that manifests of its datasets came from."""
        remember(root, self._folders, names)

    def __repr__(self) -> str:
        return f"Catalogue({len(self._datasets)} datasets, {len(self._streams)} streams)"

    def datasets(self) -> list[str]:
        """List the names of all datasets, sorted."""
        return sorted(self._datasets)

    def streams(self) -> list[str]:
        """List the names of all streams that are defined by a file, sorted."""
        return sorted(self._streams)

    def path(self, name: str) -> Path:
        """Return the file of a dataset's manifest; raise `UnknownName` otherwise."""
        if name not in self._datasets:
            raise unknown_dataset("dataset", name, self._datasets)
        return self._datasets[name]

    def dataset(self, name: str) -> Manifest:
        """Load one manifest; local mirrors are relative to its folder."""
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
        names = [part for part in name.split(",") if part]
        if len(names) > 1 or name in self._datasets:
            for dataset in names:
                self.path(dataset)
            items = [StreamItem(dataset=dataset) for dataset in names]
            return StreamSpec(name=name, title=f"Datasets {name}", datasets=items)
        raise unknown("stream", name, [*self._streams, *self._datasets, "synthetic"])


def load(path: Path, model: type[ModelT]) -> ModelT:
    """Read and validate one YAML file.

    `ManifestError` says file, line, field, what was expected and what came.
    """
    try:
        return parse(path.read_text(encoding="utf-8"), path, model)
    except OSError as error:
        why, cure = refusal(error)
        raise ManifestError(f"{path}: cannot be read: {why}; nothing was used. {cure}.") from None
    except UnicodeDecodeError as error:
        raise ManifestError(
            f"{path}: expected UTF-8 text, got byte 0x{error.object[error.start]:02x} at position "
            f"{error.start}; nothing was used. Save the file as UTF-8."
        ) from None


def parse(text: str, path: Path | str, model: type[ModelT]) -> ModelT:
    """Validate the text of one YAML file, which came from ``path``; errors as of `load`."""
    try:
        return model.model_validate(parse_yaml(text))
    except YamlFault as error:
        place = "" if error.line is None else f":{error.line}"
        raise ManifestError(
            f"{path}{place}: not valid YAML: {error}; nothing was used. Look at this line and "
            "the one before: indentation, quotes, a blank after each ':', each key once."
        ) from None
    except ValidationError as error:
        lines = explain(path, text, model, error)
        raise ManifestError("\n".join([*lines, "The file was not used."])) from None


def _resolved(entry: FileEntry, folder: Path) -> FileEntry:
    mirrors = [
        m.model_copy(update={"url": str((folder / expanded(m.url)).resolve())})
        if m.kind == "file"
        else m
        for m in entry.mirrors
    ]
    return entry.model_copy(update={"mirrors": mirrors})
