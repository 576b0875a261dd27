"""Intervals and paired tests of the report: a line for each group, with its interval drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from bmc.report import svg
from bmc.report.columns import MISSING
from bmc.report.groups import Group
from bmc.report.statistics import Row, compare_groups

WIDTH, HEIGHT = 180.0, 20.0  # pixels of a drawing in the table
EDGE = 9.0  # pixels that a marker or an arrow needs
NEAR = 15.0  # points below the best that are drawn
TIED, WORSE = "not told apart", "worse"  # p from 0.05 on, and below


class Line(NamedTuple):
    """One group in words, its interval as a drawing."""

    group: Group
    mean: str
    interval: str
    drawing: Markup
    difference: str
    p: str
    verdict: str
    orders: int


class Table(NamedTuple):
    """Lines, and the ends in per cent of the scale that they are drawn on."""

    lines: list[Line]
    low: int
    high: int

    @property
    def tied(self) -> list[str]:
        """Labels of the groups that the tests cannot tell from the best."""
        return [line.group.label for line in self.lines if line.verdict == TIED]

    @property
    def tested(self) -> int:
        """How many groups were tested against the best, references left out."""
        return sum(line.verdict in (TIED, WORSE) for line in self.lines)


def table(groups: Sequence[Group], scenario: str) -> Table | None:
    """Return a line for each group whose final mean is known; ``None`` when all have one order.

    The scale shows what lies near the best.
    """
    rows = [row for row in compare_groups(groups, scenario) if row.mean is not None]
    if all(row.n < 2 for row in rows):
        return None
    ends = [v * 100 for row in rows for v in (row.low, row.high, row.mean) if v is not None]
    best = next((row.mean for row in rows if row.best and row.mean is not None), None)
    least = min(ends) if best is None else max(min(ends), best * 100 - NEAR)
    low, high = max(0, math.floor(least)), min(100, math.ceil(max(ends)))
    frame = svg.Frame(EDGE, 0, WIDTH - EDGE, HEIGHT, (low, max(high, low + 1)), (0, 1))
    return Table([_line(row, frame, best) for row in rows], low, max(high, low + 1))


def _line(row: Row, frame: svg.Frame, best: float | None) -> Line:
    assert row.mean is not None
    interval = MISSING
    if row.low is not None and row.high is not None:
        interval = _minus(f"{row.low * 100:.1f} to {row.high * 100:.1f}")
    return Line(
        row.group, f"{row.mean * 100:.1f}", interval, _drawing(row, frame, best),
        _difference(row), _p(row), _verdict(row), row.n,
    )  # fmt: skip


def _difference(row: Row) -> str:
    if row.best or row.difference is None:
        return "" if row.best else MISSING
    text = f"{row.difference * 100:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else _minus(text)


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")


def _p(row: Row) -> str:
    if row.p is None:
        return "" if row.best else MISSING
    return "< 0.001" if row.p < 0.001 else f"{row.p:.3f}"


def _verdict(row: Row) -> str:
    if row.best:
        return "best"
    if row.group.reference:
        return "reference"
    if row.p is None:
        return "not tested"
    return TIED if row.tied else WORSE


def _drawing(row: Row, frame: svg.Frame, best: float | None) -> Markup:
    """Draw the interval and the mean, and a line where the best has its mean."""
    assert row.mean is not None
    cls = svg.style_class(row.group.style, row.group.reference)
    middle, (low, high) = HEIGHT / 2, frame.x_range
    parts = []
    if best is not None:
        x = frame.x(best * 100)
        parts.append(svg.line(x, 0, x, HEIGHT, "mark"))
    if not low <= row.mean * 100 <= high:
        arrow = [(0, middle), (8, middle - 5), (8, middle + 5)]
        parts.append(f'<polygon points="{svg.points(arrow)}" class="dot {cls}"/>')
    else:
        if row.low is not None and row.high is not None:
            ends = [frame.x(min(high, max(low, v * 100))) for v in (row.low, row.high)]
            parts.append(svg.line(ends[0], middle, ends[1], middle, f"range {cls}"))
            parts += [svg.line(x, middle - 5, x, middle + 5, f"range {cls}") for x in ends]
        x = frame.x(row.mean * 100)
        parts.append(svg.marker(row.group.style, x, middle, f"dot {cls}", radius=3))
    size = f'viewBox="0 0 {WIDTH:g} {HEIGHT:g}"'
    # the numbers stand beside it
    return Markup(f'<svg class="interval" {size} aria-hidden="true">{"".join(parts)}</svg>')
