"""The figures of cost: the Pareto front of accuracy against total cost, and cost accuracy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from bmc.report import svg
from bmc.report.columns import MB
from bmc.report.figures import bars, percent, tag
from bmc.report.groups import Group, Stat, summarise
from bmc.report.places import place_names

TOP, BOTTOM = 12.0, 352.0  # pixel rows of the plotting area
LEFT = 40.0  # its first pixel column
ROUND = (1, 2, 5)  # numbers on a log axis, times a power of ten
EDGE = 9.0  # pixels that points outside the range of accuracies keep from the edge
FAR = 3.0  # the largest cost is so many times the smallest: a log axis


class Point(NamedTuple):
    """A row of the results where its mean accuracy and total cost (MB) are known."""

    group: Group
    cost: float
    accuracy: Stat


def cost_points(groups: Sequence[Group]) -> list[Point]:
    """Return each group's total cost and final mean accuracy, in the runs' own scenario."""
    points = []
    for g in groups:
        accuracy = g.metric(g.first.scenario, "final_mean")
        total = summarise(run.costs.total_bytes * MB for run in g.runs)
        if accuracy is not None and total is not None:
            points.append(Point(g, total.mean, accuracy))
    return points


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other equals at less cost or beats at the same, by cost.

    References see all data at once, which the cost does not count: they do not compete.
    """
    front: list[Point] = []
    competing = [p for p in points if not p.group.reference]
    for point in sorted(competing, key=lambda p: (p.cost, -p.accuracy.mean)):
        if not front or point.accuracy.mean > front[-1].accuracy.mean:
            front.append(point)
    return front


def pareto(groups: Sequence[Group], width: int, cls: str) -> Markup:
    """Draw final accuracy against bytes sent plus remembered; the front's points are joined.

    Methods that store nothing stand at 0, left of a log axis.
    """
    points = cost_points(groups)
    front = pareto_front(points)
    frame, ticks = _frame(points, width)
    place = {p.group.label: _place(p, frame) for p in points}
    parts = [_axes(frame, ticks, any(p.cost == 0 for p in points))]
    line = [place[p.group.label] for p in front if p.cost > 0]
    if len(line) > 1:
        parts.append(f'<polyline points="{svg.points(line)}" class="front"/>')
    best = {p.group.label for p in front}
    drawn = sorted(points, key=lambda p: p.group.label in best)  # the front lies on top
    spots = [place[p.group.label] for p in drawn]
    for point, (x, y) in zip(drawn, spots, strict=True):
        parts.append(_mark(point, x, y, frame, point.group.label in best))
    names = [_name(p, frame) for p in drawn]
    # those of the front choose their places first
    first = [*range(len(drawn) - len(front), len(drawn)), *range(len(drawn) - len(front))]
    parts.append(place_names(spots, names, first, line, (LEFT + 2, width, TOP, BOTTOM)))
    said = "; ".join(_said(p) for p in points)
    on = ", ".join(p.group.label for p in front)
    label = f"Final mean accuracy against total cost. On the Pareto front: {on}. All: {said}."
    return svg.figure(width, BOTTOM + 38, label, parts, cls)


def cost_accuracy(groups: Sequence[Group], width: int = 380) -> Markup:
    """Draw final mean accuracy in per cent per megabyte of total cost as bars."""
    rows = []
    for g in groups:
        stat = summarise(run.costs.cost_accuracy for run in g.runs)
        stores = any(run.costs.total_bytes for run in g.runs)
        shown = "stores nothing" if not stores else "n/a"
        rows.append((g, stat.mean if stat else None, f"{stat.mean:,.2f} %/MB" if stat else shown))
    longest = max((value for _, value, _ in rows if value is not None), default=1.0)
    return bars(rows, longest or 1.0, "Cost accuracy: per cent of accuracy per MB. ", width)


def _place(point: Point, frame: svg.Frame) -> tuple[float, float]:
    """Return the pixels of a point; one outside the range of accuracies stands at its edge."""
    low, high = frame.y_range
    x = frame.x(point.cost) if point.cost > 0 else _nothing(frame)
    y = frame.y(point.accuracy.mean * 100)
    inside = low <= point.accuracy.mean * 100 <= high
    return x, y if inside else min(frame.bottom - EDGE, max(frame.top + EDGE, y))


