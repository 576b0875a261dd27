"""A sweep: grids of settings or the paper's ablations, compared by cost and accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bmc.config import Config, Overrides
from bmc.report.finished import Run
from bmc.report.groups import group, varied
from bmc.report.pareto import cost_points, pareto_front
from bmc.report.table import Table, results_table
from bmc.runs.choice import StreamChoice
from bmc.runs.orders import Order
from bmc.studies.engine import Executed, Findings, Study, design
from bmc.studies.plan import ablation_changes, grid_changes

FRONT_NOTE = "# on the Pareto front: none is as accurate at less cost"


def sweep_study(
    choice: StreamChoice,
    config: Config,
    overrides: Overrides,
    *,
    methods: str = "bmc",
    orders: Sequence[Order] = ("paper",),
    grid: Sequence[str] = (),
    ablation: str = "",
    finetune: bool = False,
) -> Study:
    """Plan the product of grids, then ablations, of every method in every order.

    See `grid_changes`, `ablation_changes` and `Design.with_finetune` of `bmc.studies.plan`.
    """
    changes = grid_changes(grid) if grid or not ablation else []
    changes += ablation_changes(ablation) if ablation else []
    base, streams, skipped, left_out = design(choice, methods, orders, config, overrides)
    runs = base.expand(changes)
    runs = base.with_finetune(runs) if finetune else runs
    if len(base.methods) > 1:  # settings of one method stay comparable with those added later
        runs = base.on_one_grid(runs)
    name = f"{choice.folder}-sweep"
    return Study("sweep", name, choice, streams, runs, _collect, [*skipped, *left_out])


def _collect(executed: Executed) -> Findings:
    table = sweep_table(list(executed.runs.values()))
    planned = [
        {
            "run": job.name,
            "method": job.run.method,
            "changes": dict(job.run.changes),
            "order": job.run.order,
            "seed": job.run.config.seed,
            "failed": executed.failed.get(job.name),
        }
        for job in executed.jobs
    ]
    data = {"rows": table.records(), "runs": planned}
    return Findings(data, table.print, {"csv": table.csv()})


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
