"""How a package offers its public names: loaded when asked for, so that importing it stays fast."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any


def lazy_names(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the ``__getattr__`` and ``__dir__`` of a package (PEP 562).

    ``homes`` maps a public name to its module; a public module to itself.
    """

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        home = import_module(homes[name])
        value = home if homes[name] == f"{package}.{name}" else getattr(home, name)
        setattr(sys.modules[package], name, value)
        return value

    return load, lambda: sorted(["__version__", *homes])


def make_callable(room: str, home: str) -> None:
    """Let a package be called like the function of the same name in the module ``home``.

    ``autods.fetch`` is a package and a verb: ``autods.fetch("flowers")`` calls the verb, and
    ``autods.fetch.many`` is a module as ever.
    """

    class Room(ModuleType):
        def __call__(self, *arguments: Any, **options: Any) -> Any:
            return self.__wrapped__(*arguments, **options)

        @property
        def __wrapped__(self) -> Callable[..., Any]:  # where `inspect` finds the signature
            function: Callable[..., Any] = getattr(import_module(home), room.rpartition(".")[2])
            return function

    sys.modules[room].__class__ = Room
