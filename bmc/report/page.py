"""The HTML page: gathers what it shows from the runs, and fills the template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from autods.files import atomic
from bmc.report import by_task, cost, figures, tables
from bmc.report.groups import Group, group
from bmc.report.results import Run, load_runs

WIDE, NARROW = 570, 380  # pixel widths of the learning curves: beside each other, on a phone
WHOLE = 1150  # pixel width of a figure that has the page to itself
MOST = 12  # rows whose curves and tasks are drawn; a sweep has many more


class Line(NamedTuple):
    """One setting: ``values`` holds (whose, value), or one value under "" if all agree."""

    key: str
    values: list[tuple[str, str]]


def build_report(run_dirs: Sequence[Path], out: Path) -> Path:
    """Write one HTML page about finished runs; it needs no other file and no network.

    Runs of the same method and configuration are repeats: the page shows their mean and
    standard deviation. The same runs give the same bytes, in whatever order they are named.

    Parameters
    ----------
    run_dirs
        Run folders, each with ``results.json`` and ``timing.json``, all on one stream.
    out
        The file to write.

    Returns
    -------
    Path
        ``out``.

    Raises
    ------
    UsageError
        When a folder holds no finished run, or the runs cannot be compared.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    runs = load_runs(run_dirs)
    environment = Environment(
        loader=PackageLoader("bmc.report", "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    page = environment.get_template("page.html.jinja").render(**_content(group(runs)))
    with atomic(out) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")
    return out


def _content(groups: Sequence[Group]) -> dict[str, Any]:
    """Gather everything the template names."""
    first = groups[0].first
    scenario = first.scenario
    runs = [run for g in groups for run in g.runs]
    shown = [*[g for g in groups if not g.reference][:MOST], *(g for g in groups if g.reference)]
    fitting = all(len(g.short) <= figures.CURVE_NAME for g in shown)
    named = [(_run_name(g, run), run) for g in shown for run in g.runs]
    return {
        "groups": groups,
        "shown": shown,
        "curves_named": fitting,
        "methods": len({run.method for run in runs}),
        "first": first,
        "scenario": scenario,
        "scenario_title": figures.SCENARIOS.get(scenario, scenario).capitalize(),
        "classes": sum(task.classes for task in first.tasks),
        "train": sum(task.train for task in first.tasks),
        "test": sum(task.test for task in first.tasks),
        "same_tasks": len({frozenset(task.name for task in run.tasks) for run in runs}) == 1,
        "runs": runs,
        "orders": list({run.order: run for run in runs}.values()),
        "verdict": _verdict(groups, scenario),
        "repeats": tables.repeats(groups),
        "short": _table(groups, tables.short_columns()),
        "full": _table(groups, tables.COLUMNS),
        "name": tables.name,
        "swatch": figures.swatch,
        "curves": [
            (figures.SCENARIOS[s], [figures.learning_curves(shown, s, WIDE, fitting),
                                    figures.learning_curves(shown, s, NARROW, False)])
            for s in figures.SCENARIOS if s in first.R
        ],
        "mistakes": figures.mistakes(groups),
        "pareto": [cost.pareto(groups, WHOLE, "wide"), cost.pareto(groups, NARROW, "narrow")],
        "cost_accuracy": cost.cost_accuracy(groups),
        "times": figures.times(groups),
        "relative": any(run.costs.relative_time is not None for run in runs),
        "method_rows": [
            (g, by_task.heat_map(g, scenario), by_task.final_accuracy(g),
             by_task.forgetting(g, scenario))
            for g in shown
        ],
        "task_table": _task_table(shown, scenario),
        "csv": [(label, _csv_links(run)) for label, run in named],
        "results_csv": _data_link(tables.results_csv(runs)),
        "config": compare([(g.label, g.first.config) for g in groups]),
        "provenance": compare([(label, run.provenance) for label, run in named]),
        "versions": compare([(label, run.versions) for label, run in named]),
    }  # fmt: skip


def _run_name(g: Group, run: Run) -> str:
    return f"{g.label}, {run.order}, run seed {run.run_seed} ({run.folder})"


def _verdict(groups: Sequence[Group], scenario: str) -> dict[str, Any]:
    """Say who won, who came second, and what the references reached."""
    column = next(c for c in tables.COLUMNS if c.key == f"{scenario.replace('-', '_')}_final_mean")
    scored = [
        (g, column.text(stat, "\N{NO-BREAK SPACE}"))
        for g in groups
        if (stat := g.metric(scenario, "final_mean"))
    ]
    ranked = [entry for entry in scored if not entry[0].reference]
    return {
        "ranked": ranked,
        "references": [entry for entry in scored if entry[0].reference],
    }


def _table(groups: Sequence[Group], columns: Sequence[tables.Column]) -> dict[str, Any]:
    """Lay a results table out by rows; columns that no run knows are left out."""
    shown = [c for c in columns if any(c.value(g) for g in groups)]
    by_column = [tables.cells(groups, c) for c in shown]
    return {
        "columns": shown,
        "rows": list(zip(groups, zip(*by_column, strict=True), strict=True)),
    }


def _task_table(groups: Sequence[Group], scenario: str) -> list[dict[str, Any]]:
    """Per task of the first order: final class-il and task-il accuracy and forgetting."""
    per_group = [
        (g.by_task("final", "class-il"), g.by_task("final", "task-il"),
         g.by_task("forgetting", scenario))
        for g in groups
    ]  # fmt: skip

    def shown(values: dict[str, float], name: str) -> str:
        return f"{values[name] * 100:.1f}" if name in values else tables.MISSING

    return [
        {
            "task": task,
            "cells": [tuple(shown(v, task.name) for v in values) for values in per_group],
        }
        for task in groups[0].first.tasks
    ]


def _data_link(content: str) -> str:
    return "data:text/csv;charset=utf-8," + quote(content, safe=",.-_~")


def _csv_links(run: Run) -> list[tuple[str, str, str]]:
    """Return (scenario, file name, address) of each accuracy matrix of a run."""
    return [
        (scenario, f"R-{run.folder}-{scenario}.csv", _data_link(tables.matrix_csv(run, scenario)))
        for scenario in run.R
    ]


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
        values = [(name, flat.get(key, tables.MISSING)) for name, flat in flats]
        agree = len({value for _, value in values}) == 1
        lines.append(Line(key, [("", values[0][1])] if agree else values))
    return lines
