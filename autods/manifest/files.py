"""The manifests and streams, by file name; no file is opened."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from autods.errors import ManifestError

ENDINGS = (".yaml", ".yml")


def shipped_manifests() -> Path:
    """Return the folder of manifests inside the wheel, or of the checkout."""
    packaged = Path(__file__).parents[1] / "_manifests"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "manifests"


def manifest_folders(extra: Iterable[Path] = ()) -> list[Path]:
    """Return the shipped folder, those of ``AUTODS_MANIFESTS``, and further ones, in this order."""
    named = [Path(p) for p in os.environ.get("AUTODS_MANIFESTS", "").split(os.pathsep) if p]
    return [shipped_manifests(), *named, *extra]


def has_manifests(folder: Path) -> bool:
    """Tell whether a folder holds a manifest, the definition of a stream, or of features."""
    return any(_in(folder, kind) for kind in ("", "datasets", "streams", "features"))


def checked_folders(extra: Iterable[Path] = ()) -> list[Path]:
    """Return `manifest_folders`; `ManifestError` for one that is missing or holds no manifest."""
    folders = manifest_folders(extra)
    for folder in folders:
        if not folder.is_dir():
            missing = not folder.exists()
            got = "does not exist" if missing else "is a file; expected the folder it lies in"
        elif not has_manifests(folder):
            got = (
                "holds no manifest (NAME.yaml, in it or in its folders datasets, streams, features)"
            )
        else:
            continue
        raise ManifestError(
            f"manifest folder {folder} {got}; nothing was read. Correct --manifests or "
            "AUTODS_MANIFESTS."
        )
    return folders


def dataset_files(folder: Path) -> list[Path]:
    """Return the manifests of a folder, by name."""
    return sorted([*_in(folder), *_in(folder, "datasets")])


def stream_files(folder: Path) -> list[Path]:
    """Return the definitions of streams of a folder, by name."""
    return _in(folder, "streams")


def feature_files(folder: Path) -> list[Path]:
    """Return the descriptions of published features of a folder, by name."""
    return _in(folder, "features")


def by_name(files: Iterable[Path]) -> dict[str, Path]:
    """Return the name of each file of a folder to the file; `ManifestError` if two have one."""
    found: dict[str, Path] = {}
    for file in files:
        if (first := found.setdefault(file.stem, file)) != file:
            raise ManifestError(
                f"{first} and {file} are of one name; nothing was read. Rename or delete one."
            )
    return found


def _in(folder: Path, below: str = "") -> list[Path]:
    return sorted(path for end in ENDINGS for path in (folder / below).glob(f"*{end}"))
