"""The command ``bmc-stream sweep``: grids and ablations, several runs at once, one report."""

from __future__ import annotations

import json as json_format
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autods.console import print_json, print_table
from autods.errors import AutodsError, UsageError
from bmc.ablations import ABLATIONS
from bmc.choices import (
    StreamChoice,
    device_of,
    distinct_orders,
    methods_of,
    orders_of,
)
from bmc.config import Config
from bmc.options import with_config_options, with_stream_options

if TYPE_CHECKING:
    from bmc.sweep import Cell
    from bmc.sweep_workers import Job, Outcome, Runner

LOCK_SECONDS = 2.0  # a sweep is long: say at once that its folder is busy


class CellsFailed(AutodsError):
    """Some cells of a sweep did not finish; the message names them."""


@with_config_options
@with_stream_options
def sweep(
    config: Config,
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
    jobs: Annotated[
        int, typer.Option(min=1, help="Runs at once; more of them disturb each other's times.")
    ] = 1,
    threads: Annotated[
        int,
        typer.Option(min=1, help="Threads of each run; last bits of results depend on it."),
    ] = 1,
    engine: Annotated[
        str, typer.Option(help="local: processes of this machine; ray: tasks of a cluster.")
    ] = "local",
    ray_address: Annotated[
        str | None, typer.Option(help="ray: host:port of a cluster, or auto; else one of its own.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    out: Annotated[
        Path | None, typer.Option(help="Folder for the runs; default runs/STREAM-SCENARIO-sweep.")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Complete or extend what is in --out.")] = False,
    show: Annotated[bool, typer.Option("--list", help="Print what would be run, and end.")] = False,
    json: Annotated[bool, typer.Option(help="Print the rows as JSON.")] = False,
) -> None:
    """Run grids of hyper-parameters or the paper's ablations, and compare cost and accuracy."""
    from autods.files import locked
    from bmc.sweep_workers import Job

    cells = _cells(config, choice, method, grid or [], ablation, order, finetune)
    folder = out or Path("runs") / f"{choice.folder}-sweep"
    if show:
        _print_cells(cells, folder, json)
        return
    runner = _runner(engine, jobs, ray_address)
    chosen = device_of(device)
    # Ray shows a task the one GPU that it gave to it
    place = chosen.type if engine == "ray" else str(chosen)
    work = [Job(cell, choice, (folder / cell.name).resolve(), place, threads) for cell in cells]
    with locked(folder / "sweep", LOCK_SECONDS):
        _begin(folder, cells, threads, resume)
        outcomes = _run(work, runner)
        failed = {o.job.cell.name: o.message for o in outcomes if o.message is not None}
        _finish(folder, work, failed, json)
    _complain(failed, len(work))


def _cells(
    config: Config,
    choice: StreamChoice,
    method: str,
    grid: list[str],
    ablation: str,
    order: str,
    finetune: bool,
) -> list[Cell]:
    from bmc.sweep import ablation_changes, grid_changes, plan_cells

    changes = grid_changes(grid) if grid or not ablation else []
    changes += ablation_changes(ablation) if ablation else []
    streams, notes = distinct_orders(choice, orders_of(order))
    for note in notes:
        typer.echo(note, err=True)
    tasks = {name: len(stream.tasks) for name, stream in streams.items()}
    return plan_cells(methods_of(method), config, changes, tasks, finetune=finetune)


def _print_cells(cells: Sequence[Cell], folder: Path, as_json: bool) -> None:
    rows = [
        {
            "run": cell.name,
            "method": cell.method,
            "changes": ", ".join(f"{name}={value}" for name, value in cell.changes) or "none",
            "state": _state(folder / cell.name),
        }
        for cell in cells
    ]
    if as_json:
        print_json(rows)
        return
    print_table(f"{len(rows)} runs in {folder}", rows)


def _state(folder: Path) -> str:
    if (folder / "results.json").exists():
        return "finished"
    return "begun" if (folder / "config.json").exists() else "to do"


def _runner(engine: str, jobs: int, address: str | None) -> Runner:
    from autods.names import unknown
    from bmc.sweep_workers import Processes, RayTasks

    if engine not in ("local", "ray"):
        raise unknown("engine", engine, ("local", "ray"))
    if engine == "local" and address:
        raise UsageError("--ray-address has no use without --engine ray; leave it out.")
    return RayTasks(address, jobs) if engine == "ray" else Processes(jobs)


def _begin(folder: Path, cells: Sequence[Cell], threads: int, resume: bool) -> None:
    """Check that the folder is free or may be resumed, and note what all its runs share.

    Raises
    ------
    RunExists, RunMismatch
        When it holds runs of this sweep and ``resume`` is false, or those of other threads.
    """
    from autods.files import write_json
    from bmc.runs import RunExists, RunMismatch

    begun = [cell.name for cell in cells if _state(folder / cell.name) != "to do"]
    if begun and not resume:
        raise RunExists(
            f"{folder} already holds {len(begun)} runs of this sweep, {begun[0]} among them; "
            "nothing was run. Add --resume to complete or extend it, or choose another --out."
        )
    path = folder / "sweep-settings.json"
    if path.exists():
        stored = json_format.loads(path.read_text(encoding="utf-8"))
        if stored != {"threads": threads}:
            raise RunMismatch(
                f"{folder} holds a sweep with {stored}, expected --threads {threads}: results "
                "differ in last bits. Nothing was run. Repeat its --threads, or choose "
                "another --out."
            )
    write_json(path, {"threads": threads})


def _run(work: Sequence[Job], runner: Runner) -> list[Outcome]:
    """Run the cells with one bar, or one line now and then, over all of them."""
    from autods.progress import console_progress
    from bmc.sweep_workers import run_jobs

    progress = console_progress()
    progress.start("Sweep", len(work), "runs")

    def told(outcome: Outcome, left: float | None) -> None:
        if outcome.message is not None:
            progress.note(f"{outcome.job.cell.name}: {outcome.message}")
        if outcome.detail:
            progress.note(outcome.detail)
        progress.detail("" if not left else f"about {_duration(left)} left")
        progress.advance(1)

    outcomes = run_jobs(work, runner, told)
    progress.finish()
    return outcomes


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _finish(folder: Path, work: Sequence[Job], failed: dict[str, str], as_json: bool) -> None:
    """Write table, CSV, JSON and report of the runs that are finished."""
    from rich.console import Console

    from autods.files import atomic, write_json
    from bmc.report import build_report, load_runs
    from bmc.sweep_results import sweep_csv, sweep_rows, sweep_table

    finished = [job.folder for job in work if job.finished]
    if not finished:
        return
    runs = load_runs(finished)
    with atomic(folder / "sweep.csv") as temporary:
        temporary.write_text(sweep_csv(runs), encoding="utf-8", newline="")
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
    made = {"rows": sweep_rows(runs), "runs": cells}
    write_json(folder / "sweep.json", made)
    page = build_report(finished, folder / "report.html")
    if as_json:
        print_json(made)
        return
    Console(width=None if os.isatty(1) else 100).print(sweep_table(runs))
    print(f"Report: {page.resolve()}")


def _complain(failed: dict[str, str], total: int) -> None:
    """Raise `CellsFailed` that names the runs that failed, if any did."""
    if not failed:
        return
    shown = "\n".join(f"  {name}: {message}" for name, message in failed.items())
    raise CellsFailed(
        f"{len(failed)} of {total} runs failed, the others are finished and stand in the "
        f"report:\n{shown}\nMend the cause and run the same command with --resume."
    )
