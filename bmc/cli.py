"""The command ``bmc-stream``: parse, call, print. Heavy imports stand inside the commands."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autods.console import print_json, print_table, run_app
from autods.errors import UsageError
from bmc.config import Config
from bmc.options import with_config_options

if TYPE_CHECKING:
    import torch

    from autods.streams import Stream

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train continual-learning methods on feature streams, and report the results.",
)


@app.command()
@with_config_options
def run(
    scenario: Annotated[str, typer.Option(help="class-il or task-il; both are measured.")],
    config: Config,
    method: Annotated[
        str, typer.Option(help="Methods, comma-separated, or 'all'; see `bmc-stream methods`.")
    ] = "bmc",
    stream: Annotated[
        str, typer.Option(help="A stream by name, YAML file, or comma-separated datasets.")
    ] = "synthetic",
    encoder: Annotated[str, typer.Option(help="Encoder whose features are used.")] = "",
    root: Annotated[
        Path | None, typer.Option(help="Data root; default AUTODS_ROOT, else the user's folder.")
    ] = None,
    manifests: Annotated[
        list[Path] | None, typer.Option(help="Further folder of manifests and streams.")
    ] = None,
    protocol: Annotated[str, typer.Option(help="clean or paper.")] = "clean",
    order: Annotated[
        str, typer.Option(help="'paper', or seeds of task orders, comma-separated.")
    ] = "paper",
    classes_per_task: Annotated[
        int | None, typer.Option(min=1, help="Cut datasets into tasks of about so many classes.")
    ] = None,
    max_tasks: Annotated[int | None, typer.Option(min=1, help="Keep only the first tasks.")] = None,
    scale: Annotated[
        float | None, typer.Option(help="synthetic: samples per published sample.")
    ] = None,
    stream_seed: Annotated[int, typer.Option(min=0, help="synthetic: seed of the data.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    out: Annotated[
        Path | None, typer.Option(help="Folder for the runs; default runs/STREAM-SCENARIO.")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Complete what is in --out.")] = False,
    tensorboard: Annotated[bool, typer.Option(help="Write TensorBoard events.")] = False,
    json: Annotated[bool, typer.Option(help="Print the results as JSON.")] = False,
) -> None:
    """Train methods on a stream, print the results table, write the report."""
    from autods.progress import console_progress
    from bmc.experiment import run as run_one
    from bmc.trackers import tensorboard_log

    names, chosen = _methods(method), _device(device)
    folder = out or Path("runs") / f"{_plain(stream)}-{scenario}"
    finished: list[Path] = []
    known: dict[tuple[str, ...], str | int] = {}
    for one_order in _orders(order):
        opened = _open(
            stream, scenario, encoder, root, manifests, protocol, one_order,
            classes_per_task=classes_per_task, max_tasks=max_tasks,
            scale=scale, stream_seed=stream_seed,
        )  # fmt: skip
        sequence = tuple(task.name for task in opened.tasks)
        if sequence in known:  # few tasks have few orders
            typer.echo(f"Order {one_order} is order {known[sequence]} again; skipped.", err=True)
            continue
        known[sequence] = one_order
        for name in names:
            path = folder / f"{name}-order-{one_order}-seed-{config.seed}"
            log = tensorboard_log(path) if tensorboard else None
            reporter = console_progress()
            finished.append(
                run_one(opened, name, config, path, device=chosen, resume=resume,
                        report=reporter, log=log)
            )  # fmt: skip
    _show(finished, folder / "report.html", json)


@app.command()
def methods() -> None:
    """List the methods."""
    from bmc.methods import METHODS

    print_table(
        "Methods",
        [
            {
                "name": name,
                "title": METHODS.get(name).title,
                "what it does": (METHODS.get(name).__doc__ or "").splitlines()[0],
            }
            for name in METHODS.names()
        ],
    )


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or folders that hold some.")],
    out: Annotated[Path, typer.Option(help="The HTML file to write.")] = Path("report.html"),
    json: Annotated[bool, typer.Option(help="Print the results as JSON.")] = False,
) -> None:
    """Print the results table of finished runs and write their report."""
    _show(_finished(runs), out, json)


@app.command("runs")
def list_runs(
    folder: Annotated[Path, typer.Argument(help="Folder to search.")] = Path("runs"),
) -> None:
    """List the runs below a folder and how far they have come."""
    rows = [
        {
            "run": str(config.parent),
            "state": "finished" if (config.parent / "results.json").exists() else "incomplete",
        }
        for config in sorted(folder.rglob("config.json"))
    ]
    if not rows:
        raise UsageError(f"no runs below {folder}. Start one with `bmc-stream run`.")
    print_table(f"Runs below {folder}", rows)


def _show(folders: list[Path], page: Path, as_json: bool) -> None:
    from rich.console import Console

    from bmc.report import build_report, load_runs, results_table

    loaded = load_runs(folders)
    path = build_report(folders, page)
    if as_json:
        print_json([run.model_dump() for run in loaded])
        return
    Console(width=None if os.isatty(1) else 100).print(results_table(loaded))
    print(f"Report: {path.resolve()}")


def _finished(paths: list[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        inner = sorted(p.parent for p in path.rglob("results.json"))
        if not inner:
            raise UsageError(
                f"no finished run in {path}; expected results.json in it or below it. "
                "Finish the run with --resume, or name another folder."
            )
        found += inner
    return found


def _methods(text: str) -> list[str]:
    from bmc.methods import METHODS

    names = METHODS.names() if text == "all" else [part for part in text.split(",") if part]
    if not names:
        raise UsageError(f"--method: expected names such as bmc,er or 'all'; got '{text}'.")
    for name in names:
        METHODS.get(name)
    return names


def _orders(text: str) -> list[str | int]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if parts == ["paper"]:
        return ["paper"]
    if parts and all(part.isdecimal() and part.isascii() for part in parts):
        return [int(part) for part in parts]
    raise UsageError(f"--order: expected 'paper' or seeds such as 0,1,2; got '{text}'.")


def _device(text: str) -> torch.device:
    import torch

    if text == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(text)
    except RuntimeError:
        raise UsageError(f"--device: expected auto, cpu, cuda or cuda:N; got '{text}'.") from None
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"--device: expected auto, cpu, cuda or cuda:N; got '{text}'.")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"--device {text}: this machine offers no CUDA device; try --device cpu.")
    return device


def _open(
    name: str,
    scenario: str,
    encoder: str,
    root: Path | None,
    manifests: list[Path] | None,
    protocol: str,
    order: str | int,
    *,
    scale: float | None,
    stream_seed: int,
    classes_per_task: int | None,
    max_tasks: int | None,
) -> Stream:
    from autods.catalogue import Catalogue
    from autods.manifest import PROTOCOLS
    from autods.names import unknown
    from autods.root import DataRoot
    from autods.streams import Stream
    from autods.synthetic import synthetic_stream

    if protocol not in PROTOCOLS:
        raise unknown("protocol", protocol, PROTOCOLS)
    if name == "synthetic":
        _refuse(name, {"--encoder": encoder, "--classes-per-task": classes_per_task})
        size: dict[str, Any] = {} if scale is None else {"scale": scale}
        return synthetic_stream(
            **size, seed=stream_seed, order=order, scenario=scenario, tasks=max_tasks
        )
    _refuse(name, {"--scale": scale, "--stream-seed": stream_seed})
    catalogue = Catalogue(manifests or ())
    if not encoder:
        known = {*catalogue.streams(), *catalogue.datasets(), "synthetic"}
        if name.isidentifier() and name not in known | {"all"}:
            raise unknown("stream", name, known)
        raise UsageError(
            f"--encoder is needed to open stream '{name}'; expected the name of a feature set, "
            "for example ViT-B-32.laion2b_s34b_b79k. `autods status` lists what is there."
        )
    return Stream.open(
        name,
        DataRoot.open(root),
        encoder,
        scenario=scenario,
        protocol=protocol,
        order=order,
        catalogue=catalogue,
        classes_per_task=classes_per_task,
        max_tasks=max_tasks,
    )


def _refuse(stream: str, options: dict[str, Any]) -> None:
    """Raise `UsageError` for options that a stream has no use for, rather than ignore them."""
    given = [option for option, value in options.items() if value]
    if given:
        raise UsageError(f"stream '{stream}' has no use for {', '.join(given)}; leave it out.")


def _plain(name: str) -> str:
    kept = "".join(c if c.isalnum() or c in "-_" else "-" for c in Path(name).stem)
    return kept if len(kept) <= 40 else kept[:40]


def main() -> None:
    """Run ``bmc-stream``."""
    run_app(app)
