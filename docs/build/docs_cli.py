"""The reference of both command lines, from the commands themselves.

To read one without the site: python docs/build/docs_cli.py autods
"""

from __future__ import annotations

import html
import sys
from collections.abc import Iterator
from typing import Any

from typer.main import get_command

HELP = ("help", "help_all")
RARE = "Rarely used, shown by `--help-all`"
HEAD = "| option | value | default | what it does |\n|---|---|---|---|"


def commands(program: str) -> Any:
    """Return the group of a program's commands."""
    if program == "autods":
        from autods.cli.app import app
    else:
        from bmc.cli.app import app
    return get_command(app)


def command_page(program: str) -> str:
    """Return the page of one program: every command with its arguments and options."""
    group = commands(program)
    parts = [
        f"# {program}",
        str(group.help),
        f"`{program} COMMAND --help` prints the same. Exit codes: 0, everything asked for was "
        "done; 2, wrong usage; 1, anything else; 130, interrupted; 143 and 129, ended by SIGTERM "
        "and SIGHUP. `AUTODS_ROOT` stands for `--root`, `AUTODS_MANIFESTS` for `--manifests`.",
    ]
    for name, command in _leaves(group, program):
        parts += [f"## {name}", *_described(name, command)]
    return "\n\n".join(parts) + "\n"


def _leaves(group: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if command.hidden:
            continue
        if hasattr(command, "commands"):
            yield from _leaves(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def _described(name: str, command: Any) -> Iterator[str]:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    usage = [p.name.upper() + ("..." if p.nargs == -1 else "") for p in arguments]
    usage = [text if p.required else f"[{text}]" for p, text in zip(arguments, usage, strict=True)]
    yield " ".join(command.help.split())
    yield f"```text\n{' '.join([name, *usage, '[OPTIONS]'])}\n```"
    said = [f"- `{p.name.upper()}`: {p.help}" for p in arguments if p.help]
    if said:
        yield "\n".join(said)
    panels: dict[str, list[str]] = {}
    for option in sorted(command.params, key=lambda param: getattr(param, "hidden", False)):
        if option.param_type_name == "option" and option.name not in HELP and option.help:
            panel = RARE if option.hidden else option.rich_help_panel or "Options"
            panels.setdefault(panel, []).append(_row(option))
    for panel, rows in panels.items():
        yield f"**{panel}**\n\n{HEAD}\n" + "\n".join(rows)


def _row(option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    value = "" if option.is_flag else f"`{option.metavar or _kind(option)}`"
    default = option.default
    if option.required:
        shown = "required"
    elif default is None or default is False or callable(default) or default in ("", (), []):
        shown = ""
    else:
        shown = f"`{'yes' if default is True else default}`"
    return f"| {names} | {value} | {shown} | {_plain(option.help)} |"


def _plain(text: str | None) -> str:
    """Return text of a help as Markdown in which nothing has a meaning in tables or HTML."""
    return html.escape(text or "", quote=False).replace("|", r"\|").replace("*", r"\*")


def _kind(option: Any) -> str:
    """Return what a value is in one word, with its limits."""
    annotation = option.type_descriptor.annotation
    inner = getattr(annotation, "__args__", (annotation,))[0]
    low, high = option.min, option.max
    limits = f" {low}-{high}" if high is not None else f" >= {low}" if low is not None else ""
    return getattr(inner, "__name__", str(inner)).lower().replace("str", "text") + limits


if __name__ == "__main__":
    if sys.argv[1:] not in (["autods"], ["bmc-stream"]):
        sys.exit("usage: python docs/build/docs_cli.py autods|bmc-stream")
    print(command_page(sys.argv[1]), end="")
