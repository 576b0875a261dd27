"""The command ``bmc-stream runs``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autods.core.console import print_json, print_table
from autods.errors import UsageError


def runs(
    folder: Annotated[Path, typer.Argument(help="Folder to search.")] = Path("runs"),
    json: Annotated[bool, typer.Option(help="Print the runs as JSON.")] = False,
) -> None:
    """List the runs below a folder: state, accuracy, date, and the settings that differ."""
    from bmc.runs.listing import differing, list_runs

    found = list_runs(folder)
    if not found and not json:
        raise UsageError(f"no runs below {folder}. Start one with `bmc-stream run`.")
    names = differing(found)
    settings = [{k: run.settings[k] for k in names if k in run.settings} for run in found]
    if json:
        print_json(
            [
                {
                    "run": str(run.path),
                    "state": run.state,
                    "accuracy": run.accuracy,
                    "date": run.date.isoformat(timespec="seconds"),
                    "settings": values,
                }
                for run, values in zip(found, settings, strict=True)
            ]
        )
        return
    rows = [
        {
            "run": str(run.path),
            "state": run.state,
            "accuracy %": "" if run.accuracy is None else f"{100 * run.accuracy:.1f}",
            "date": run.date.strftime("%Y-%m-%d %H:%M"),
            **{name: _text(values.get(name, "")) for name in names},
        }
        for run, values in zip(found, settings, strict=True)
    ]
    print_table(f"{len(rows)} runs below {folder}", rows)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
