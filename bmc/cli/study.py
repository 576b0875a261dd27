"""What the commands that run many cells share: options, the folder, progress, failures."""

from __future__ import annotations

import json as json_format
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autods.core.console import print_json, print_table
from autods.errors import AutodsError, UsageError

if TYPE_CHECKING:
    from autods.streams.stream import Stream
    from bmc.config import Config, Overrides
    from bmc.runs.choice import StreamChoice
    from bmc.studies.grid import Cell
    from bmc.studies.workers import Job, Outcome, Runner

LOCK_SECONDS = 2.0  # such a command is long: say at once that its folder is busy

MethodsOption = Annotated[
    str,
    typer.Option(
        "--methods",
        "--method",
        help="Methods, comma-separated, or 'all'; see `bmc-stream methods`.",
    ),
]
OrdersOption = Annotated[int, typer.Option(min=1, help="Number of task orders: seeds 0, 1, ...")]
SeedsOption = Annotated[
    int, typer.Option(min=1, help="Number of run seeds in each order: --seed, --seed + 1, ...")
]
JobsOption = Annotated[
    int, typer.Option(min=1, help="Runs at once; more of them disturb each other's times.")
]
ThreadsOption = Annotated[
    int, typer.Option(min=1, help="Threads of each run; last bits of results depend on it.")
]
WhereOption = Annotated[
    str, typer.Option(help="local: processes of this machine; ray: tasks of a cluster.")
]
ClusterOption = Annotated[
    str | None, typer.Option(help="ray: host:port of a cluster, or auto; else one of its own.")
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
ResumeOption = Annotated[bool, typer.Option(help="Complete or extend what is in --out.")]
ListOption = Annotated[bool, typer.Option("--list", help="Print what would be run, and end.")]


class CellsFailed(AutodsError):
    """Some cells did not finish; the message names them."""


def open_orders(choice: StreamChoice, orders: Sequence[str | int]) -> dict[str | int, Stream]:
    """Open a stream in several orders, and tell which of them are the same.

    Errors as of `bmc.runs.choice.StreamChoice.open`.
    """
    from bmc.runs.orders import open_orders as opened_orders

    streams, notes = opened_orders(choice, orders)
    for note in notes:
        typer.echo(note, err=True)
    return streams


def methods_for(
    text: str, streams: Mapping[str | int, Stream], config: Config, overrides: Overrides
) -> tuple[list[str], list[str]]:
    """Return the methods that a list or ``all`` names, and a line about each left out of ``all``.

    Raises
    ------
    UnknownName, UsageError
        When a name is unknown, or a method that is named cannot learn the stream.
    """
    from bmc.cli.select import methods_of
    from bmc.methods.fit import check_fitting, fitting
    from bmc.methods.overrides import check_chosen

    names, left_out = methods_of(text), []
    check_chosen(overrides, names)
    for stream in streams.values():
        if text == "all":
            names, notes = fitting(names, stream, config, overrides)
            left_out += notes
        else:
            check_fitting(names, stream, config, overrides)
    for note in left_out:
        typer.echo(note, err=True)
    return names, left_out


def work_of(
    cells: Sequence[Cell],
    choice: StreamChoice,
    folder: Path,
    *,
    engine: str,
    device: str,
    threads: int,
) -> list[Job]:
    """Return the cells with where and on what each is run.

    Raises
    ------
    UsageError
        When the device is none that this machine has.
    """
    from autods.core.devices import choose_device
    from bmc.studies.workers import Job

    chosen = choose_device(device, ("cpu", "cuda"))
    # Ray shows a task the one GPU that it gave to it
    place = chosen.type if engine == "ray" else str(chosen)
    return [Job(cell, choice, (folder / cell.name).resolve(), place, threads) for cell in cells]


def print_cells(cells: Sequence[Cell], folder: Path, as_json: bool) -> None:
    """Print what would be run, and how far each run in the folder is."""
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


def runner_of(engine: str, jobs: int, address: str | None) -> Runner:
    """Return what runs cells, as the command line names it.

    Raises
    ------
    UnknownName, UsageError
        When the engine is unknown, or an address is given that it has no use for.
    """
    from autods.core.registry import unknown
    from bmc.studies.workers import Processes, RayTasks

    if engine not in ("local", "ray"):
        raise unknown("engine", engine, ("local", "ray"))
    if engine == "local" and address:
        raise UsageError("--ray-address has no use without --engine ray; leave it out.")
    return RayTasks(address, jobs) if engine == "ray" else Processes(jobs)


def begin(folder: Path, work: Sequence[Job], kind: str, resume: bool) -> None:
    """Check that the folder is free or may be resumed, and note what all its runs share.

    Parameters
    ----------
    kind
        The command: a word for messages and the name of its settings file.

    Raises
    ------
    RunExists, RunMismatch
        When it holds runs of this command and ``resume`` is false, or those of other threads.
    """
    from autods.core.files import write_json
    from bmc.runs.folder import RunExists, RunMismatch

    begun = [job.cell.name for job in work if _state(job.folder) != "to do"]
    if begun and not resume:
        raise RunExists(
            f"{folder} already holds {len(begun)} runs of this {kind}, {begun[0]} among them; "
            "nothing was run. Add --resume to complete or extend it, or choose another --out."
        )
    path, settings = folder / f"{kind}-settings.json", {"threads": work[0].threads}
    if path.exists():
        stored = json_format.loads(path.read_text(encoding="utf-8"))
        if stored != settings:
            raise RunMismatch(
                f"{folder} holds a {kind} with {stored}, expected --threads "
                f"{work[0].threads}: results differ in last bits. Nothing was run. Repeat its "
                "--threads, or choose another --out."
            )
    write_json(path, settings)


def run_cells(work: Sequence[Job], runner: Runner, title: str) -> dict[str, str]:
    """Run cells with one bar, or one line now and then, over all of them.

    Returns
    -------
    dict
        Why a cell failed, by its name; those that are not in it are finished.
    """
    from autods.core.progress import console_progress
    from bmc.studies.workers import run_jobs

    progress = console_progress()
    progress.start(title, len(work), "runs")

    def told(outcome: Outcome, left: float | None) -> None:
        if outcome.message is not None:
            progress.note(f"{outcome.job.cell.name}: {outcome.message}")
        if outcome.detail:
            progress.note(outcome.detail)
        progress.detail("" if not left else f"about {_duration(left)} left")
        progress.advance(1)

    outcomes = run_jobs(work, runner, told)
    progress.finish()
    failed = {o.job.cell.name: o.message for o in outcomes if o.message is not None}
    return {job.cell.name: failed[job.cell.name] for job in work if job.cell.name in failed}


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def complain(
    failed: dict[str, str], total: int, others: str = "are finished and stand in the report"
) -> None:
    """Raise `CellsFailed` that names the runs that failed, if any did."""
    if not failed:
        return
    shown = "\n".join(f"  {name}: {message}" for name, message in failed.items())
    raise CellsFailed(
        f"{len(failed)} of {total} runs failed, the others {others}:\n{shown}\n"
        "Mend the cause and run the same command with --resume."
    )
