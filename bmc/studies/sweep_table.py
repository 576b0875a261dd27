"""What a sweep gave: one row for each configuration, over its orders and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bmc.report.groups import group, varied
from bmc.report.load import Run
from bmc.report.pareto import cost_points, pareto_front
from bmc.report.table import Table, results_table

FRONT_NOTE = "# on the Pareto front: none is as accurate at less cost"


def sweep_table(runs: Sequence[Run]) -> Table:
    """Return the table, best configuration first.

    The frame has a column for each field in which runs of one method differ, and ``front``:
    whether the row is on the Pareto front of accuracy against total cost.
    """
    groups = group(runs)
    front = {point.group.label for point in pareto_front(cost_points(groups))}
    values = {field: [g.first.settings.get(field) for g in groups] for field in varied(runs)}
    values["front"] = [g.label in front for g in groups]
    table = results_table(groups, "sweep", values=values)
    names, notes = list(table.names), list(table.notes)
    if len(groups) > 1:
        marks = ("" if g.label not in front else " #" for g in groups)
        names = [name + mark for name, mark in zip(names, marks, strict=True)]
        notes.append(FRONT_NOTE)
    if "relative_time" not in table.shown:
        notes.append("relative time: add --with-finetune")
    return replace(table, names=names, notes=notes, head="configuration")
