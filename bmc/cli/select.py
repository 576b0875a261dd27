"""What a command line names, looked up: streams, methods, orders of tasks, devices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from autods.errors import UsageError

if TYPE_CHECKING:
    from autods.streams.stream import Stream
    from bmc.runs.choice import StreamChoice


def methods_of(text: str) -> list[str]:
    """Return the methods of a comma-separated list, or all of them.

    Raises
    ------
    UnknownName, UsageError
        When a name is unknown, or there is none.
    """
    from bmc.methods import METHODS

    names = METHODS.names() if text == "all" else [part for part in text.split(",") if part]
    if not names:
        raise UsageError(f"--method: expected names such as bmc,er or 'all'; got '{text}'.")
    for name in names:
        METHODS.get(name)
    return list(dict.fromkeys(names))


def orders_of(text: str) -> list[str | int]:
    """Return ``["paper"]``, or the seeds of orders that a comma-separated list names.

    Raises
    ------
    UsageError
        When it is neither.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if parts == ["paper"]:
        return ["paper"]
    if parts and all(part.isdecimal() and part.isascii() for part in parts):
        return [int(part) for part in parts]
    raise UsageError(f"--order: expected 'paper' or seeds such as 0,1,2; got '{text}'.")


def distinct_orders(
    choice: StreamChoice, orders: Sequence[str | int]
) -> tuple[dict[str | int, Stream], list[str]]:
    """Open a stream in several orders; few tasks have few orders, and none is taken twice.

    Returns
    -------
    tuple
        The streams by order, and a line about each order that was left out.
    """
    opened: dict[str | int, Stream] = {}
    known: dict[tuple[str, ...], str | int] = {}
    notes = []
    for order in orders:
        stream = choice.open(order)
        sequence = tuple(task.name for task in stream.tasks)
        if sequence in known:
            notes.append(f"Order {order} is order {known[sequence]} again; skipped.")
        else:
            known[sequence], opened[order] = order, stream
    return opened, notes


def with_finetune(methods: Iterable[str]) -> list[str]:
    """Add fine-tuning, whose time is 100 % of relative time, unless it is among the methods."""
    from bmc.report.load import BASE_OF_TIME

    return list(dict.fromkeys([*methods, BASE_OF_TIME]))
