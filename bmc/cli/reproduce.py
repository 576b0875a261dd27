"""The command ``bmc-stream reproduce``: the published experiment, ours beside its figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autods.core.console import print_json
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
    print_cells,
    run_cells,
    runner_of,
    work_of,
)
from bmc.runs.choice import StreamChoice

if TYPE_CHECKING:
    from bmc.studies.published import Experiment
    from bmc.studies.workers import Job


def reproduce(
    experiment: Annotated[
        str, typer.Argument(help="stream-clip, split-cifar100 or split-tinyimagenet.")
    ],
    methods: Annotated[
        str, typer.Option(help="Published methods, comma-separated, or 'all'.")
    ] = "all",
    seeds: Annotated[int, typer.Option(min=1, help="Number of run seeds: 0, 1, ...")] = 1,
    max_tasks: Annotated[
        int | None, typer.Option(min=1, help="Keep only the first tasks: a trial.")
    ] = None,
    encoder: Annotated[
        str, typer.Option(help="Encoder whose features are used, if not that of the experiment.")
    ] = "",
    root: Annotated[
        Path | None, typer.Option(help="Data root; default AUTODS_ROOT, else the user's folder.")
    ] = None,
    jobs: JobsOption = 1,
    threads: ThreadsOption = 1,
    engine: WhereOption = "local",
    ray_address: ClusterOption = None,
    device: DeviceOption = "auto",
    out: Annotated[
        Path | None, typer.Option(help="Folder for the runs; default runs/reproduce-EXPERIMENT.")
    ] = None,
    resume: ResumeOption = False,
    show: ListOption = False,
    json: Annotated[bool, typer.Option(help="Print reproduce.json.")] = False,
) -> None:
    """Run a published experiment with its settings, and print ours beside the published figures.

    Tasks in the published order, class-il, protocol paper. What differs is listed.
    """
    from autods.core.files import locked
    from autods.core.root import DataRoot
    from bmc.methods.fit import check_fitting
    from bmc.studies.published import (
        check_features,
        experiment_of,
        published_cells,
        published_config,
        published_methods,
    )

    chosen = experiment_of(experiment)
    names = published_methods(methods)
    by = encoder or chosen.encoder
    check_features(chosen, by, DataRoot.open(root))
    choice = StreamChoice("class-il", chosen.stream, by, root, None, "paper", None, max_tasks)
    stream = choice.open("paper")
    for name in names:
        check_fitting([name], stream, published_config(name), {})
    cells = published_cells(names, range(seeds), len(stream.tasks))
    folder = out or Path("runs") / f"reproduce-{chosen.name}"
    if show:
        print_cells(cells, folder, json)
        return
    runner = runner_of(engine, jobs, ray_address)
    work = work_of(cells, choice, folder, engine=engine, device=device, threads=threads)
    with locked(folder / "reproduce", LOCK_SECONDS):
        begin(folder, work, "reproduce", resume)
        failed = run_cells(work, runner, "Reproduce")
        _finish(folder, chosen, work, failed, json)
    complain(failed, len(work))


def _finish(
    folder: Path, experiment: Experiment, work: Sequence[Job], failed: dict[str, str], as_json: bool
) -> None:
    """Write JSON, CSV and report of the runs that are finished, and print the table."""
    from autods.core.files import atomic, write_json
    from bmc.report import build_report, load_runs
    from bmc.studies.reproduce_table import reproduce_json, reproduce_notes, reproduce_table

    finished = [job.folder for job in work if job.finished]
    if not finished:
        return
    runs = load_runs(finished)
    made = reproduce_json(experiment, runs, failed)
    write_json(folder / "reproduce.json", made)
    table = reproduce_table(experiment, runs)
    with atomic(folder / "reproduce.csv") as temporary:
        temporary.write_text(table.csv(), encoding="utf-8", newline="")
    page = build_report(finished, folder / "report.html", reproduce_notes(experiment, runs))
    if as_json:
        print_json(made)
        return
    table.print("reproduce.csv", f"{experiment.title}: ours beside the published figures")
    print(f"JSON, CSV: {folder.resolve()}/reproduce.*")
    print(f"Report: {page.resolve()}")
