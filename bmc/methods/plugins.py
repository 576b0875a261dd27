"""Methods of other packages, found by the entry point group ``bmc.methods``.

A package names them in its ``pyproject.toml``, see ``docs/own_method.md``. They are looked for
when the registry is first asked, so that ``--help`` imports none of them.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Sequence
from dataclasses import fields
from importlib.metadata import EntryPoint, entry_points
from itertools import groupby
from typing import Any, TypeVar

from autods.core.output import tell
from autods.core.registry import Registry
from autods.errors import UsageError
from bmc.config import Config, OptionSet

GROUP = "bmc.methods"

T = TypeVar("T")


class PluginRegistry(Registry[type[T]]):
    """A registry of classes that other packages can add to.

    Each derives from ``base`` and defines what is ``needed``, which ``base`` only declares.
    """

    def __init__(self, kind: str, base: type[T], needed: Sequence[str]) -> None:
        super().__init__(kind)
        self.base = base
        self.needed = needed
        self._refused: dict[str, str] = {}
        self._searched = False

    def get(self, name: str) -> type[T]:
        """Return a class by name; `UsageError` says why one of another package is unusable."""
        self._search()
        if not isinstance(name, str) or name.endswith(".py") or ":" in name:
            shown = f"the class {name.__name__}" if isinstance(name, type) else f"'{name}'"
            raise UsageError(
                f"expected the name of a {self.kind}, got {shown}; nothing was run. An installed "
                f"package offers your own class by a name, in the entry point group {GROUP}: see "
                "docs/own_method.md."
            )
        if name not in self._items and name in self._refused:
            raise UsageError(f"{self._refused[name]}; nothing was run.")
        return super().get(name)

    def names(self, pattern: str = "*") -> list[str]:
        """List the names that match a glob pattern, those of other packages too, sorted."""
        self._search()
        return super().names(pattern)

    def _search(self) -> None:
        """Enter the classes of other packages, once; warn of each that cannot be used."""
        if self._searched:
            return
        self._searched = True  # first: what is imported here may ask for names
        built_in = dict(self._items)
        offers = sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, _origin(entry)))
        for name, entries in groupby(offers, key=lambda entry: entry.name):
            if problem := self._enter(name, list(entries), built_in):
                self._refused[name] = problem
                if multiprocessing.parent_process() is None:  # told once, not by every worker
                    tell(f"warning: {problem}; left out.", sys.stderr)

    def _enter(self, name: str, entries: list[EntryPoint], built_in: dict[str, type[T]]) -> str:
        """Enter one class; return why it cannot be used, ``""`` if it can."""
        origins = [_origin(entry) for entry in entries]
        if name in built_in:
            origins.insert(0, f"{built_in[name].__module__}:{built_in[name].__qualname__}")
        if len(origins) > 1:
            return f"{self.kind} '{name}' is named twice: by {' and by '.join(origins)}"
        try:
            item = entries[0].load()
        except (Exception, SystemExit) as error:
            cause = " ".join(f"{type(error).__name__}: {error}".split())
            return f"{self.kind} '{name}' of {origins[0]} cannot be imported: {cause}"
        if problem := self._unusable(name, item):
            return f"{self.kind} '{name}' of {origins[0]} cannot be used: {problem}"
        self._items[name] = item
        return ""

    def _unusable(self, name: str, item: Any) -> str:
        """Say what is wrong with a class that was imported, ``""`` if nothing is."""
        if not (isinstance(item, type) and issubclass(item, self.base)):
            return f"expected a subclass of {self.base.__name__}, got {item!r:.80}"
        method: Any = item
        missing = [
            f"'{key}'"
            for key in self.needed
            if getattr(method, key, None) is getattr(self.base, key, None)
        ]
        if missing:
            return f"expected its class to define {', '.join(missing)}"
        if method.name != name:
            return f"expected name = '{name}' in its class, got '{method.name}'"
        titles = {getattr(known, "title", ""): other for other, known in self._items.items()}
        if other := titles.get(method.title):
            return f"expected a title of its own, got '{method.title}', that of '{other}'"
        return _wrong_options(method.Options)


def _wrong_options(options: type[OptionSet]) -> str:
    """Say what is wrong with the dataclass of a method's options, ``""`` if nothing is."""
    if not issubclass(options, OptionSet):
        return "expected its Options to derive from its base's: class Options(Method.Options)"
    if "__dataclass_params__" not in vars(options):
        return "expected its Options to be a dataclass, decorated with @dataclass(frozen=True)"
    if undeclared := {f.name for f in fields(options)} - set(options.names()):
        return f"expected its options to be declared by option(...), not {sorted(undeclared)}"
    if taken := set(options.names()) & set(Config.names()):
        return f"expected options of other names than those that methods share, {sorted(taken)}"
    return ""


def _origin(entry: EntryPoint) -> str:
    """Say where an entry point is from: its object, and the package that names it."""
    package = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown package"
    return f"{entry.value} ({package})"
