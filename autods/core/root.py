"""The only module that builds paths under a data root."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from autods.core.home import expanded, home, user_folder
from autods.errors import UnsafePath, UsageError


def default_root() -> Path:
    """Return ``AUTODS_ROOT``, else the platform's user data folder."""
    if value := os.environ.get("AUTODS_ROOT"):
        return Path(value)
    from platformdirs import user_data_path

    if home() is None:
        return user_folder() / ".local/share/autods"
    return user_data_path("autods")


def inside(folder: Path, relative: str) -> Path:
    """Join a relative path from outside our control; refuse one that leaves ``folder``."""
    path = Path(relative.replace("\\", "/"))
    parts = path.parts
    if not parts or path.is_absolute() or ".." in parts:
        raise UnsafePath(
            f"path '{relative}' would leave {folder}; expected a relative path without '..'; "
            "nothing was written. Correct the manifest, or do not trust this archive."
        )
    return folder.joinpath(*parts)


@dataclass(frozen=True)
class DataRoot:
    """Paths of datasets and features below ``path``; ``folder`` holds what was fetched."""

    path: Path
    folder: str = "datasets"

    @classmethod
    def open(cls, path: DataRoot | Path | str | None = None) -> DataRoot:
        """Return the root at ``path``, or the default one; a root is returned as it is."""
        if isinstance(path, DataRoot):
            return path
        folder = expanded(path if path is not None else default_root()).resolve()
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"data root {folder} is a file; expected a folder. Correct --root.")
        return cls(folder)

    def datasets(self) -> list[str]:
        """List the datasets with fetched files, sorted."""
        return sorted(path.parent.name for path in self.path.glob(f"{self.folder}/*/record.json"))

    def dataset(self, name: str) -> Path:
        """Return the folder of one dataset."""
        return self.path / self.folder / name

    def archive(self, name: str, file: str) -> Path:
        """Return the path of one verified download."""
        return inside(self.dataset(name) / "archives", file)

    def converted(self, name: str, file: str) -> Path:
        """Return the path of the uncompressed container made from ``file``."""
        return inside(self.dataset(name) / "converted", file)

    def fetch_record(self) -> Path:
        """Return the path of the record of the last ``autods fetch``."""
        return self.path / "fetch.json"

    def manifests(self) -> Path:
        """Return the path of the record of the folders that manifests came from."""
        return self.path / "manifests.json"

    def extract_record(self) -> Path:
        """Return the path of the record of the last ``autods extract``."""
        return self.path / "extract.json"

    def published(self) -> DataRoot:
        """Return the same root for fetching published archives of features."""
        return replace(self, folder="published")

    def samples(self, name: str) -> Path:
        """Return the path of the sample index."""
        return self.dataset(name) / "samples.parquet"

    def record(self, name: str) -> Path:
        """Return the path of the record of what was fetched and indexed."""
        return self.dataset(name) / "record.json"

    def audit(self, name: str) -> Path:
        """Return the path of the findings of an audit."""
        return self.dataset(name) / "audit.json"

    def feature_sets(self, finished: bool = True) -> list[tuple[str, str]]:
        """List the feature sets as pairs (encoder, dataset), sorted; also begun ones if asked."""
        files = ["record.json"] if finished else ["record.json", "*.h5"]
        folders = (p.parent for file in files for p in self.path.glob(f"features/*/*/{file}"))
        return sorted({(folder.parent.name, folder.name) for folder in folders})

    def features(self, encoder: str, name: str) -> Path:
        """Return the folder of one feature set."""
        return self.path / "features" / encoder / name

    def shard(self, encoder: str, name: str, split: str, index: int, count: int) -> Path:
        """Return the path of shard ``index`` of ``count`` of a split."""
        return self.features(encoder, name) / f"{split}-{index:05d}-of-{count:05d}.h5"

    def feature_record(self, encoder: str, name: str) -> Path:
        """Return the path of the record of one feature set."""
        return self.features(encoder, name) / "record.json"

    def text(self, encoder: str, name: str, templates: str) -> Path:
        """Return the path of the embedded class names of one dataset, by list of templates."""
        return self.features(encoder, name) / "text" / f"{templates}.h5"

    def texts(self, encoder: str = "*", name: str = "*") -> list[Path]:
        """List the embedded class names, sorted."""
        return sorted(self.path.glob(f"features/{encoder}/{name}/text/*.h5"))
