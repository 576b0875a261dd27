"""The manifests and streams, by file name; no file is opened."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path


def shipped_manifests() -> Path:
    """Return the folder of manifests inside the wheel, or of the checkout."""
    packaged = Path(__file__).parents[1] / "_manifests"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "manifests"


def manifest_folders(extra: Iterable[Path] = ()) -> list[Path]:
    """Return the shipped folder, those of ``AUTODS_MANIFESTS``, and further ones, in this order."""
    named = [Path(p) for p in os.environ.get("AUTODS_MANIFESTS", "").split(os.pathsep) if p]
    return [shipped_manifests(), *named, *extra]


def dataset_files(folder: Path) -> Iterator[Path]:
    """Yield the manifests of a folder, by name."""
    yield from sorted([*folder.glob("*.yaml"), *folder.glob("datasets/*.yaml")])


def stream_files(folder: Path) -> Iterator[Path]:
    """Yield the definitions of streams of a folder, by name."""
    yield from sorted(folder.glob("streams/*.yaml"))
