"""The command ``bmc-stream sweep``: grids and ablations, several runs at once, one report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autods.core.console import print_json
from bmc.cli.options import with_config_options, with_stream_options
from bmc.cli.study import (
    LOCK_SECONDS,
    ClusterOption,
    DeviceOption,
    JobsOption,
    ListOption,
    ResumeOption,
    ThreadsOption,
    WhereOption,
    begin,
    complain,
    methods_for,
    open_orders,
    print_cells,
    run_cells,
    runner_of,
    work_of,
)
from bmc.config import Config, Overrides
from bmc.runs.choice import StreamChoice
from bmc.runs.orders import parse_orders
from bmc.studies.grid import ABLATIONS

if TYPE_CHECKING:
    from bmc.studies.grid import Cell
    from bmc.studies.workers import Job


@with_config_options
@with_stream_options
def sweep(
    config: Config,
    overrides: Overrides,
    choice: StreamChoice,
    method: Annotated[
        str, typer.Option(help="Methods, comma-separated, or 'all'; see `bmc-stream methods`.")
    ] = "bmc",
    grid: Annotated[
        list[str] | None,
        typer.Option(help="FIELD=VALUE,VALUE of a hyper-parameter; several give their product."),
    ] = None,
    ablation: Annotated[
        str,
        typer.Option(
            help=f"Ablations of the paper, comma-separated, or 'all': {', '.join(ABLATIONS)}."
        ),
    ] = "",
    order: Annotated[
        str, typer.Option(help="'paper', or seeds of task orders, comma-separated.")
    ] = "paper",
    finetune: Annotated[
        bool, typer.Option("--with-finetune", help="Add fine-tuning, for the relative times.")
    ] = False,
    jobs: JobsOption = 1,
    threads: ThreadsOption = 1,
    engine: WhereOption = "local",
    ray_address: ClusterOption = None,
    device: DeviceOption = "auto",
    out: Annotated[
        Path | None, typer.Option(help="Folder for the runs; default runs/STREAM-SCENARIO-sweep.")
    ] = None,
    resume: ResumeOption = False,
    show: ListOption = False,
    json: Annotated[bool, typer.Option(help="Print the rows as JSON.")] = False,
) -> None:
    """Run grids of hyper-parameters or the paper's ablations, and compare cost and accuracy."""
    from autods.core.files import locked

    cells = _cells(config, overrides, choice, method, grid or [], ablation, order, finetune)
    folder = out or Path("runs") / f"{choice.folder}-sweep"
    if show:
        print_cells(cells, folder, json)
        return
    runner = runner_of(engine, jobs, ray_address)
    work = work_of(cells, choice, folder, engine=engine, device=device, threads=threads)
    with locked(folder / "sweep", LOCK_SECONDS):
        begin(folder, work, "sweep", resume)
        failed = run_cells(work, runner, "Sweep")
        _finish(folder, work, failed, json)
    complain(failed, len(work))


def _cells(
    config: Config,
    overrides: Overrides,
    choice: StreamChoice,
    method: str,
    grid: list[str],
    ablation: str,
    order: str,
    finetune: bool,
) -> list[Cell]:
    from bmc.studies.grid import ablation_changes, grid_changes, plan_cells

    changes = grid_changes(grid) if grid or not ablation else []
    changes += ablation_changes(ablation) if ablation else []
    streams = open_orders(choice, parse_orders(order))
    methods, _ = methods_for(method, streams, config, overrides)
    tasks = {name: len(stream.tasks) for name, stream in streams.items()}
    return plan_cells(methods, config, changes, tasks, overrides=overrides, finetune=finetune)


def _finish(folder: Path, work: Sequence[Job], failed: dict[str, str], as_json: bool) -> None:
    """Write table, CSV, JSON and report of the runs that are finished."""
    from autods.core.files import atomic, write_json
    from bmc.report import build_report, load_runs
    from bmc.studies.sweep_table import sweep_table

    finished = [job.folder for job in work if job.finished]
    if not finished:
        return
    table = sweep_table(load_runs(finished))
    with atomic(folder / "sweep.csv") as temporary:
        temporary.write_text(table.csv(), encoding="utf-8", newline="")
    cells = [
        {
            "run": job.cell.name,
            "method": job.cell.method,
            "changes": dict(job.cell.changes),
            "order": job.cell.order,
            "seed": job.cell.config.seed,
            "failed": failed.get(job.cell.name),
        }
        for job in work
    ]
    made = {"rows": table.records(), "runs": cells}
    write_json(folder / "sweep.json", made)
    page = build_report(finished, folder / "report.html")
    if as_json:
        print_json(made)
        return
    table.print("sweep.csv")
    print(f"Report: {page.resolve()}")
