"""The one mechanism for everything that is looked up by name."""

from __future__ import annotations

import difflib
import os
import shlex
from collections.abc import Callable, Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import Generic, TypeVar

from autods.errors import UnknownName

T = TypeVar("T")


def unknown(kind: str, name: str, known: Iterable[str]) -> UnknownName:
    """Build the error for an unknown name, with the nearest known names first."""
    names = sorted(known)
    lowered = {n.lower(): n for n in names}
    near = [lowered[n] for n in difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.5)]
    if near:
        hint = f"did you mean {', '.join(near)}?"
    elif names:
        hint = f"known: {', '.join(names[:12])}" + (", ..." if len(names) > 12 else "")
    else:
        hint = "none is known"
    return UnknownName(f"unknown {kind} '{name}'; {hint}")


def unknown_dataset(kind: str, name: str, known: Iterable[str]) -> UnknownName:
    """Build the error for an unknown dataset or stream.

    It tells how your own is made of a folder, or found where no known name resembles this one.
    """
    error = unknown(kind, name, known)
    if os.sep in name and Path(name).expanduser().is_dir():
        return UnknownName(
            f"unknown {kind} '{name}': expected a name, got a folder; nothing was done. Make a "
            f"dataset of its images with `autods new NAME --folder {shlex.quote(name)}`."
        )
    if "; did you mean" in str(error):
        return error
    return UnknownName(
        f"{error}{'' if str(error).endswith('...') else '.'} One of your own is found by the "
        "folder of its manifest: --manifests FOLDER, or AUTODS_MANIFESTS."
    )


class Registry(Generic[T]):
    """Named things of one ``kind``, the word of its errors. Refuses duplicates, answers typos."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._items: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that enters the decorated object under ``name``."""

        def enter(item: T) -> T:
            if name in self._items:
                raise ValueError(f"{self.kind} '{name}' is registered twice")
            self._items[name] = item
            return item

        return enter

    def get(self, name: str) -> T:
        """Return the object called ``name``; raise `UnknownName` otherwise."""
        if name not in self._items:
            raise unknown(self.kind, name, self._items)
        return self._items[name]

    def names(self, pattern: str = "*") -> list[str]:
        """List the registered names that match a glob pattern, sorted."""
        return sorted(n for n in self._items if fnmatch(n, pattern))
