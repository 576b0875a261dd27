"""Intervals and paired tests of the report in words: a line for each group."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from bmc.report.columns import MISSING
from bmc.report.groups import Group
from bmc.report.statistics import Row, compare_groups


class Column(NamedTuple):
    """A column of the tests: what it is over (empty: neither), its header, unit and texts."""

    over: Literal["", "samples", "orders"]
    name: str
    unit: str
    text: Callable[[Row], str]


class Tests(NamedTuple):
    """Each group whose final mean is known, in words: a text for each column."""

    columns: list[Column]
    lines: list[tuple[Group, list[str]]]
    tied: list[str]  # labels of the groups that the tests cannot tell from the best
    tested: int  # groups tested against the best, references left out
    over: set[str]  # of samples and orders, what anything is known over
    notes: list[str]


def tests_of(groups: Sequence[Group], scenario: str) -> Tests | None:
    """Compare the final means of groups; ``None`` if there is one order and no test samples."""
    rows = [row for row in compare_groups(groups, scenario) if row.mean is not None]
    over = {"samples"} if any(row.samples for row in rows) else set()
    over |= {"orders"} if any(row.orders.n > 1 for row in rows) else set()
    if not over:
        return None
    columns = [column for column in COLUMNS if not column.over or column.over in over]
    lines = [(row.group, [_typeset(column.text(row)) for column in columns]) for row in rows]
    tied = [row.group.label for row in rows if row.verdict == "not told apart"]
    worse = [row.group.label for row in rows if row.verdict == "worse"]
    notes = [note[0].upper() + note[1:] + "." for note in sample_notes(rows)]
    return Tests(columns, lines, tied, len(tied) + len(worse), over, notes)


def sample_notes(rows: Sequence[Row]) -> list[str]:
    """Say where nothing is known over test samples, and why."""
    notes = []
    for why in dict.fromkeys(row.why for row in rows if row.why):
        whose = [row.group.label for row in rows if row.why == why]
        of = "" if len(whose) == len(rows) else f" of {', '.join(whose)}"
        notes.append(f"no interval over test samples{of}: {why}")
    return notes


def _range(low: float | None, high: float | None, sign: str = "") -> str:
    if low is None or high is None:
        return MISSING
    return " to ".join(f"{100 * end:{sign}.1f}" for end in (low, high))


def _over_samples(row: Row) -> str:
    return MISSING if row.samples is None else _range(row.samples.low, row.samples.high)


def _of_difference(row: Row) -> str:
    if row.best:
        return ""
    known = row.samples
    return MISSING if known is None else _range(known.difference_low, known.difference_high, "+")


def _deviation(row: Row) -> str:
    return MISSING if row.orders.sd is None else f"{100 * row.orders.sd:.1f}"


COLUMNS = (
    Column("", "mean", "%", lambda row: f"{100 * (row.mean or 0):.1f}"),
    Column("samples", "interval over test samples", "%", _over_samples),
    Column("orders", "interval over orders", "%",
           lambda row: _range(row.orders.low, row.orders.high)),
    Column("orders", "deviation over orders", "points", _deviation),
    Column("", "difference", "points", lambda row: row.difference_text),
    Column("samples", "its interval over test samples", "points", _of_difference),
    Column("samples", "p (test samples)", "", lambda row: row.p_text(row.samples_p)),
    Column("orders", "p (orders)", "", lambda row: row.p_text(row.orders.p)),
    Column("", "against the best", "", lambda row: row.verdict),
    Column("orders", "orders", "", lambda row: str(row.orders.n)),
)  # fmt: skip


def _typeset(text: str) -> str:
    """Write the sign that typesetters use for minus."""
    return text.replace("-", "\N{MINUS SIGN}").replace("<", "< ")
