"""What a reproduction gave: ours beside the published figures, and what is not as published."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bmc.report.columns import COLUMNS, MISSING, REFERENCE_NOTE, Column, name
from bmc.report.groups import Group, Stat, group
from bmc.report.load import Run
from bmc.studies.published import METHODS, NO_FIGURES, SHARED, Experiment, Figures, differences

if TYPE_CHECKING:
    from rich.table import Table

DASH = "-"  # no figure is published
# What is published, with the column that is ours.
PUBLISHED = {
    "class_il": "class_il_final_mean",
    "cost_accuracy": "cost_accuracy",
    "relative_time": "relative_time",
}
HEADS = {"class_il": "class-il", "cost_accuracy": "cost\naccuracy", "relative_time": "rel.\ntime"}


def _column(key: str) -> Column:
    return next(column for column in COLUMNS if column.key == key)


def _figures(experiment: Experiment, g: Group) -> Figures:
    return experiment.figures.get(g.first.method, NO_FIGURES)


def reproduce_rows(experiment: Experiment, runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return one row for each method, best first: ours (mean and deviation over seeds), published.

    Fractions and, for cost accuracy, per cent per MB (ours) or as published; ``None``: unknown.
    """
    rows = []
    for g in group(runs):
        row: dict[str, Any] = {"method": g.first.method, "label": g.label, "runs": len(g.runs)}
        for field, key in PUBLISHED.items():
            stat = _column(key).value(g)
            row[f"{field}_mean"] = stat.mean if stat else None
            row[f"{field}_sd"] = stat.sd if stat else None
            row[f"{field}_published"] = getattr(_figures(experiment, g), field)
        for key in ("task_il_final_mean", "memory_bytes", "communication_bytes"):
            stat = _column(key).value(g)
            row[key] = stat.mean if stat else None
        rows.append(row)
    return rows


def reproduce_csv(experiment: Experiment, runs: Sequence[Run]) -> str:
    """Return `reproduce_rows` as CSV; empty where unknown."""
    rows = reproduce_rows(experiment, runs)
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


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
        "rows": reproduce_rows(experiment, runs),
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
        told = "; ".join(_told(method, f) for method, f in experiment.figures.items())
        notes.append(f"Published figures: {told}. Our sources give no others.")
    else:
        notes.append(f"Our sources give no published figures for {experiment.title}.")
    return notes + differences(sorted({run.method for run in runs}))


def _told(method: str, figures: Figures) -> str:
    """Say what is published of a method."""
    said = {
        "class-il {} %": None if figures.class_il is None else f"{100 * figures.class_il:.1f}",
        "cost accuracy {}": figures.cost_accuracy,
        "relative time {} %": None
        if figures.relative_time is None
        else f"{100 * figures.relative_time:.0f}",
    }
    return f"{method} " + ", ".join(k.format(v) for k, v in said.items() if v is not None)


def reproduce_table(experiment: Experiment, runs: Sequence[Run]) -> Table:
    """Return the table for the terminal, readable at 100 columns without colour."""
    from rich.table import Table
    from rich.text import Text

    groups = group(runs)
    notes = [f"({k}) {note}" for k, note in enumerate(reproduce_notes(experiment, runs), start=1)]
    seeds = len({run.run_seed for run in runs})
    lead = [f"mean ± standard deviation of {seeds} run seeds"] if seeds > 1 else []
    lead += [REFERENCE_NOTE] if any(g.reference for g in groups) else []
    table = Table(
        title=Text(f"{experiment.title}: ours beside the published figures"),
        title_justify="left", box=None, pad_edge=False, padding=(0, 1, 0, 0),
        header_style="bold", caption=Text("\n".join([*lead, *notes])), caption_justify="left",
    )  # fmt: skip
    table.add_column("method", overflow="fold", min_width=12, vertical="bottom")
    for field, key in PUBLISHED.items():
        sign = _column(key).unit.sign
        for head in (f"{HEADS[field]}\n{sign}", "pub-\nlished"):
            table.add_column(head, justify="right", no_wrap=True, vertical="bottom")
    table.add_column("task-il\n%", justify="right", no_wrap=True, vertical="bottom")
    for g in groups:
        cells = [text for field in PUBLISHED for text in _pair(experiment, g, field)]
        table.add_row(Text(name(g)), *cells, _text(_column("task_il_final_mean"), g))
    return table


def _pair(experiment: Experiment, g: Group, field: str) -> tuple[str, str]:
    """Return ours and the published figure as text, in one unit."""
    column, figure = _column(PUBLISHED[field]), getattr(_figures(experiment, g), field)
    return _text(column, g), DASH if figure is None else column.text(Stat(figure, None, 1))


def _text(column: Column, g: Group) -> str:
    stat = column.value(g)
    return MISSING if stat is None else column.text(stat, "")
