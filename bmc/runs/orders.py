"""Orders of a stream's tasks, as a command line names them: ``paper``, or seeds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from autods.errors import UsageError

if TYPE_CHECKING:
    from autods.streams.stream import Stream
    from bmc.runs.choice import StreamChoice

Order = str | int  # "paper", or the seed of a random order


def parse_orders(text: str) -> list[Order]:
    """Read ``paper``, seeds such as ``0,1,2``, or a range of seeds such as ``0..4``."""
    orders: list[Order] = []
    for part in filter(None, map(str.strip, text.split(","))):
        seeds = re.fullmatch(r"([0-9]+)(?:\.\.([0-9]+))?", part)
        if seeds:
            first = int(seeds[1])
            orders += range(first, int(seeds[2] or first) + 1)
        elif part == "paper":
            orders.append(part)
        else:
            orders.clear()
            break
    if not orders:
        raise UsageError(
            f"--order: expected 'paper' or seeds such as 0,1,2 or 0..4; got '{text}'. "
            "Nothing was run."
        )
    return list(dict.fromkeys(orders))


def open_orders(
    choice: StreamChoice, orders: Iterable[Order]
) -> tuple[dict[Order, Stream], list[str]]:
    """Open a stream in several orders; few tasks have few orders, and none is taken twice.

    Also returns a line about each order that was skipped.
    """
    streams: dict[Order, Stream] = {}
    known: dict[tuple[str, ...], Order] = {}
    notes = []
    for order in orders:
        stream = choice.open(order)
        sequence = tuple(task.name for task in stream.tasks)
        if sequence in known:
            notes.append(f"Order {order} is order {known[sequence]} again; skipped.")
        else:
            known[sequence], streams[order] = order, stream
    return streams, notes


def single_task(choice: StreamChoice, streams: Mapping[Order, Stream]) -> list[str]:
    """Return a line that says that one task is no continual learning, if there is only one."""
    stream = next(iter(streams.values()))
    if len(stream.tasks) > 1:
        return []
    if choice.max_tasks == 1:
        return [one_task(stream, "Raise --max-tasks.")]
    return [
        one_task(
            stream,
            f"Cut its {stream.n_classes} classes into tasks with --classes-per-task N, or name "
            "several datasets with --stream A,B.",
        )
    ]


def one_task(stream: Stream, cure: str) -> str:
    """Say what it means that a stream has one task, and what to do."""
    return (
        f"This stream has one task, '{stream.tasks[0].name}': nothing is learned after it, so "
        f"nothing can be forgotten, and this is no continual learning. {cure}"
    )
