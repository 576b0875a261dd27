"""The digest, size and listing of a path, file or folder alike."""

from __future__ import annotations

import hashlib
import shutil
import time
from pathlib import Path

from autods.core.files import hash_file, hash_tree
from autods.core.trees import list_tree


def is_folder(checksum: str) -> bool:
    """Tell whether a checksum describes a folder (``tree:``, ``git:``) and not one file."""
    return checksum.startswith(("tree:", "git:"))


def digest(path: Path, checksum: str) -> str:
    """Return the digest of ``path`` in the form of ``checksum`` (``md5:...``, ``tree:...``).

    A folder where a file is expected, or the reverse, answers ``"a folder"`` or ``"a file"``. For
    ``git:`` it is the tree, since the commit cannot be computed from a folder.
    """
    if path.is_dir() != is_folder(checksum):
        return "a folder" if path.is_dir() else "a file"
    if path.is_dir():
        return f"tree:{hash_tree(path)}"
    algorithm = checksum.partition(":")[0]
    return f"{algorithm}:{hash_file(path, algorithm)}"


def digest_of(content: bytes, checksum: str) -> str:
    """Return the digest of a file with this content in the form of ``checksum``."""
    algorithm = checksum.partition(":")[0]
    if algorithm not in ("md5", "sha256"):
        return "a file"
    return f"{algorithm}:{hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()}"


def size_of(path: Path) -> int:
    """Return the bytes of a file or of all files below a folder; 0 when absent."""
    if path.is_dir():
        return sum(size for _, size, _ in list_tree(path).files)
    return path.stat().st_size if path.exists() else 0


def listing(folder: Path) -> str:
    """Return the sha256 over the names and sizes of all files below a folder."""
    lines = (f"{name}\0{size}\n" for name, size, _ in list_tree(folder).files)
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


def remove(path: Path) -> None:
    """Delete a file, a folder or a link if it exists.

    A git process whose parent was killed may still write below the folder for a moment;
    it stops when its working directory is gone, hence the repetition.
    """
    if not path.exists() and not path.is_symlink():
        return  # asked to delete nothing, a file system that can only be read refuses
    for _ in range(50):
        if path.is_symlink() or not path.is_dir():  # a link goes, what it leads to stays
            path.unlink(missing_ok=True)
            return
        shutil.rmtree(path, ignore_errors=True)
        if path.exists():
            time.sleep(0.1)
    if path.exists():
        shutil.rmtree(path)
