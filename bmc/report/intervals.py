"""Intervals and paired tests of the report in words: a line for each group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from bmc.report.columns import MISSING
from bmc.report.groups import Group
from bmc.report.statistics import Row, compare_groups

TIED, WORSE = "not told apart", "worse"  # p from 0.05 on, and below


class Line(NamedTuple):
    """One group in words."""

    group: Group
    mean: str
    interval: str
    difference: str
    p: str
    verdict: str
    orders: int


class Tests(NamedTuple):
    """The lines of all groups whose final mean is known."""

    lines: list[Line]

    @property
    def tied(self) -> list[str]:
        """Labels of the groups that the tests cannot tell from the best."""
        return [line.group.label for line in self.lines if line.verdict == TIED]

    @property
    def tested(self) -> int:
        """How many groups were tested against the best, references left out."""
        return sum(line.verdict in (TIED, WORSE) for line in self.lines)


def tests_of(groups: Sequence[Group], scenario: str) -> Tests | None:
    """Return a line for each group whose final mean is known; ``None`` when all have one order."""
    rows = [row for row in compare_groups(groups, scenario) if row.mean is not None]
    return None if all(row.n < 2 for row in rows) else Tests([_line(row) for row in rows])


def _line(row: Row) -> Line:
    assert row.mean is not None
    interval = MISSING
    if row.low is not None and row.high is not None:
        interval = _minus(f"{row.low * 100:.1f} to {row.high * 100:.1f}")
    return Line(row.group, f"{row.mean * 100:.1f}", interval, _minus(row.difference_text),
                row.p_text.replace("<", "< "), _verdict(row), row.n)  # fmt: skip


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")


def _verdict(row: Row) -> str:
    if row.best:
        return "best"
    if row.group.reference:
        return "reference"
    if row.p is None:
        return "not tested"
    return TIED if row.tied else WORSE
