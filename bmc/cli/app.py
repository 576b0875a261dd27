"""The command ``bmc-stream``: parse, call, print. Heavy imports go inside the commands."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from autods.cli.common import Json, Quiet, check_folder, check_report
from autods.core.console import AppCommand, AppGroup, add_version, print_json, print_next, run_app
from autods.core.cores import one_thread_by_default
from autods.core.output import tell
from autods.errors import AutodsError
from bmc.cli import next_steps
from bmc.cli.command import register, watch, write_config
from bmc.cli.compare import compare
from bmc.cli.methods import methods
from bmc.cli.options import (
    AddressOption,
    EngineOption,
    RayWorkersOption,
    ThreadsOption,
    WorkersOption,
    engine_of,
    with_config_options,
    with_stream_options,
)
from bmc.cli.reproduce import reproduce
from bmc.cli.runs import runs
from bmc.cli.sites import base, consolidate, evaluate, expert
from bmc.cli.study import MethodOption, OrderOption
from bmc.cli.sweep import sweep
from bmc.cli.tune import tune
from bmc.config import Config, Overrides
from bmc.runs.choice import StreamChoice
from bmc.runs.orders import open_orders, parse_orders, single_task

app = typer.Typer(
    cls=AppGroup,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    help="Train continual-learning methods on feature streams, and report the results.",
)

add_version(app)


@with_config_options
@with_stream_options
def run(
    config: Config,
    overrides: Overrides,
    choice: StreamChoice,
    method: MethodOption = "bmc",
    order: OrderOption = "paper",
    finetune: Annotated[
        bool,
        typer.Option(
            "--with-finetune",
            hidden=True,
            help="Add fine-tuning, for the relative time of the rest.",
        ),
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    threads: ThreadsOption = 1,
    workers: WorkersOption = None,
    engine: EngineOption = "local",
    ray_address: AddressOption = None,
    ray_workers: RayWorkersOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the runs; default runs/STREAM-SCENARIO.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Complete what is in --out.")] = False,
    tracker: Annotated[
        str,
        typer.Option(
            hidden=True, help="Follow runs with tensorboard, wandb, mlflow; comma-separated."
        ),
    ] = "",
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Train methods on a stream, print the results table, write the report."""
    from autods.core.progress import console_board
    from bmc.runs.trackers import trackers_of

    check_folder(out)
    trackers = trackers_of(tracker, lambda line: typer.echo(line, err=True))
    from autods.core.devices import choose_device
    from bmc.methods.fit import choose_methods
    from bmc.methods.overrides import config_for
    from bmc.report.load import BASE_OF_TIME
    from bmc.runs.divergence import RunDiverged
    from bmc.runs.grid import at_once, common_step, group_size
    from bmc.runs.identity import identity_of, label_of, run_name
    from bmc.runs.run import run as run_one

    chosen = choose_device(device, ("cpu", "cuda"))
    streams, notes = open_orders(choice, parse_orders(order))
    names, left_out = choose_methods(method, streams.values(), config, overrides)
    names = list(dict.fromkeys([*names, BASE_OF_TIME])) if finetune else names
    settings = {name: config_for(name, config, overrides) for name in names}
    whole = at_once(settings.items(), len(next(iter(streams.values())).tasks))
    for note in [*single_task(choice, streams), *notes, *left_out, *whole]:
        tell(note, sys.stderr)
    step = common_step(
        (group_size(name, own, len(opened.tasks)), len(opened.tasks))
        for opened in streams.values()
        for name, own in settings.items()
    )
    folder = out or Path("runs") / choice.folder
    then = next_steps.after_run(choice, names, next(iter(streams.values())))
    finished: list[Path] = []
    diverged: list[tuple[Path, str]] = []
    board = console_board(
        len(names) * len(streams), quiet=quiet, in_turn="run" if len(streams) > 1 else "method"
    )
    experts = engine_of(engine, names, chosen, ray_address, ray_workers, workers, threads)
    with board, experts as where:
        for one_order in list(streams):
            opened = streams.pop(one_order)  # its features stay in memory for as long as it does
            for name in names:
                label = label_of(name, one_order, config.seed)
                own = settings[name]
                own = replace(own, evaluate_every=own.evaluate_every or step)
                path = folder / run_name(label, identity_of(opened, name, own, chosen), threads)
                kept = (path / "results.json").exists()
                try:
                    made = run_one(
                        opened, name, own, path, device=chosen, engine=where, threads=threads,
                        resume=resume, report=board.of(""), tracker=trackers,
                        watch=None if finished else watch(),  # its first run has what came before
                    )  # fmt: skip
                except RunDiverged as error:  # the others go on
                    diverged.append((path, str(error)))
                    board.ended()
                    continue
                finished.append(made)
                board.ended(worked=not kept)
                shared = {f: getattr(own, f) for f in own.names()}
                given = {name: own.options.as_dict()}
                write_config(made / "run.yaml", given, method=name, order=one_order, **shared)
    _show_ranked(
        finished, [path for path, _ in diverged], folder / "report.html", json, choice.root
    )
    if finished and not json:
        print_next(*then, quiet=quiet)
    if diverged:
        raise RunDiverged("\n".join(f"{path.name}: {why}" for path, why in diverged))


