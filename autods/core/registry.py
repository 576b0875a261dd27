"""The one mechanism for everything that is looked up by name."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Callable, Iterable
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Generic, TypeVar

from autods.errors import UnknownName

T = TypeVar("T")
SHOWN = 12  # known names that an error lists
SPELLING = 0.75  # ratio of difflib from which a name is taken for one misspelt


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Return up to three known names that resemble this one, the nearest first."""
    lowered = {one.lower(): one for one in known}
    close = difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.5)
    return [lowered[one] for one in close]


def unknown(kind: str, name: str, known: Iterable[str]) -> UnknownName:
    """Build the error for an unknown name, with the nearest known names first."""
    names = sorted(known)
    if near := nearest(name, names):
        hint = f"did you mean {', '.join(near)}?"
    elif names:
        hint = f"known: {', '.join(names[:SHOWN])}" + (", ..." if len(names) > SHOWN else "")
    else:
        hint = "none is known"
    return UnknownName(f"unknown {kind} '{name}'; {hint}")


def unknown_dataset(
    kind: str, name: str, known: Iterable[str], features: Path | None = None
) -> UnknownName:
    """Build the error for an unknown dataset or stream.

    It tells how your own is made of a folder, or found, unless the name is one misspelt; where its
    manifest lies, if one of this name is in the working folder or its folder ``manifests``.
    ``features`` is the data root whose features would do as well as a manifest, and which has
    none of it.
    """
    known = list(known)
    error = unknown(kind, name, known)
    manifest, folder = _here(name)
    if manifest is not None:
        stream = ", or name the file if it is a stream's" if "stream" in kind else ""
        return UnknownName(
            f"unknown {kind} '{name}'; {manifest} was not read, nothing was done. Add "
            f"--manifests {manifest.parent} if it is its manifest{stream}."
        )
    if folder:
        return UnknownName(
            f"unknown {kind} '{name}': expected a name, got a folder; nothing was done. Make a "
            f"dataset of its images with `autods new NAME --folder {shlex.quote(name)}`."
        )
    if any(
        difflib.SequenceMatcher(None, name.lower(), one.lower()).ratio() >= SPELLING
        for one in nearest(name, known)
    ):
        return error
    by_features = f" No features of it are under {features} (--root, or AUTODS_ROOT)."
    return UnknownName(
        f"{error}{'' if str(error).endswith(('...', '?')) else '.'} One of your own is found by "
        "the folder of its manifest: --manifests FOLDER, or AUTODS_MANIFESTS."
        f"{by_features if features else ''}"
    )


def _here(name: str) -> tuple[Path | None, bool]:
    """Return the manifest of this name that lies here, and whether a folder of this name does."""
    with suppress(OSError, RuntimeError, ValueError):  # too long, ~nobody, or no name of a file
        places = (Path(), Path("manifests")) if Path(name).name == name else ()
        files = (place / f"{name}.yaml" for place in places)
        manifest = next((file for file in files if file.is_file()), None)
        return manifest, name != "" and Path(name).expanduser().is_dir()
    return None, False


def unknown_encoder(name: str, known: Iterable[str], where: str) -> UnknownName:
    """Build the error for an encoder without features: which ones have some, and what to do.

    ``where`` says which features are meant: "of 'flowers'", "under /data/root".
    """
    names = sorted(known)
    more = "`autods extract` makes features, `autods import-features` brings those made elsewhere."
    if not names:
        return UnknownName(
            f"no encoder has features {where} yet, '{name}' neither; nothing was done. {more}"
        )
    near = nearest(name, names)
    asked = f"did you mean {', '.join(near)}? Encoders" if near else "encoders"
    shown = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
    return UnknownName(
        f"no features {where} are by encoder '{name}'; {asked} that have some: {shown}. Nothing "
        f"was done. Name one of them; {more}"
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
