"""What a sweep gave: one row for each configuration, over its orders and seeds."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bmc.report.columns import COLUMNS, MISSING, NOTE, REFERENCE_NOTE, Column, cells, name, repeats
from bmc.report.cost import cost_points, pareto_front
from bmc.report.groups import Group, group, varied
from bmc.report.load import Run

if TYPE_CHECKING:
    from rich.table import Table

HEADS = {
    "class_il_final_mean": "class-il\nmean",
    "task_il_final_mean": "task-il\nmean",
    "total_bytes": "total\ncost",
    "cost_accuracy": "cost\naccuracy",
    "relative_time": "relative\ntime",
}
FRONT = "front"
ON_FRONT = "#"
FRONT_NOTE = "# on the Pareto front: none is as accurate at less cost"
KEPT = [*HEADS, "communication_bytes", "memory_bytes", "learning_seconds"]


def _columns(keys: Sequence[str]) -> list[Column]:
    by_key = {column.key: column for column in COLUMNS}
    return [by_key[key] for key in keys]


def _on_front(groups: Sequence[Group]) -> set[str]:
    return {point.group.label for point in pareto_front(cost_points(groups))}


def sweep_rows(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return one row for each configuration, best first.

    A row holds ``method``, ``label``, a value for each field in which runs of one method
    differ, the number of ``runs``, ``front`` (whether it is on the Pareto front of accuracy
    against total cost), and mean and sample deviation of the metrics as stored: fractions,
    bytes, seconds; cost accuracy in per cent per MB. ``None`` where unknown.
    """
    groups, fields = group(runs), varied(runs)
    front = _on_front(groups)
    rows = []
    for g in groups:
        row: dict[str, Any] = {"method": g.first.method, "label": g.label}
        row |= {field: g.first.config.get(field) for field in fields}
        row |= {"runs": len(g.runs), FRONT: g.label in front}
        for column in _columns(KEPT):
            stat = column.value(g)
            row[f"{column.key}_mean"] = stat.mean if stat else None
            row[f"{column.key}_sd"] = stat.sd if stat else None
        rows.append(row)
    return rows


def sweep_csv(runs: Sequence[Run]) -> str:
    """Return `sweep_rows` as CSV; empty where unknown."""
    rows = sweep_rows(runs)
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {key: f"{v:.9g}" if isinstance(v, float) else v for key, v in row.items()} for row in rows
    )
    return out.getvalue()


def sweep_table(runs: Sequence[Run]) -> Table:
    """Return the table for the terminal, readable at 100 columns without colour."""
    from rich.table import Table
    from rich.text import Text

    groups = group(runs)
    front = _on_front(groups)
    notes = [NOTE, FRONT_NOTE] if len(groups) > 1 else []
    notes += [REFERENCE_NOTE] if any(g.reference for g in groups) else []
    notes += [text] if (text := repeats(groups)) else []
    table = Table(
        box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold",
        caption=Text("\n".join(notes)), caption_justify="left",
    )  # fmt: skip
    table.add_column("configuration", overflow="fold", min_width=12, vertical="bottom")
    by_column = []
    for column in _columns(list(HEADS)):
        head = f"{HEADS[column.key]}\n{column.unit.sign} "
        table.add_column(head, justify="right", no_wrap=True, vertical="bottom")
        by_column.append(cells(groups, column, narrow=True))
    for g, row in zip(groups, zip(*by_column, strict=True), strict=True):
        label = name(g) + (f" {ON_FRONT}" if g.label in front and len(groups) > 1 else "")
        texts = [
            Text(cell.text + ("*" if cell.best else " "), "bold" if cell.best else "")
            for cell in row
        ]
        table.add_row(Text(label), *texts)
    if all(cell.text == MISSING for cell in by_column[-1]):
        notes.append("relative time: add --with-finetune")
        table.caption = Text("\n".join(notes))
    return table
