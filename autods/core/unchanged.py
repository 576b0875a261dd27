"""Remember which files and folders had the hash that is written of them, by size and time.

That spares hashing large files again and again. Nothing is remembered that cannot be found out
anew, so a memory that is damaged or cannot be written costs time only. That of feature sets is
``.NAME-unchanged.json`` beside their folder NAME, so that it goes where they go; that of archives,
which are read once, is in the user's cache: the bytes of a dataset's folder are the same whenever
they are made.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from autods.core.files import read_json, write_json
from autods.core.trees import list_tree

FORMAT = 2  # 1 did not know whether shards are as they must be

Known = dict[str, list[str | int]]  # path below the folder: hash, size, time in ns


def place(folder: Path) -> Path:
    """Return the file beside ``folder`` that remembers what is below it."""
    return folder.parent / f".{folder.name}-unchanged.json"


def cached(folder: Path) -> Path:
    """Return the file in the cache that remembers what is below ``folder``.

    The cache is ``AUTODS_CACHE``, else the platform's folder for them.
    """
    from platformdirs import user_cache_path

    cache = Path(os.environ.get("AUTODS_CACHE") or user_cache_path("autods"))
    name = hashlib.sha256(str(folder.resolve()).encode(errors="surrogateescape")).hexdigest()
    return cache / "unchanged" / f"{name[:32]}.json"


def touched(folder: Path, hashes: Mapping[Path, str], memory: Path | None = None) -> list[Path]:
    """Return the files or folders below ``folder`` that are not known to have their hash still.

    ``memory`` is the file that remembers, by default that of `place`.
    """
    known = _read(memory or place(folder))
    return [
        path
        for path, written in hashes.items()
        if known.get(_key(folder, path)) != _entry(path, written)
    ]


def remember(folder: Path, hashes: Mapping[Path, str], memory: Path | None = None) -> None:
    """Note that files or folders below ``folder`` have these hashes now."""
    memory = memory or place(folder)
    if not memory.is_absolute():  # of a user without a home
        return
    with suppress(OSError):  # a root or cache that can only be read
        known = _read(memory)
        known |= {_key(folder, path): _entry(path, written) for path, written in hashes.items()}
        write_json(memory, {"format": FORMAT, "files": known})


def _read(memory: Path) -> Known:
    try:
        content = read_json(memory)
        return dict(content["files"]) if content["format"] == FORMAT else {}
    except (OSError, KeyError, TypeError, ValueError):
        return {}


def _key(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()


def _entry(path: Path, written: str) -> list[str | int]:
    if path.is_dir():
        return [written, *_tree(path)]
    status = path.stat()
    return [written, status.st_size, status.st_mtime_ns]


def _tree(folder: Path) -> tuple[int, str]:
    """Return the bytes below a folder, and the sha256 over its names with sizes and times."""
    total, digest = 0, hashlib.sha256()
    for name, size, _ in list_tree(folder).files:
        total += size
        line = f"{name}\0{size}\0{(folder / name).stat().st_mtime_ns}\n"
        digest.update(line.encode(errors="surrogateescape"))
    return total, digest.hexdigest()
