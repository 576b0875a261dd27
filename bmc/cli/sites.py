"""The commands of learning across sites: base, expert, consolidate, evaluate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autods.cli.common import Json, Manifests, Root, check_folder, open_catalogue, open_root
from autods.core.console import print_json, print_table
from autods.core.output import some_of, tell
from autods.core.shell import quoted
from autods.errors import UsageError
from bmc.cli import complete
from bmc.cli.options import Command, with_config_options, with_options
from bmc.config import Config, Overrides
from bmc.runs.choice import SCENARIOS, StreamChoice
from bmc.runs.choice import option as stream_option

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bmc.sites.headers import Plan
    from bmc.sites.model import Base

Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
NewFile = Annotated[Path, typer.Option(help="The file to write; it must not exist.")]
BasePath = Annotated[Path, typer.Argument(metavar="BASE", help="The base, of `base` or before.")]
Task = Annotated[
    str | None, typer.Option(help="Its task in the base; default: that of the dataset.")
]


@dataclass(frozen=True)
class PlannedStream(StreamChoice):
    """A stream whose data need not be here."""

    scenario: str = stream_option(SCENARIOS, "class-il", metavar="class-il|task-il")


def with_planned_stream(command: Command) -> Command:
    """Replace a command's ``choice`` by the options of `PlannedStream`."""
    return with_options(command, "choice", PlannedStream, "Stream")


@with_config_options
@with_planned_stream
def base(
    config: Config,
    overrides: Overrides,
    choice: PlannedStream,
    out: NewFile,
    method: Annotated[
        str,
        typer.Option(
            help="A method that learns across sites: bmc, bmc-gaussian or bmc-analytic.",
            autocompletion=complete.methods,
        ),
    ] = "bmc",
    order: Annotated[str, typer.Option(help="Order of the tasks: 'paper', or a seed.")] = "paper",
    dim: Annotated[
        int | None,
        typer.Option(min=1, help="Width of the features, if none are here."),
    ] = None,
    json: Json = False,
) -> None:
    """Write the first base of learning across sites; needs names of classes, no data."""
    import torch

    from bmc.methods import METHODS
    from bmc.methods.overrides import check_chosen, config_for
    from bmc.runs.orders import parse_orders
    from bmc.sites.model import open_base, write_first

    check_folder(out.absolute().parent)
    METHODS.get(method)
    check_chosen(overrides, [method])
    orders = parse_orders(order)
    if len(orders) > 1:
        raise UsageError(f"--order: expected one order, got {order}; nothing was written.")
    own = config_for(method, config, overrides)
    write_first(out, choice, orders[0], method, own, dim)
    opened = open_base(out, torch.device("cpu"))
    if json:
        print_json(_described(opened))
        return
    print(f"{_size(opened.file.size)} in {out}: {_state(opened)}")
    _next(opened)


