"""What a reproduction gave: ours beside the published figures, and what is not as published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bmc.report.columns import COLUMNS
from bmc.report.groups import group
from bmc.report.load import Run
from bmc.report.table import Shown, Table, results_table
from bmc.studies.published import METHODS, NO_FIGURES, SHARED, Experiment, Figures, differences

DASH = "-"  # no figure is published
PUBLISHED = ("class_il", "cost_accuracy", "relative_time")  # of what there are figures


def reproduce_table(experiment: Experiment, runs: Sequence[Run]) -> Table:
    """Return the table: ours, best first, with the published figures in ``KEY_published``."""
    groups = group(runs)
    figures = [experiment.figures.get(g.first.method, NO_FIGURES) for g in groups]
    published = {key: [getattr(figure, key) for figure in figures] for key in PUBLISHED}
    values = {f"{key}_published": column for key, column in published.items()}
    table = results_table(groups, "reproduce", values=values)
    shown = {}
    for key, ours in table.shown.items():
        shown[key] = ours
        if key in PUBLISHED:
            shown[f"{key}_published"] = _published(key, ours, published[key])
    notes = [*table.notes, *reproduce_notes(experiment, runs)]
    return replace(table, shown=shown, notes=notes)


def _published(key: str, ours: Shown, figures: Sequence[float | None]) -> Shown:
    """Return the column that stands beside ours, in its unit."""
    unit = next(column.unit for column in COLUMNS if column.key == key)
    texts = [DASH if figure is None else unit.text(figure) for figure in figures]
    return replace(
        ours, header=f"published {ours.header}", short="published", texts=texts,
        marks=[""] * len(texts),
    )  # fmt: skip


def reproduce_json(
    experiment: Experiment, runs: Sequence[Run], failed: Mapping[str, str]
) -> dict[str, Any]:
    """Return all that stands in ``reproduce.json``."""
    first = runs[0]
    methods = sorted({run.method for run in runs})
    return {
        "format": 1,
        "experiment": experiment.name,
        "stream": first.stream,
        "scenario": first.scenario,
        "protocol": first.protocol,
        "encoder": first.encoder,
        "tasks": [task.name for task in first.tasks],
        "seeds": sorted({run.run_seed for run in runs}),
        "settings": SHARED,
        "own_settings": {method: METHODS[method] for method in methods},
        "notes": reproduce_notes(experiment, runs),
        "differences": differences(methods),
        "failed": dict(failed),
        "rows": reproduce_table(experiment, runs).records(),
        "device": first.device,
        "versions": first.versions,
    }


def reproduce_notes(experiment: Experiment, runs: Sequence[Run]) -> list[str]:
    """Return what a reader must know of the figures, then what is not as published."""
    first = runs[0]
    notes = []
    if len(first.tasks) < experiment.tasks:
        notes.append(
            f"A trial with the first {len(first.tasks)} of {experiment.tasks} tasks: not the "
            "published experiment."
        )
    if first.encoder != experiment.encoder:
        notes.append(f"Features by {first.encoder}, not by {experiment.encoder}.")
    if experiment.figures:
        figures = "; ".join(_sentence(method, f) for method, f in experiment.figures.items())
        notes.append(f"Published figures: {figures}. Our sources give no others.")
    else:
        notes.append(f"Our sources give no published figures for {experiment.title}.")
    return notes + differences(sorted({run.method for run in runs}))


def _sentence(method: str, figures: Figures) -> str:
    """Say what is published of a method."""
    templates = ("class-il {:.1%}", "cost accuracy {}", "relative time {:.0%}")
    known = [t.format(v) for t, v in zip(templates, figures, strict=True) if v is not None]
    return f"{method} " + ", ".join(known).replace("%", " %")
