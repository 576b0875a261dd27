"""The command ``bmc-stream methods``: what there is, and all about one method."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from autods.cli.common import Json
from autods.core.console import print_json, print_next, print_table
from autods.core.output import tell
from bmc.cli import complete
from bmc.config import Config, expected

if TYPE_CHECKING:
    from bmc.methods import Method


def methods(
    name: Annotated[
        str | None,
        typer.Argument(help="Show all about this method.", autocompletion=complete.methods),
    ] = None,
    json: Json = False,
) -> None:
    """List the methods, or show a method's equation, source and options."""
    from bmc.methods import METHODS

    if name is not None:
        described = describe(METHODS.get(name))
        if json:
            print_json(described)
            return
        _print(described)
        print_next(f"bmc-stream run --scenario class-il --method {name}")
        return
    rows = [
        {"name": key, "title": METHODS.get(key).title, "what it does": summary(METHODS.get(key))}
        for key in METHODS.names()
    ]
    if json:
        print_json(rows)
        return
    print_table("Methods", rows)
    print_next("bmc-stream methods NAME", "bmc-stream run --scenario class-il --method NAME,..")


def summary(method: type[Method]) -> str:
    """Return the first line of what a method says of itself."""
    return (method.__doc__ or "").strip().partition("\n")[0]


def describe(method: type[Method]) -> dict[str, Any]:
    """Return all about a method, as plain values."""
    kinds = get_type_hints(method.Options)
    return {
        "name": method.name,
        "title": method.title,
        "what it does": summary(method),
        "equation": inspect.cleandoc(method.equation),
        "source": method.source,
        "options": [
            {
                "name": f.name,
                "default": f.default,
                "expected": expected(kinds[f.name], f.metadata),
                "help": f.metadata["help"],
            }
            for f in fields(method.Options)
        ],
        "shared": [field for field in Config.names() if method.reads(field)],
    }


def _print(described: dict[str, Any]) -> None:
    from textwrap import fill, indent

    name = described["name"]
    print(fill(f"{described['title']} ({name}): {described['what it does']}", 79))
    if described["equation"]:
        tell(f"\n{indent(described['equation'], '  ')}")
    if described["source"]:
        print("\n" + fill(f"Source: {described['source']}.", 79))
    if described["options"]:
        asked = f"Options, as -o {name}.OPTION=VALUE or in the section {name} of --config:"
        print("\n" + fill(asked, 79, break_on_hyphens=False))
    for one in described["options"]:
        print(f"  {one['name']} ({one['expected']}; default {one['default']})")
        print(fill(one["help"], 79, initial_indent="      ", subsequent_indent="      "))
    shared = ", ".join(field.replace("_", "-") for field in described["shared"])
    print("\n" + fill(f"Shared options that it reads: {shared}.", 79, break_on_hyphens=False))