def expert(
    base: Annotated[Path, typer.Option(help="The base, as the centre has sent it.")],
    dataset: Annotated[str, typer.Option(help="The dataset, as it is called here.")],
    out: NewFile,
    task: Task = None,
    part: Annotated[
        int,
        typer.Option(min=0, help="Of a task cut by expert_rows: train this part alone; 0: all."),
    ] = 0,
    root: Root = None,
    manifests: Manifests = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Train one expert on the data here, and write the message that it sends to the centre."""
    from autods.core.devices import choose_device
    from bmc.sites.expert import train_expert

    check_folder(out.absolute().parent)
    made = train_expert(
        base, dataset, out, task=task, part=part, root=root,
        catalogue=open_catalogue(manifests, open_root(root)),
        device=choose_device(device, ("cpu", "cuda")),
    )  # fmt: skip
    _tell(made.notes)
    header = made.header
    if json:
        print_json(
            {"task": header.task, "bytes": made.size, "steps": header.steps, "notes": made.notes}
            | {"classes": dict(zip(header.classes, header.counts, strict=True))}
            | {"tensors": made.tensors}
        )
        return
    rows = [{"tensor": n, "shape": " x ".join(map(str, s))} for n, s in made.tensors.items()]
    print_table(f"{out}: {_size(made.size)} about task '{header.task}'", rows)
    tell("It also says: class names, samples of each, encoder, versions.")
    files = quoted(Path(base.name), Path(out.name))
    print(f"Send it to the centre:  bmc-stream consolidate {files} ... --out NEXT")


def consolidate(
    base: BasePath,
    messages: Annotated[
        list[Path], typer.Argument(metavar="MESSAGE...", help="What the sites have sent.")
    ],
    out: NewFile,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Make the next base of a base and the messages of the tasks that are learned next."""
    import torch

    from autods.core.devices import choose_device
    from bmc.sites.consolidate import consolidate as consolidate_files
    from bmc.sites.model import centre_path, open_base

    check_folder(out.absolute().parent)
    where = choose_device(device, ("cpu", "cuda"))
    made = consolidate_files(base, messages, out, where)
    _tell(made.notes)
    opened = open_base(out, torch.device("cpu"))
    if json:
        print_json({"taken": made.taken, **_described(opened)})
        return
    print(f"learned {', '.join(made.taken)}")
    print(f"{_size(opened.file.size)} in {out}: {_state(opened)}")
    kept = centre_path(out)
    print(f"{_size(kept.stat().st_size)} in {kept}: stays with the centre")
    _next(opened)


def evaluate(
    base: BasePath,
    stream: Annotated[
        str | None,
        typer.Option(
            help="The datasets to measure, by names with commas or a stream's file; default: all."
        ),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Instead: one dataset, as it is called here.")
    ] = None,
    task: Task = None,
    root: Root = None,
    manifests: Manifests = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Measure a base on the test data that are here."""
    import torch

    from autods.core.devices import choose_device
    from bmc.sites.evaluate import measure
    from bmc.sites.model import open_base

    measured = measure(
        base, stream, dataset=dataset, task=task, root=root,
        catalogue=open_catalogue(manifests, open_root(root)),
        device=choose_device(device, ("cpu", "cuda")),
    )  # fmt: skip
    _tell(measured.notes)
    if json:
        print_json({"base": str(base), "tasks": measured.rows, "means": measured.means})
        return
    shown = [
        {"task": row["task"], **_percent(row), "test samples": row["samples"]}
        for row in measured.rows
    ]
    total = sum(row["samples"] for row in measured.rows)
    shown.append({"task": "mean over tasks", **_percent(measured.means), "test samples": total})
    print_table(f"Accuracy of {base}", shown)
    opened = open_base(base, torch.device("cpu"))
    if _following(opened):
        _next(opened)


def _percent(row: dict[str, Any]) -> dict[str, str]:
    keys = {"class_il": "class-il %", "task_il": "task-il %", "dataset_id": "dataset-id %"}
    return {title: f"{100 * row[key]:.1f}" for key, title in keys.items()}


def _tell(notes: Iterable[str]) -> None:
    for note in notes:
        typer.echo(f"note: {note}", err=True)


def _described(base: Base) -> dict[str, Any]:
    """Return what programs want to know of a base."""
    header, plan = base.file.header, base.plan
    return {
        "base": str(base.file.path),
        "bytes": base.file.size,
        "method": plan.method,
        "learned": header.learned,
        "tasks": [task.name for task in plan.tasks],
        "next": _following(base),
        "communication_bytes": header.communication_bytes,
        "broadcast_bytes": header.broadcast_bytes,
    }


def _following(base: Base) -> list[str]:
    from bmc.sites.plan import group_of

    return [base.plan.tasks[k].name for k in group_of(base.method, base.plan, base.learned)]


def _state(base: Base) -> str:
    plan = base.plan
    return f"{plan.method} on {plan.stream}, {base.learned} of {len(plan.tasks)} tasks learned"


def _next(base: Base) -> None:
    """Say what comes next."""
    path = base.file.path
    names = _following(base)
    if not names:
        print(f"All are learned:  bmc-stream evaluate {quoted(path)} --root ROOT")
        return
    print(f"Next, where the data of each are ({some_of(names, 6)}):")
    words = f"--base {quoted(Path(path.name))} {_named(base.plan, names[0])}"
    print(f"  bmc-stream expert {words} --out MESSAGE")


def _named(plan: Plan, name: str) -> str:
    """Return the options that name a task: its dataset, and itself if that is not enough."""
    from bmc.sites.plan import number_of

    task = next(task for task in plan.tasks if task.name == name)
    words = f"--dataset {quoted(task.dataset)}"
    try:
        if plan.tasks[number_of(plan, task.dataset)] is task:
            return words
    except UsageError:  # a dataset of several tasks
        pass
    return f"{words} --task {quoted(name)}"


def _size(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"
