"""Runs below a folder, as ``bmc-stream runs`` lists them: how far they are, what differs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from autods.core.files import read_json
from bmc.runs.folder import RunFolder

NAMED = frozenset({"seed", "format", "method"})  # what the name of a run's folder says already


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


def list_runs(folder: Path) -> list[ListedRun]:
    """Return the runs below a folder, by path."""
    found = sorted(path.parent for path in folder.rglob("config.json"))
    return [_listed(path, folder) for path in found]


def differing(runs: Sequence[ListedRun]) -> list[str]:
    """Return the settings in which runs differ, of those that have them."""
    values: dict[str, set[str]] = {}
    for run in runs:
        for name, value in run.settings.items():
            values.setdefault(name, set()).add(json.dumps(value, sort_keys=True))
    return [name for name, known in values.items() if len(known) > 1 and name not in NAMED]


def _listed(path: Path, folder: Path) -> ListedRun:
    run = RunFolder(path)
    state, accuracy, settings = run.status, None, {}
    try:
        settings = _settings(read_json(path / "config.json"))
        if state == "finished":
            metrics = read_json(run.results)["metrics"]
            accuracy = metrics[settings["scenario"]]["final_mean"]
    except (AttributeError, KeyError, TypeError, ValueError):
        state = "damaged"
    written = (run.results, run.checkpoint, path / "config.json")
    newest = next(file for file in written if file.exists())
    date = datetime.fromtimestamp(newest.stat().st_mtime).astimezone()
    return ListedRun(path.relative_to(folder), state, accuracy, date, settings)


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
