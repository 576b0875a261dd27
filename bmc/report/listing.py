"""Runs below a folder, as ``bmc-stream runs`` lists them: how far they are, what differs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from autods.core.files import read_json
from autods.errors import AutodsError
from bmc.report.damaged import check_run
from bmc.runs.folder import CONFIG, DIVERGED, RunFolder
from bmc.runs.samples import SAMPLES

NAMED = frozenset({"seed", "format", "method"})  # what the name of a run's folder says already
# by any of these files a folder is one of a run
FILES = frozenset({CONFIG, DIVERGED, SAMPLES, "checkpoint.safetensors", "results.json"})


@dataclass(frozen=True)
class ListedRun:
    """One run; ``accuracy`` is its final mean in its own scenario, a fraction, if known.

    ``settings`` are all that was chosen for it, options of a method as ``METHOD.OPTION``.
    """

    path: Path  # below the folder that was searched
    state: str  # "finished", "diverged", "begun", or "damaged": not what this program wrote
    accuracy: float | None
    date: datetime  # when it was last written
    settings: Mapping[str, Any]
    problem: str = ""  # what is wrong with a damaged one, and what to do


def list_runs(folder: Path) -> list[ListedRun]:
    """Return the runs below a folder, by path; a folder that holds nothing is a damaged one."""
    return [_listed(path, folder) for path in sorted(_folders(folder))]


def differing(runs: Sequence[ListedRun]) -> list[str]:
    """Return the settings in which runs differ, of those that have them."""
    values: dict[str, set[str]] = {}
    for run in runs:
        for name, value in run.settings.items():
            values.setdefault(name, set()).add(json.dumps(value, sort_keys=True))
    return [name for name, known in values.items() if len(known) > 1 and name not in NAMED]


def _folders(folder: Path) -> Iterator[Path]:
    """Yield the folders of runs, and the empty ones beside them."""
    runs: set[Path] = set()
    empty: list[Path] = []
    for name, folders, files in os.walk(folder):
        path = Path(name)
        if FILES.intersection(files):
            runs.add(path)
        elif not folders and not files and path != folder:
            empty.append(path)
    yield from runs
    beside = {path.parent for path in runs}
    yield from (path for path in empty if path.parent in beside and path.parent not in runs)


def _listed(path: Path, folder: Path) -> ListedRun:
    run, away = RunFolder(path), f"Move {path} away, then run the method again."
    state, accuracy, settings, problem = run.status, None, {}, ""
    try:
        settings = _settings(read_json(path / CONFIG))
        if state == "finished":
            found = check_run(path)
            accuracy = found.metrics[found.scenario]["final_mean"]
        elif state == "diverged":
            run.divergence()
        else:
            _check_checkpoint(run.checkpoint)
    except FileNotFoundError:
        problem = "it is empty: no run was begun, or its files are gone. Remove it."
        if any(path.iterdir()):
            problem = f"{CONFIG} is missing, so nothing says which run this is. {away}"
    except _Unreadable as error:
        problem = f"{error} {away}"
    except AutodsError as error:
        problem = str(error)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        why = str(error).partition("\n")[0] if isinstance(error, ValueError) else "fields lack"
        problem = f"{CONFIG} is not what this program wrote ({why}). {away}"
    written = (run.results, run.checkpoint, path / CONFIG)
    newest = next((file for file in written if file.exists()), path)
    date = datetime.fromtimestamp(newest.stat().st_mtime).astimezone()
    shown = path.relative_to(folder)
    return ListedRun(shown, "damaged" if problem else state, accuracy, date, settings, problem)


class _Unreadable(Exception):
    """A checkpoint is none."""


def _check_checkpoint(path: Path) -> None:
    """Look at the header of the checkpoint of a run that was begun, if it has one yet."""
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return
    try:
        with safe_open(path, framework="np") as file:
            json.loads((file.metadata() or {})["state"])
    except (SafetensorError, OSError, KeyError, ValueError):
        raise _Unreadable(f"{path.name} is not what this program wrote.") from None


def _settings(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten what ``config.json`` holds; the provenance is that of the stream."""
    nested = {"config", "provenance", "versions"}
    config = dict(identity["config"])
    own = {f"{identity['method']}.{k}": v for k, v in config.pop("options", {}).items()}
    plain = {name: value for name, value in identity.items() if name not in nested}
    origin = identity["provenance"]
    stream = {
        "protocol": origin.get("protocol"),
        "encoder": origin.get("encoder_name"),
        "tasks": len(origin.get("order", ())),
    }
    return {**plain, **stream, **config, **own, **identity["versions"]}
