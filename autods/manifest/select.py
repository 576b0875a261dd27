"""Choose datasets, the same way for every command: names, globs, streams, and what is left out.

Only manifests are read. What a command does with datasets that are not here yet is its business.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import get_args

from autods.core.output import some_of
from autods.core.registry import unknown, unknown_dataset
from autods.errors import ManifestError, UnknownName, UsageError
from autods.manifest.catalogue import Catalogue
from autods.manifest.schema import Manifest
from autods.manifest.sources import Access

NAMED = 6  # datasets named in an error
ACCESS: tuple[str, ...] = get_args(Access)
UNITS = {"": 1, **{f"{p}B": 1000**k for k, p in enumerate(("", "K", "M", "G", "T", "P"))}}
UNITS |= {f"{p}IB": 1024**k for k, p in enumerate("KMGTP", start=1)}


@dataclass(frozen=True)
class Selection:
    """What a user asks for.

    One of ``names`` (globs among them), ``everything`` and ``stream``; of these, datasets are left
    out that ``exclude`` names (globs, comma-separated), that are larger than ``max_size``
    (``50GB``), or whose access is not among ``access`` (``open``, comma-separated).
    """

    names: Sequence[str] = ()
    everything: bool = False
    stream: str | None = None
    exclude: Sequence[str] = ()
    max_size: str | None = None
    access: str | None = None


@dataclass
class Selected:
    """The datasets that a selection leaves, in order, and what became of the others."""

    names: list[str]
    left_out: dict[str, list[str]] = field(default_factory=dict)  # option to what it left out
    unsized: list[str] = field(default_factory=list)  # kept, though not all sizes are known

    def leave_out(self, option: str, name: str, detail: str = "") -> None:
        """Note that an option leaves out a dataset."""
        self.left_out.setdefault(option, []).append(f"{name} ({detail})" if detail else name)


def select(
    selection: Selection, catalogue: Catalogue, here: Callable[[], Collection[str]] | None = None
) -> Selected:
    """Return the datasets of a selection.

    Parameters
    ----------
    here
        For commands that work on what is under a root: gives the names of what is. Globs match
        these, and they are meant if nothing is named.

    Raises
    ------
    UnknownName
        For a name or a glob without a dataset, a stream or an access that does not exist.
    UsageError
        If more than one of names, everything and a stream is given, if nothing is and ``here`` is
        ``None``, for a size that is none, or if everything is left out.
    """
    base = _base(selection, catalogue, here)
    limit = None if selection.max_size is None else parse_size(selection.max_size)
    access = listed([selection.access] if selection.access is not None else [])
    for one in access:
        if one not in ACCESS:
            raise unknown("access", one, ACCESS)
    known = {*base, *catalogue.datasets()}
    excluded = set(expand(listed(selection.exclude), known, known))
    selected = Selected([])
    for name in base:
        if name in excluded:
            selected.leave_out("--exclude", name)
        elif limit is None and not access:
            selected.names.append(name)
        else:
            _judge(name, catalogue, limit, access, selected)
    if base and not selected.names:
        raise _nothing_left(selected.left_out, limit)
    return selected


def expand(wanted: Iterable[str], known: Collection[str], matched: Collection[str]) -> list[str]:
    """Return the datasets that names and globs stand for, each once, in the order given.

    A name must be among ``known``, a glob match at least one of ``matched``; else `UnknownName`.
    """
    found: dict[str, None] = {}
    for name in wanted:
        if not is_glob(name):
            if name not in known:
                raise unknown_dataset("dataset", name, known)
            found[name] = None
            continue
        matching = sorted(one for one in matched if fnmatchcase(one, name))
        if not matching:
            raise _no_match(name, known, [one for one in known if fnmatchcase(one, name)])
        found |= dict.fromkeys(matching)
    return list(found)


def is_glob(name: str) -> bool:
    """Tell whether a name is a pattern: it has ``*``, ``?`` or ``[``."""
    return any(sign in name for sign in "*?[")


def known_size(manifest: Manifest) -> tuple[int, int]:
    """Return the bytes of all files of which the manifest tells them, and the number of others.

    Estimates count: what is only estimated to be large should not surprise a small disk.
    """
    sizes = [entry.roughly for entry in manifest.files]
    return sum(size or 0 for size in sizes), sizes.count(None)


def parse_size(text: str) -> int:
    """Return bytes: ``50GB``, ``1.5 TB``, ``700MiB``, or a plain number; `UsageError` otherwise."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) *([A-Za-z]*)", text.strip())
    unit = UNITS.get(match[2].upper()) if match else None
    if match is None or unit is None:
        raise UsageError(
            f"size '{text}': expected a number and B, KB, MB, GB or TB (KiB ... for 1024), as in "
            "50GB; nothing was done."
        )
    return int(float(match[1]) * unit)


