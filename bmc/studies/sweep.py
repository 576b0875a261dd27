"""A sweep: grids of settings or the paper's ablations, compared by cost and accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bmc.config import Config, Overrides
from bmc.runs.choice import StreamChoice
from bmc.runs.orders import Order
from bmc.studies.engine import Executed, Findings, Study, design
from bmc.studies.execute import Job
from bmc.studies.plan import ablation_changes, grid_changes
from bmc.studies.sweep_table import sweep_table


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
    name = f"{choice.folder}-sweep"
    return Study("sweep", name, choice, streams, runs, _collect, [*skipped, *left_out])


def _collect(executed: Executed) -> Findings:
    table = sweep_table(list(executed.runs.values()))
    planned = [_planned(job, executed.failed.get(job.name)) for job in executed.jobs]
    data = {"rows": table.records(), "runs": planned}
    return Findings(data, table.print, {"csv": table.csv()})


def _planned(job: Job, failed: str | None) -> dict[str, Any]:
    return {
        "run": job.name,
        "method": job.run.method,
        "changes": dict(job.run.changes),
        "order": job.run.order,
        "seed": job.run.config.seed,
        "failed": failed,
    }
