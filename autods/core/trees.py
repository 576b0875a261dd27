"""List a folder: every file once, by one rule for links, and what is no file by its name.

Hashing, copying, counting and reading of folders all use this list, so none of them can
miss what another one sees.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

# What links to folders may add; beyond it they lead into each other.
LINKED_FILES, LINKED_FOLDERS = 5_000_000, 200_000


class TreeFile(NamedTuple):
    """A regular file below a folder: its POSIX path from there, and its bytes."""

    name: str
    size: int
    linked: bool  # whether a link leads to it


@dataclass
class Tree:
    """What lies below a folder; each list is sorted by name."""

    files: list[TreeFile] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)  # followed links to files and folders
    left: list[tuple[str, str]] = field(default_factory=list)  # other names, and why

    def sort(self) -> Tree:
        """Sort all lists; return the tree."""
        self.files.sort()
        self.folders.sort()
        self.links.sort()
        self.left.sort()
        return self


def list_tree(folder: Path) -> Tree:
    """List all files below ``folder``; links to files and folders are followed.

    A link to nothing, or to a folder that it lies in, is left out and told, as are pipes and
    devices. `OSError` if a folder cannot be read, or links multiply files without end.
    """
    tree, linked_files, linked_folders = Tree(), 0, 0
    # folder, its name below, the folders above it (device, inode), whether a link leads there
    first = _identity(folder.stat())
    todo: list[tuple[str, str, tuple[tuple[int, int], ...], bool]] = [
        (os.fspath(folder), "", (first,), False)
    ]
    while todo:
        path, prefix, above, linked = todo.pop()
        with os.scandir(path) as entries:
            for entry in entries:
                name = prefix + entry.name
                is_link = entry.is_symlink()
                try:
                    status = entry.stat()
                except OSError as error:
                    if not is_link:
                        raise
                    told = "a loop" if error.errno == errno.ELOOP else "nothing"
                    tree.left.append((name, f"link to {told}"))
                    continue
                if stat.S_ISDIR(status.st_mode):
                    identity = _identity(status)
                    if identity in above:
                        tree.left.append((name, "link to a folder that it lies in"))
                        continue
                    tree.folders.append(name)
                    linked_folders += linked or is_link
                    todo.append((entry.path, f"{name}/", (*above, identity), linked or is_link))
                elif stat.S_ISREG(status.st_mode):
                    tree.files.append(TreeFile(name, status.st_size, linked or is_link))
                    linked_files += linked
                else:
                    tree.left.append((name, "neither file nor folder"))
                    continue
                if is_link:
                    tree.links.append(name)
        if linked_files > LINKED_FILES or linked_folders > LINKED_FOLDERS:
            raise OSError(errno.ELOOP, "links lead into each other without end", os.fspath(folder))
    return tree.sort()


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
