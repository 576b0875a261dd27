"""Intervals and paired tests of the report in words: a line for each group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from bmc.report.columns import MISSING
from bmc.report.groups import Group
from bmc.report.statistics import Row, compare_groups

TIED, WORSE = "not told apart", "worse"  # p from 0.05 on, and below


class Tests(NamedTuple):
    """Each group whose final mean is known, in words.

    A line has mean, interval, difference to the best, p, verdict and number of orders.
    """

    lines: list[tuple[Group, list[str]]]
    tied: list[str]  # labels of the groups that the tests cannot tell from the best
    tested: int  # groups tested against the best, references left out


def tests_of(groups: Sequence[Group], scenario: str) -> Tests | None:
    """Compare the final means of groups; ``None`` when all have one order."""
    rows = [row for row in compare_groups(groups, scenario) if row.mean is not None]
    if all(row.n < 2 for row in rows):
        return None
    lines = [(row.group, [*_numbers(row), _verdict(row), str(row.n)]) for row in rows]
    tested = [(g.label, texts[4]) for g, texts in lines if texts[4] in (TIED, WORSE)]
    return Tests(lines, [label for label, verdict in tested if verdict == TIED], len(tested))


def _numbers(row: Row) -> list[str]:
    """Return mean, interval, difference and p, with the sign that typesetters use for minus."""
    interval = MISSING
    if row.low is not None and row.high is not None:
        interval = f"{100 * row.low:.1f} to {100 * row.high:.1f}"
    texts = [f"{100 * (row.mean or 0):.1f}", interval, row.difference_text, row.p_text]
    return [text.replace("-", "\N{MINUS SIGN}").replace("<", "< ") for text in texts]


def _verdict(row: Row) -> str:
    if row.best:
        return "best"
    if row.group.reference:
        return "reference"
    if row.p is None:
        return "not tested"
    return TIED if row.tied else WORSE
