"""What the runs were made with, side by side: settings, features, versions, date, commands."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple

from bmc.report.columns import MISSING
from bmc.report.finished import Run
from bmc.report.groups import Group

STUDIES = ("compare", "sweep", "tune", "reproduce")  # each leaves COMMAND.yaml beside its runs


class Line(NamedTuple):
    """One setting: ``values`` holds (whose, value), or one value under "" if all agree."""

    key: str
    values: list[tuple[str, str]]


class Setting(NamedTuple):
    """One setting of all groups: (value, whether it is another than most have) for each."""

    key: str
    differs: bool
    values: list[tuple[str, bool]]


def side_by_side(groups: Sequence[Group]) -> list[Setting]:
    """Return every setting of the groups, a value for each; options have the method's name."""
    flats = []
    for g in groups:
        config = dict(g.first.config)
        options = config.pop("options", None) or {}
        flats.append(flatten({**config, **options}))
    lines = []
    for key in sorted({key for flat in flats for key in flat}):
        values = [flat.get(key, "") for flat in flats]
        known = Counter(value for value in values if value)
        usual = known.most_common(1)[0][0]
        lines.append(Setting(key, len(known) > 1, [(v, v not in ("", usual)) for v in values]))
    return lines


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Write a nested mapping as dotted keys and plain text values."""
    flat: dict[str, str] = {}
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            flat.update(flatten(item, f"{prefix}{key}."))
        elif isinstance(item, list | tuple):
            flat[f"{prefix}{key}"] = ", ".join(map(str, item))
        else:
            flat[f"{prefix}{key}"] = str(item)
    return flat


def compare(named: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Line]:
    """Set settings side by side: one value where all agree, else one for each name."""
    flats = [(name, flatten(value)) for name, value in named]
    lines = []
    for key in sorted({key for _, flat in flats for key in flat}):
        values = [(name, flat.get(key, MISSING)) for name, flat in flats]
        agree = len({value for _, value in values}) == 1
        lines.append(Line(key, [("", values[0][1])] if agree else values))
    return lines


def provenance_of(named: Sequence[tuple[str, Run]]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the provenance of each order once, where all runs of an order share it."""
    orders: dict[str, Mapping[str, Any]] = {}
    if all(orders.setdefault(run.order, run.provenance) == run.provenance for _, run in named):
        return list(orders.items())
    return [(label, run.provenance) for label, run in named]


def finished(runs: Sequence[Run]) -> str:
    """Say on which days the runs ended, in UTC; empty if nobody knows."""
    days = sorted({run.finished.date().isoformat() for run in runs if run.finished})
    if len(days) < 2:
        return "".join(days)
    return f"{days[0]} to {days[-1]}"


def commands(runs: Sequence[Run]) -> list[str]:
    """Return the commands that repeat the runs, then the one that makes this page of them.

    A study repeats all of its runs at once. Folders are named from the one that holds them all,
    so that a page that is passed on does not tell where it was made.
    """
    paths = sorted(run.path for run in runs if run.path)
    if not paths:
        return []
    above = Path(os.path.commonpath([path.parent for path in paths])).parent
    lines: dict[str, None] = {}
    for path in paths:
        if (path / "run.yaml").is_file():
            lines[_command("run", "--config", path / "run.yaml", above)] = None
        for study in STUDIES:
            if (path.parent / f"{study}.yaml").is_file():
                lines[_command(study, "--config", path.parent / f"{study}.yaml", above)] = None
    named = dict.fromkeys(_folder(path, set(paths)) for path in paths)
    folders = " ".join(shlex.quote(str(path.relative_to(above))) for path in named)
    return [*lines, f"bmc-stream report {folders}"]


def _folder(run: Path, all_runs: Set[Path]) -> Path:
    """Return what names a run to the report: its parent, if that holds no run but these."""
    beside = {path.parent for path in run.parent.glob("*/results.json")}
    return run.parent if beside <= all_runs else run


def _command(name: str, option: str, file: Path, above: Path) -> str:
    return f"bmc-stream {name} {option} {shlex.quote(str(file.relative_to(above)))}"