@app.command(cls=AppCommand)
def report(
    folders: Annotated[list[Path], typer.Argument(help="Run folders, or folders that hold some.")],
    out: Annotated[Path, typer.Option(help="The HTML file to write.")] = Path("report.html"),
    figures: Annotated[
        Path | None, typer.Option(help="Folder for the figures as PDF, SVG and PNG, for papers.")
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(help="Data root of the images of wrong answers; default AUTODS_ROOT."),
    ] = None,
    json: Json = False,
) -> None:
    """Print the results table of finished runs and write their report."""
    from bmc.report.damaged import readable
    from bmc.runs.folder import diverged_runs, finished_runs

    check_report(out, "--out")
    check_folder(figures, "--figures")
    finished = finished_runs(folders)
    kept, damaged = readable(finished)
    for folder, why in damaged.items():
        tell(f"Left out, {folder.name}: {why}", sys.stderr)
    found = _show_ranked(kept, diverged_runs(folders), out, json, root)
    if figures is not None and found:
        from bmc.report import load_runs
        from bmc.report.figures import write_figures

        written = write_figures(load_runs(found), figures)
        typer.echo(f"Figures: {len(written)} files in {figures.resolve()}", err=json)
    elif found and not json:
        print_next(next_steps.figures(folders))
    if damaged:
        names = ", ".join(folder.name for folder in damaged)
        raise AutodsError(
            f"{len(damaged)} of {len(finished)} finished runs cannot be read and are left out: "
            f"{names}."
        )


def _show_ranked(
    finished: list[Path], diverged: list[Path], page: Path, as_json: bool, root: Path | None
) -> list[Path]:
    """Show the runs that may be ranked, and return them; say which are left out."""
    from bmc.runs.divergence import ranked

    kept, notes = ranked(finished, diverged)
    for note in notes:
        tell(note, sys.stderr)
    if kept:
        _show(kept, page, as_json, notes, root)
    elif as_json:
        print_json([])
    return kept


def _show(
    folders: list[Path], page: Path, as_json: bool, notes: list[str], root: Path | None
) -> None:
    from bmc.report import build_report, group, load_runs, results_table, sections

    loaded = load_runs(folders)
    path = build_report(folders, page, notes, root)
    if as_json:
        print_json([run.model_dump() for run in loaded])
        return
    streams = sections(loaded)
    for key, members in streams.items():
        title = ", ".join(filter(None, key)) if len(streams) > 1 else ""
        results_table(group(members)).print(page.name, title)
    print(f"Report: {path.resolve()}")


app.command(cls=AppCommand)(methods)
app.command(cls=AppCommand)(runs)
app.command(cls=AppCommand)(expert)
app.command(cls=AppCommand)(consolidate)
app.command(cls=AppCommand)(evaluate)
register(app, run, """
    bmc-stream run --scenario class-il --method bmc,er --stream synthetic
    bmc-stream run --scenario class-il --method er -o er.memory=500 --order 0,1
""")  # fmt: skip
register(app, base, """
    bmc-stream base --stream three.yaml --dim 768 --out base-0.safetensors
    bmc-stream base --stream three.yaml --method bmc-analytic --dim 768 --out a0
""")  # fmt: skip
register(app, compare, """
    bmc-stream compare --scenario class-il --method bmc,er,slda --jobs 4
    bmc-stream compare --config compare.yaml --resume
""")  # fmt: skip
register(app, sweep, """
    bmc-stream sweep --scenario class-il --grid bmc.experts=1,4,16
    bmc-stream sweep --scenario class-il --ablation stability --jobs 4
""")  # fmt: skip
register(app, tune, """
    bmc-stream tune --scenario class-il --method er --grid lr=0.001,0.01
    bmc-stream tune --scenario class-il --grid bmc.lam=0,0.1 --list
""")  # fmt: skip
register(app, reproduce, """
    bmc-stream reproduce stream-clip --max-tasks 5 --method bmc,er
    bmc-stream reproduce split-cifar100 --seeds 3 --jobs 3
""")  # fmt: skip


def main() -> None:
    """Run ``bmc-stream``."""
    one_thread_by_default()
    run_app(app, extra="train")