def _base(
    selection: Selection, catalogue: Catalogue, here: Callable[[], Collection[str]] | None
) -> list[str]:
    given = [bool(selection.names), selection.everything, selection.stream is not None]
    if sum(given) > 1 or (here is None and not any(given)):
        got = "several of these" if any(given) else "none of these"
        raise UsageError(
            f"expected names of datasets or --all or --stream, got {got}; nothing was done."
        )
    if selection.everything:
        return catalogue.datasets()
    if selection.stream is not None:
        names = list(dict.fromkeys(i.dataset for i in catalogue.stream(selection.stream).datasets))
        for name in names:
            catalogue.path(name)
        return names
    names = named(selection.names)
    if not names:
        return sorted(here()) if here else []
    globs = any(map(is_glob, names))
    matched = here() if here and globs else catalogue.datasets()
    return expand(names, {*catalogue.datasets(), *(here() if here else ())}, matched)


def _judge(
    name: str, catalogue: Catalogue, limit: int | None, access: Sequence[str], selected: Selected
) -> None:
    """Keep a dataset or leave it out, by what its manifest says."""
    from rich.filesize import decimal

    try:
        manifest = catalogue.dataset(name)
    except (ManifestError, UnknownName):  # the command itself tells what is wrong
        selected.names.append(name)
        return
    size, others = known_size(manifest)
    if access and manifest.access not in access:
        selected.leave_out("--access", name, manifest.access)
    elif limit is not None and size > limit:
        selected.leave_out("--max-size", name, ("more than " if others else "") + decimal(size))
    else:
        selected.names.append(name)
        if limit is not None and others:
            selected.unsized.append(name)


def listed(texts: Iterable[str]) -> list[str]:
    """Return names that are repeated, separated by commas, or both."""
    return [part.strip() for text in texts for part in text.split(",") if part.strip()]


def named(texts: Sequence[str]) -> list[str]:
    """Return names as `listed` does; `UsageError` if texts are given and no name is in them.

    They do not stand for all datasets.
    """
    names = listed(texts)
    if texts and not names:
        raise UsageError(
            f"expected names of datasets, got '{' '.join(texts)}'; nothing was done. Name some, or "
            "leave it out for all that are here."
        )
    return names


def _no_match(pattern: str, known: Collection[str], elsewhere: Sequence[str]) -> UnknownName:
    if elsewhere:
        return UnknownName(
            f"no dataset that is here matches '{pattern}', only "
            f"{some_of(sorted(elsewhere), NAMED)}; nothing was done. Run `autods fetch "
            f"'{pattern}'` first."
        )
    near = str(unknown("dataset", re.sub(r"[*?]|\[.*?\]", "", pattern), known)).partition("; ")[2]
    stop = "" if near.endswith(("?", "...")) else "."
    return UnknownName(f"no dataset matches '{pattern}'; {near}{stop} Nothing was done.")


def _nothing_left(left_out: dict[str, list[str]], limit: int | None) -> UsageError:
    """Build the error; a size without a unit is in bytes, which is seldom meant."""
    small = f" of {limit} bytes" if limit is not None and limit < 1000 else ""
    count = sum(map(len, left_out.values()))
    said = "; ".join(
        f"{option}{small if option == '--max-size' else ''} leaves out {some_of(names, NAMED)}"
        for option, names in left_out.items()
    )
    noun = "the dataset" if count == 1 else f"{count} datasets"
    return UsageError(f"nothing is left of {noun}: {said}. Nothing was done. Widen these options.")
