"""The command ``bmc-stream runs``."""

from __future__ import annotations

import textwrap
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autods.cli.common import Json
from autods.core.console import print_json, print_next, print_table
from autods.core.tables import terminal_width
from autods.errors import UsageError
from bmc.cli import next_steps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bmc.report.listing import ListedRun


# settings that a table of runs names, also if they are the same in all
SHARED = ("encoder", "protocol", "tasks", "evaluate_on", "epochs", "batch_size", "memory")


def runs(
    folder: Annotated[Path, typer.Argument(help="Folder to search.")] = Path("runs"),
    json: Json = False,
) -> None:
    """List the runs below a folder: accuracy or state, the settings that differ, date."""
    from bmc.report.listing import differing, list_runs

    found = list_runs(folder)
    if json:
        print_json([_record(run, differing(found)) for run in found])
        return
    if not found:
        raise UsageError(
            f"no runs below {folder}. If they are elsewhere, name their folder: `bmc-stream runs "
            "FOLDER`; else start one with `bmc-stream run`."
        )
    for parent, group in groupby(found, key=lambda run: run.path.parent):
        members = list(group)
        noun = "run" if len(members) == 1 else "runs"
        print_table(f"{folder / parent}: {len(members)} {noun}", _rows(members))
        for run in members:
            if run.problem:
                print(textwrap.fill(f"{run.path.name}: {run.problem}", terminal_width()))
        if shared := _shared(members):
            print(textwrap.fill(f"The same for all: {shared}.", terminal_width()))
    print_next(next_steps.report(folder))


def _shared(members: Sequence[ListedRun]) -> str:
    """Return the settings that tell runs from those elsewhere, if all runs here have them."""
    found = {}
    for name in SHARED:
        values = {_text(run.settings[name]) for run in members if name in run.settings}
        if len(values) == 1 and values != {"None"}:
            found[name] = values.pop()
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in found.items())


def _record(run: ListedRun, names: Sequence[str]) -> dict[str, Any]:
    return {
        "run": str(run.path),
        "state": run.state,
        "problem": run.problem or None,
        "accuracy": run.accuracy,
        "date": run.date.isoformat(timespec="seconds"),
        "settings": {name: run.settings[name] for name in names if name in run.settings},
    }


def _rows(members: Sequence[ListedRun]) -> list[dict[str, str]]:
    """Return the rows of one folder; those of unfinished runs say how far they are."""
    from bmc.report.listing import differing

    names = differing(members)
    return [
        {
            "run": run.path.name,
            "accuracy %": run.state if run.accuracy is None else f"{100 * run.accuracy:.1f}",
            **{name.replace("_", " "): _text(run.settings.get(name, "")) for name in names},
            "date": run.date.strftime("%Y-%m-%d %H:%M"),
        }
        for run in members
    ]


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
