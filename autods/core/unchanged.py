"""Remember which files had the hash that is written of them, by size and time of change.

``.NAME-unchanged.json`` beside their folder NAME spares hashing large files again and again. It is
not in the folder, whose bytes are the same whenever they are made; it holds nothing that cannot be
found out anew, so one that is damaged or cannot be written costs time only.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from autods.core.files import read_json, write_json

FORMAT = 2  # 1 did not know whether shards are as they must be

Known = dict[str, list[str | int]]  # path below the folder: hash, size, time in ns


def place(folder: Path) -> Path:
    """Return the file that remembers the files below ``folder``."""
    return folder.parent / f".{folder.name}-unchanged.json"


def touched(folder: Path, hashes: Mapping[Path, str]) -> list[Path]:
    """Return the files below ``folder`` that are not known to have their hash still."""
    known = _read(folder)
    return [
        path
        for path, written in hashes.items()
        if known.get(_key(folder, path)) != _entry(path, written)
    ]


def remember(folder: Path, hashes: Mapping[Path, str]) -> None:
    """Note that files below ``folder`` have these hashes now."""
    with suppress(OSError):  # a root that can only be read
        known = _read(folder)
        known |= {_key(folder, path): _entry(path, written) for path, written in hashes.items()}
        write_json(place(folder), {"format": FORMAT, "files": known})


def _read(folder: Path) -> Known:
    try:
        content = read_json(place(folder))
        return dict(content["files"]) if content["format"] == FORMAT else {}
    except (OSError, KeyError, TypeError, ValueError):
        return {}


def _key(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()


def _entry(path: Path, written: str) -> list[str | int]:
    status = path.stat()
    return [written, status.st_size, status.st_mtime_ns]
