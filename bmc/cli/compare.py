"""The command ``bmc-stream compare``: methods side by side over orders, with tests and costs."""

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
    from bmc.studies.grid import Cell
    from bmc.studies.tuning import Tuned
    from bmc.studies.workers import Job


@with_config_options
@with_stream_options
def compare(
    config: Config,
    overrides: Overrides,
    choice: StreamChoice,
    method: MethodsOption = "all",
    orders: OrdersOption = 5,
    seeds: SeedsOption = 1,
    tuned: Annotated[
        Path | None,
        typer.Option(
            help="What `bmc-stream tune` wrote: values for each method, over those given."
        ),
    ] = None,
    jobs: JobsOption = 1,
    threads: ThreadsOption = 1,
    engine: WhereOption = "local",
    ray_address: ClusterOption = None,
    device: DeviceOption = "auto",
    out: Annotated[
        Path | None, typer.Option(help="Folder for the runs; default runs/STREAM-SCENARIO-compare.")
    ] = None,
    resume: ResumeOption = False,
    show: ListOption = False,
    json: Annotated[bool, typer.Option(help="Print compare.json.")] = False,
) -> None:
    """Compare methods over several orders: intervals, paired tests, costs; CSV, JSON, LaTeX, HTML.

    Every method gets the same epochs, batches, rates and memory. Fine-tuning is always among
    the runs, since its time is 100 % of relative time.
    """
    from autods.core.files import locked

    cells, left_out, chosen = _cells(config, overrides, choice, method, orders, seeds, tuned)
    folder = out or Path("runs") / f"{choice.folder}-compare"
    if show:
        print_cells(cells, folder, json)
        return
    runner = runner_of(engine, jobs, ray_address)
    work = work_of(cells, choice, folder, engine=engine, device=device, threads=threads)
    with locked(folder / "compare", LOCK_SECONDS):
        begin(folder, work, "compare", resume)
        failed = run_cells(work, runner, "Compare")
        _finish(folder, work, left_out, failed, chosen, json)
    complain(failed, len(work))


def _cells(
    config: Config,
    overrides: Overrides,
    choice: StreamChoice,
    method: str,
    orders: int,
    seeds: int,
    tuned: Path | None,
) -> tuple[list[Cell], list[str], Tuned | None]:
    """Return what is run, a line about each method left out, and the tuned values."""
    from bmc.studies.grid import plan_comparison
    from bmc.studies.tuning import check_disjoint, read_tuned

    chosen = read_tuned(tuned) if tuned else None
    streams = open_orders(choice, list(range(orders)))
    if tuned and chosen:
        check_disjoint(chosen, streams.values(), tuned)
    methods, left_out = methods_for(method, streams, config, overrides)
    tasks = {name: len(stream.tasks) for name, stream in streams.items()}
    own = chosen.chosen if chosen else {}
    own = {name: overrides.get(name, {}) | own.get(name, {}) for name in overrides | own}
    run_seeds = range(config.seed, config.seed + seeds)
    return plan_comparison(methods, config, run_seeds, tasks, own), left_out, chosen


def _finish(
    folder: Path,
    work: Sequence[Job],
    left_out: Sequence[str],
    failed: dict[str, str],
    tuned: Tuned | None,
    as_json: bool,
) -> None:
    """Write CSV, JSON, LaTeX and report of the runs that are finished, and print the table."""
    from autods.core.files import atomic, write_json
    from bmc.report import build_report, load_runs
    from bmc.studies.compare_table import Comparison, compare_json, compare_table, compare_tex

    finished = [job.folder for job in work if job.finished]
    if not finished:
        return
    runs = tuple(load_runs(finished))
    made = Comparison(runs, tuple(left_out), tuple(failed.items()), tuned)
    table = compare_table(made)
    for file, text in (("compare.csv", table.csv()), ("compare.tex", compare_tex(made))):
        with atomic(folder / file) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="")
    write_json(folder / "compare.json", compare_json(made))
    page = build_report(finished, folder / "report.html", made.report_notes())
    if as_json:
        print_json(compare_json(made))
        return
    table.print("compare.csv")
    print(f"CSV, JSON, LaTeX: {folder.resolve()}/compare.*")
    print(f"Report: {page.resolve()}")