def _name(point: Point, frame: svg.Frame) -> str:
    """Name a point, with its accuracy where its place does not tell it."""
    low, high = frame.y_range
    if low <= point.accuracy.mean * 100 <= high:
        return tag(point.group)
    return f"{tag(point.group)}, at {percent(point.accuracy.mean)}"


def _said(point: Point) -> str:
    return f"{point.group.label}: {point.cost:,.2f} MB, {percent(point.accuracy.mean)}"


def _mark(point: Point, x: float, y: float, frame: svg.Frame, on_front: bool) -> str:
    """Draw one point: filled on the front, else hollow; a line of one deviation behind it."""
    g, (mean, sd, _) = point.group, point.accuracy
    cls = svg.style_class(g.style, g.reference)
    behind = ""
    low, high = frame.y_range
    if sd and low <= mean * 100 <= high:
        ends = [frame.y(min(high, max(low, (mean + sign * sd) * 100))) for sign in (1, -1)]
        behind = svg.line(x, ends[0], x, ends[1], f"deviation {cls}")
    shape = f"{'dot' if on_front else 'hollow'} {cls}"
    return behind + svg.marker(g.style, x, y, shape, radius=5.5, tip=_said(point))


def _frame(points: Sequence[Point], width: int) -> tuple[svg.Frame, list[float]]:
    """Choose the axes: accuracy around that of what stores anything; cost from 0, or its log."""
    stored = [p for p in points if p.cost > 0] or points
    values = [p.accuracy.mean * 100 for p in stored] or [0.0, 100.0]
    step = 10 if max(values) - min(values) > 20 else 5
    low = max(0, math.floor((min(values) - 1) / step) * step)
    high = min(100, max(low + 2 * step, math.ceil((max(values) + 1) / step) * step))
    y_range = (float(min(low, high - 2 * step)), float(high))
    costs = [p.cost for p in points if p.cost > 0] or [1.0]
    log = max(costs) / min(costs) > FAR
    left = LEFT + 46 if log and any(p.cost == 0 for p in points) else LEFT
    if log:
        ticks = _log_ticks(min(costs) / 1.15, max(costs) * 1.15)
        x_range = (ticks[0], ticks[-1])
    else:
        ticks = _linear_ticks(max(costs) * 1.05)
        x_range = (0.0, ticks[-1])
    few = 6 if width < 500 else 12
    while len(ticks) > few:
        ticks = [t for t in ticks if _is_power(t)] if log and len(ticks) > 2 * few else ticks[::2]
    return svg.Frame(left, TOP, width - 16, BOTTOM, x_range, y_range, log), ticks


def _is_power(value: float) -> bool:
    exponent = math.log10(value)
    return abs(exponent - round(exponent)) < 1e-9


def _log_ticks(low: float, high: float) -> list[float]:
    """Return 1, 2, 5 times powers of ten from just below ``low`` to just above ``high``."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = [k * 10.0**e for e in range(first, last + 1) for k in ROUND]
    inner = [t for t in every if low < t < high]
    return [max(t for t in every if t <= low), *inner, min(t for t in every if t >= high)]


def _linear_ticks(high: float) -> list[float]:
    """Return multiples of a round step from 0 to just above ``high``, about six."""
    raw = high / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = min((k * power for k in (*ROUND, 10)), key=lambda s: abs(s - raw))
    return [step * k for k in range(math.ceil(high / step) + 1)]


def _nothing(frame: svg.Frame) -> float:
    """Return the pixel column of methods that store nothing."""
    return LEFT + 18 if frame.log else frame.left


def _axes(frame: svg.Frame, ticks: Sequence[float], nothing: bool) -> str:
    low, high = (round(v) for v in frame.y_range)
    step = 2 if high - low <= 10 else 5 if high - low <= 25 else 10 if high - low <= 60 else 20
    levels = range(math.ceil(low / step) * step, high + 1, step)
    whole = svg.Frame(LEFT, TOP, frame.right, BOTTOM, (0, 1), frame.y_range)
    parts = [whole.y_axis(levels)]
    parts += [svg.line(frame.x(t), TOP, frame.x(t), BOTTOM, "grid") for t in ticks]
    title = "bytes sent + remembered (MB" + (", log axis)" if frame.log else ")")
    parts.append(frame.x_axis([(t, f"{t:,g}") for t in ticks], title))
    if nothing and frame.log:
        parts.append(svg.text(_nothing(frame), BOTTOM + 16, "0", "middle", "tick"))
    return "".join(parts)
