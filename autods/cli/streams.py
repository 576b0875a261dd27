"""The commands about streams: show what one consists of, write its definition."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autods.cli import complete, next_steps
from autods.cli.common import Json, Manifests, Root, check_report, open_catalogue, open_root
from autods.core.console import AppCommand, AppGroup, print_json, print_next, print_table
from autods.core.output import tell
from autods.errors import UsageError

if TYPE_CHECKING:
    from autods.streams.table import Row, Table
    from autods.streams.tasks import Order

Stream = Annotated[
    str,
    typer.Argument(
        metavar="NAME|FILE",
        help="A stream by name, YAML file, or comma-separated datasets.",
        autocompletion=complete.streams,
    ),
]
Encoder = Annotated[
    str | None, typer.Option(help="Count the features of this encoder, where they are.")
]
ProtocolName = Annotated[
    str | None, typer.Option(help="clean or paper; default what the file says, else clean.")
]
OrderText = Annotated[
    str, typer.Option(help="paper (as defined), a seed, or names of tasks, comma-separated.")
]
Cut = Annotated[
    int | None, typer.Option(min=1, help="Cut datasets into tasks of about so many classes.")
]
First = Annotated[int | None, typer.Option(min=1, help="Keep only the first tasks.")]


group = typer.Typer(cls=AppGroup, no_args_is_help=True, help="Show and write streams.")


@group.command(cls=AppCommand)
def show(
    stream: Stream,
    encoder: Encoder = None,
    protocol: ProtocolName = None,
    order: OrderText = "paper",
    classes_per_task: Cut = None,
    max_tasks: First = None,
    root: Root = None,
    manifests: Manifests = None,
    json: Json = False,
) -> None:
    """Show the tasks of a stream: classes, samples, and the number of the first class."""
    from autods.streams.table import as_json

    table = _table(stream, encoder, protocol, order, classes_per_task, max_tasks, root, manifests)
    if json:
        print_json(as_json(table))
        return
    print_table(
        f"Stream {table.spec.name} ('?': unknown)", list(map(_shown, table.rows)), ["dataset"]
    )
    tell(_total(table.rows))
    for note in table.notes():
        tell(f"Note: {note}.")
    print_next(_run(stream, encoder, classes_per_task, max_tasks, root))


@group.command(cls=AppCommand)
def write(
    stream: Stream,
    file: Annotated[Path, typer.Argument(help="YAML file to write.")],
    name: Annotated[str | None, typer.Option(help="Name of the stream; default its own.")] = None,
    encoder: Encoder = None,
    protocol: ProtocolName = None,
    order: OrderText = "paper",
    classes_per_task: Cut = None,
    max_tasks: First = None,
    root: Root = None,
    manifests: Manifests = None,
) -> None:
    """Write a stream as a YAML file that lists every task; edit it, and use it as a stream."""
    if file.suffix not in (".yaml", ".yml"):
        raise UsageError(
            f"{file}: expected a name that ends in .yaml, by which streams know a file; nothing "
            "was written."
        )
    if file.exists():
        raise UsageError(
            f"{file} exists already and was left as it is. Delete it or choose another name."
        )
    check_report(file, "FILE")
    table = _table(stream, encoder, protocol, order, classes_per_task, max_tasks, root, manifests)
    spec = table.spec if name is None else table.spec.model_copy(update={"name": name})
    unnamed = [row.task for row in table.rows if row.class_names is None and "[" in row.task]
    if unnamed:
        raise UsageError(
            f"the class names of {', '.join(unnamed[:3])} are not known before their archives "
            "are here; nothing was written. Fetch and index them first."
        )
    print(spec.write(file))
    print_next(_run(str(file), encoder, None, None, root))


def _table(
    stream: str,
    encoder: str | None,
    protocol: str | None,
    order: str,
    classes_per_task: int | None,
    max_tasks: int | None,
    root: Path | None,
    manifests: list[Path] | None,
) -> Table:
    from autods.streams.resolve import resolve
    from autods.streams.table import tabulate

    data_root = open_root(root)
    request = resolve(
        stream,
        data_root,
        encoder,
        protocol=protocol,
        order=_order(order),
        catalogue=open_catalogue(manifests, data_root),
        classes_per_task=classes_per_task,
        max_tasks=max_tasks,
    )
    return tabulate(request)


def _run(
    stream: str,
    encoder: str | None,
    classes_per_task: int | None,
    max_tasks: int | None,
    root: Path | None,
) -> str:
    """Return the command that learns a stream."""
    options = {
        "--encoder": encoder,
        "--classes-per-task": classes_per_task,
        "--max-tasks": max_tasks,
    }
    given = [str(word) for pair in options.items() if pair[1] is not None for word in pair]
    words = ["--scenario", "class-il", "--stream", stream, *given]
    return next_steps.command("bmc-stream run", *words, root=root)


def _order(text: str) -> Order:
    if text.isascii() and text.isdecimal():
        return int(text)
    return text if text == "paper" else [part.strip() for part in text.split(",")]


def _shown(row: Row) -> dict[str, str | int | None]:
    return {
        "task": row.task,
        "dataset": row.dataset,
        "labels": row.label_set,
        "classes": row.classes,
        "train": row.train,
        "dev": row.dev,
        "test": row.test,
        "offset": row.offset,
        "from": row.counted,
    }


def _total(rows: list[Row]) -> str:
    def total(values: list[int | None]) -> str:
        known = [value for value in values if value is not None]
        if not known:
            return "?"
        return f"{sum(known):,}" if len(known) == len(values) else f"{sum(known):,} + ?"

    return (
        f"{len(rows):,} tasks, {total([row.classes for row in rows])} classes; "
        f"train {total([row.train for row in rows])}, dev {total([row.dev for row in rows])}, "
        f"test {total([row.test for row in rows])}."
    )
