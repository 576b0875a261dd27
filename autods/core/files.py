"""Files that are whole or absent: atomic placement, locks, hashes, JSON.

A temporary file has the target's name plus ``.tmp`` and lies beside it, so a
killed command leaves at most one stale file, which the next run overwrites.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from autods.core.seals import sealed, unsealed
from autods.core.trees import list_tree
from autods.errors import Busy

LITTER = (".DS_Store", "Thumbs.db", "desktop.ini")  # of Finder and Explorer
BLOCK = 1 << 20  # bytes read at once when hashing and copying


@contextmanager
def atomic(target: Path) -> Iterator[Path]:
    """Give a temporary path beside ``target``; move it into place on success.

    The content is flushed to disk before the rename. When the body raises, the
    temporary file is removed and ``target`` stays as it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(target.name + ".tmp")
    try:
        yield temporary
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(target: Path, value: Any) -> None:
    """Write JSON atomically: sorted keys, two spaces, one final newline.

    An object is sealed with the hash of its content, which `read_json` checks.
    """
    if isinstance(value, Mapping):
        value = sealed(value)
    with atomic(target) as temporary:
        temporary.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Return what `write_json` wrote, without the seal; files of earlier versions have none.

    `ValueError` if it is not JSON, or not what was written (`BrokenSealError`).
    """
    return unsealed(json.loads(path.read_text(encoding="utf-8")))[0]


def hash_file(path: Path, algorithm: str) -> str:
    """Return the hex digest of a file's content (``md5``, ``sha256`` ...)."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as handle:
        while block := handle.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def hash_tree(folder: Path) -> str:
    """Return the sha256 over the sorted relative paths and contents below a folder.

    Files that file browsers leave behind are ignored: opening a folder does not change it.
    """
    digest = hashlib.sha256()
    for name, _, _ in list_tree(folder).files:
        if not is_litter(name):
            line = f"{name}\0{hash_file(folder / name, 'sha256')}\n"
            digest.update(line.encode(errors="surrogateescape"))  # a name's bytes as they are
    return digest.hexdigest()


def is_litter(name: str) -> bool:
    """Tell whether a file is one that file browsers leave behind, by its path."""
    file = name.rpartition("/")[2]
    return file in LITTER or file.startswith("._")


@contextmanager
def held(path: Path, what: str, note: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock on ``path`` as `locked` does; tell if another process has it, then wait."""
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(path, timeout=0))
        except Busy:
            note(f"another process works on {what}; waiting for it to end")
            stack.enter_context(locked(path))
        yield


@contextmanager
def locked(path: Path, timeout: float = 600.0) -> Iterator[None]:
    """Hold an inter-process lock on ``path`` (a ``.lock`` file beside it).

    `Busy` names the process that keeps the lock for more than ``timeout`` seconds.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(path.name + ".lock"), timeout=timeout)
    holder = path.with_name(path.name + ".holder")
    try:
        lock.acquire()
    except Timeout:  # only here: a `Timeout` of the body is about another lock
        name = holder.read_text(encoding="utf-8") if holder.exists() else "another process"
        raise Busy(
            f"{path} is being written by {name}; waited {timeout:.0f} s; nothing was changed. "
            "Wait until it has finished, then run the same command again."
        ) from None
    try:
        holder.write_text(f"process {os.getpid()} on {os.uname().nodename}", encoding="utf-8")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()
