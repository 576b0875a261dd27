"""Readers of features made elsewhere, one file per format; `from_files` imports what they open."""

from __future__ import annotations

from pathlib import Path

from autods.errors import UsageError
from autods.interop.imports import npy, npz, parquet, safetensors
from autods.interop.imports.base import Reader
from autods.manifest.schema import NAME

READERS = (npy.READER, npz.READER, parquet.READER, safetensors.READER)


def reader_of(source: Path) -> Reader | None:
    """Return the reader of a source, ``None`` if it is of no known format."""
    return next((reader for reader in READERS if reader.matches(source)), None)


def find_sources(place: Path) -> dict[str, tuple[Path, Reader]]:
    """Map names to sources and their readers, sorted: ``place`` itself, or what lies in it.

    Raises `UsageError` if there is none, a name is invalid, or two sources have one name.
    """
    found = [place] if reader_of(place) else sorted(place.glob("*")) if place.is_dir() else []
    names: dict[str, tuple[Path, Reader]] = {}
    for path in found:
        reader = reader_of(path)
        if path.name.startswith(".") or reader is None:
            continue
        # a relative folder such as "." has no name of its own
        name = (path.resolve().name if path.is_dir() else path.stem).lower()
        if not NAME.fullmatch(name):
            raise UsageError(
                f"{path}: '{name}' cannot name a feature set: expected letters, digits, '_' and "
                "'-'; nothing was imported. Rename the file."
            )
        if name in names:
            raise UsageError(
                f"{names[name][0].name} and {path.name} in {place} would both become '{name}'; "
                "nothing was imported. Rename one of them."
            )
        names[name] = path, reader
    if not names:
        raise UsageError(
            f"{place}: expected NAME.npz, NAME.parquet or NAME.safetensors, a folder of them, or "
            "one with features.npy and labels.csv; found none; nothing was imported."
        )
    return dict(sorted(names.items()))
