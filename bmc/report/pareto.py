"""Accuracy against cost: the groups as points, and which of them no other dominates."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from bmc.report.charts import choosing, chosen, table
from bmc.report.columns import MB
from bmc.report.groups import Group, Stat, summarise
from bmc.report.looks import Entry
from bmc.report.style import Style

if TYPE_CHECKING:
    import altair as alt

FAR = 3.0  # the largest cost is so many times the smallest: a log axis
NARROW, CLOSE = 0.5, 0.05  # parts of the width and height that a name may take


class Point(NamedTuple):
    """A group with its mean total cost (MB) and final accuracy."""

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


def pareto(shown: Sequence[Entry], style: Style) -> alt.LayerChart:
    """Draw final accuracy against bytes sent, broadcast and kept; the front is filled and joined.

    The axis of accuracy shows the range of methods that store anything; others are at its edge.
    """
    import altair as alt

    entries = {id(e.group): e for e in shown}
    points = cost_points([e.group for e in shown])
    front = pareto_front(points)
    means = [100 * p.accuracy.mean for p in points if p.cost > 0] or [
        100 * p.accuracy.mean for p in points
    ]
    low, high = max(0.0, min(means) - 2), min(100.0, max(means) + 2)
    scale = alt.Scale(domain=[low, high], nice=True, clamp=True, zero=False)
    axis, reach = _cost_axis([p.cost for p in points])
    heights = [(100 * p.accuracy.mean - low) / (high - low) for p in front]
    sides = _name_sides([(reach(p.cost), max(0.0, y)) for p, y in zip(front, heights, strict=True)])
    named = dict(zip((id(p.group) for p in front), sides, strict=True))
    rows: list[list[Any]] = []
    for point in points:
        mean, sd = 100 * point.accuracy.mean, 100 * (point.accuracy.sd or 0)
        g = id(point.group)
        rows.append([
            entries[g].name, point.cost, mean, max(0.0, mean - sd), min(100.0, mean + sd),
            int(g in named), named.get(g, ""),
        ])  # fmt: skip
    y = alt.Y("mean:Q", title="final mean accuracy (%)", scale=scale, axis=alt.Axis(tickCount=6))
    numbers = dict.fromkeys(("cost", "mean", "low", "high", "front"), "number")
    base = alt.Chart(table(rows, name="string", **numbers, side="string")).encode(x=axis, y=y)
    tips = [alt.Tooltip("name:N", title="method"),
            alt.Tooltip("cost:Q", title="total cost, MB", format=",.2f"),
            alt.Tooltip("mean:Q", title="final mean accuracy, %", format=".1f")]  # fmt: skip
    picked = chosen(base, style)
    look = style.by_method(shown, "color", "shape")
    marker: dict[str, Any] = {"size": 2 * style.point, "opacity": 1, "strokeWidth": style.stroke}
    on_front = base.transform_filter("datum.front")
    names = on_front.encode(text="name:N")
    away = 0.6 * style.size
    above: dict[str, Any] = {"dy": -away, "limit": 12 * style.size}
    layers = [
        on_front.transform_filter("datum.cost > 0").mark_line(
            color=style.colour("soft"), strokeWidth=style.stroke / 2),
        picked.mark_rule(strokeOpacity=0.7)
            .encode(y=alt.Y("low:Q", scale=scale), y2="high:Q", color=look["color"]),
        picked.transform_filter("!datum.front")
            .mark_point(fill=style.colour("ground"), **marker).encode(**look, tooltip=tips),
        picked.transform_filter("datum.front").mark_point(filled=True, **marker)
            .encode(**look, tooltip=tips),
        names.transform_filter("datum.side == 'left'").mark_text(align="right", dx=-away, **above),
        names.transform_filter("datum.side == 'right'").mark_text(align="left", dx=away, **above),
    ]  # fmt: skip
    return choosing(style.finish(*layers, height=380), style)


def _name_sides(front: Sequence[tuple[float, float]]) -> list[str]:
    """Choose on which side of a point of the front its name stands: left, right or nowhere.

    ``front`` has the points from cheap to dear, as parts of the width and the height. Nothing lies
    up and left of them, but names need room to the axis, and of two that would meet the better
    point's stays.
    """
    sides: list[str] = []
    kept: list[tuple[float, float]] = []
    for x, y in reversed(front):
        free = all(abs(y - b) > CLOSE or abs(x - a) > NARROW for a, b in kept)
        sides.append("" if not free else "left" if x > 0.5 else "right")
        kept += [(x, y)] * free
    return sides[::-1]


def _cost_axis(costs: Sequence[float]) -> tuple[alt.X, Callable[[float], float]]:
    """Return the axis of cost, and how far along it a cost lies, from 0 to 1.

    It starts from 0; costs that differ much use a log axis, with room for 0 before it.
    """
    import altair as alt

    known = [cost for cost in costs if cost > 0] or [1.0]
    least, most = min(known), 1.3 * max(known)
    title = "bytes sent + broadcast + kept (MB"
    if max(known) / least <= FAR:
        scale = alt.Scale(domain=[0, most], nice=False)
        return alt.X("cost:Q", title=f"{title})", scale=scale, axis=alt.Axis(tickCount=6)), (
            lambda cost: cost / most
        )
    first, last = math.floor(math.log10(least)), math.ceil(math.log10(most))
    steps = (1, 2, 5) if last - first < 3 else (1,)
    ticks = [k * 10.0**e for e in range(first, last + 1) for k in steps]
    inside = [0.0] * (0 in costs) + [t for t in ticks if least / 1.5 < t < most]
    constant, low = least / 4, 0.0 if 0 in costs else least / 1.5
    scale = alt.Scale(type="symlog", constant=constant, domain=[low, most], nice=False)
    axis = alt.Axis(values=inside, format=",.4~f", labelOverlap=True)
    start, end = math.log1p(low / constant), math.log1p(most / constant)
    return alt.X("cost:Q", title=f"{title}, log axis)", scale=scale, axis=axis), (
        lambda cost: (math.log1p(cost / constant) - start) / (end - start)
    )
