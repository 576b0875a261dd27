"""The command ``bmc-stream tune``: hyper-parameters chosen on some datasets, for others."""

from __future__ import annotations

from dataclasses import replace
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
    MethodsOption,
    OrdersOption,
    ResumeOption,
    SeedsOption,
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

if TYPE_CHECKING:
    from bmc.studies.tuning import Tuned


@with_config_options
@with_stream_options
def tune(
    config: Config,
    overrides: Overrides,
    choice: StreamChoice,
    grid: Annotated[
        list[str],
        typer.Option(help="FIELD=VALUE,VALUE of a hyper-parameter; several give their product."),
    ],
    method: MethodsOption = "bmc",
    orders: OrdersOption = 3,
    seeds: SeedsOption = 1,
    jobs: JobsOption = 1,
    threads: ThreadsOption = 1,
    engine: WhereOption = "local",
    ray_address: ClusterOption = None,
    device: DeviceOption = "auto",
    out: Annotated[
        Path, typer.Option(help="The JSON file to write; its runs go to OUT-runs beside it.")
    ] = Path("tuned.json"),
    resume: ResumeOption = False,
    show: ListOption = False,
    json: Annotated[bool, typer.Option(help="Print the choice as JSON.")] = False,
) -> None:
    """Choose hyper-parameters per method on development data; for `compare --tuned`."""
    from autods.core.files import locked, write_json
    from bmc.report import build_report, load_runs
    from bmc.studies.grid import grid_changes
    from bmc.studies.tuning import candidates, choose

    config = replace(config, evaluate_on="dev")
    changes = grid_changes(grid)
    streams = open_orders(choice, list(range(orders)))
    methods, _ = methods_for(method, streams, config, overrides)
    tasks = {name: len(stream.tasks) for name, stream in streams.items()}
    run_seeds = range(config.seed, config.seed + seeds)
    made = candidates(methods, config, changes, run_seeds, tasks, overrides)
    cells = list({cell.name: cell for one in made for cell in one.cells}.values())
    folder = out.with_name(f"{out.stem}-runs")
    if show:
        print_cells(cells, folder, json)
        return
    runner = runner_of(engine, jobs, ray_address)
    work = work_of(cells, choice, folder, engine=engine, device=device, threads=threads)
    with locked(folder / "tune", LOCK_SECONDS):
        begin(folder, work, "tune", resume)
        failed = run_cells(work, runner, "Tune")
        complain(failed, len(work), "are finished; nothing was chosen")
        runs = {job.cell.name: load_runs([job.folder])[0] for job in work}
        tuned = choose(made, config, runs, streams)
        write_json(out, tuned.model_dump(mode="json"))
        build_report([job.folder for job in work], folder / "report.html")
    if json:
        print_json(tuned.model_dump(mode="json"))
        return
    _print(tuned, out)


def _print(tuned: Tuned, out: Path) -> None:
    from autods.core.tables import Column, print_columns
    from bmc.report.columns import PERCENT

    methods = [row.method for row in tuned.table]
    values = [
        ", ".join(f"{name} {value}" for name, value in row.values.items()) or "none"
        for row in tuned.table
    ]
    accuracies = [
        PERCENT.text(row.mean, None if row.high is None else row.high - row.mean)
        + ("*" if row.chosen else " ")
        for row in tuned.table
    ]
    columns = [
        Column("method", methods, name=True),
        Column("values", values, name=True),
        Column(f"{tuned.scenario} %", accuracies, number=True),
    ]
    notes = [
        f"* chosen; mean ± half of the 95 % interval over {len(tuned.orders)} orders",
        f"measured on the development split of {', '.join(tuned.datasets)}",
    ]
    print_columns(columns, notes=notes, more=out.name)
    print(f"Chosen values: {out.resolve()}")
