"""The figure for papers of accuracy against cost, with the names beside the points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bmc.report.cost import FAR, Point, cost_points, pareto_front
from bmc.report.figures import tag
from bmc.report.groups import Group, drawn
from bmc.report.paper import GREY, RULE, SMALL, look, new_figure
from bmc.report.places import choose_places

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKER = 5.5  # half a marker with some air, in those pixels
PIXEL = SMALL / 12  # points of a pixel in which names have 12 pixels


def pareto(groups: Sequence[Group], width: float) -> Figure:
    """Draw final mean accuracy against bytes sent and remembered; the front's points are joined."""
    points = cost_points(groups)
    front = pareto_front(points)
    figure, axes = new_figure(width, min(width, 4.2) * 0.85, 0.5, 0.12)
    at = _costs(axes, points)
    log = ", log axis" if axes.get_xscale() == "log" else ""
    axes.set(ylabel="final mean accuracy (%)", xlabel=f"bytes sent + remembered (MB{log})")
    axes.grid(color=RULE, linewidth=0.4)
    axes.set_axisbelow(True)
    line = [(at[p.group.label], p.accuracy.mean * 100) for p in front if p.cost > 0]
    axes.plot([x for x, _ in line], [y for _, y in line], color=GREY, linewidth=0.8)
    for point in points:
        style, on = look(point.group), point in front
        x, y = at[point.group.label], point.accuracy.mean * 100
        deviation = 100 * (point.accuracy.sd or 0)
        axes.plot([x, x], [y - deviation, y + deviation], color=style["color"], linewidth=0.7)
        axes.plot([x], [y], style["marker"], color=style["color"], markersize=4.5, zorder=3,
                  markerfacecolor=style["color"] if on else "white", clip_on=False)  # fmt: skip
    values = [p.accuracy.mean * 100 for p in points]
    axes.set_ylim(max(-2.0, min(values) - 6), min(108.0, max(values) + 12))
    _write_names(axes, points, front, at)
    return figure


def _costs(axes: Axes, points: Sequence[Point]) -> dict[str, float]:
    """Set up the axis of cost; return where each group stands on it.

    Methods that store nothing stand at the left edge of a log axis, on a tick of their own.
    """
    costs = [p.cost for p in points if p.cost > 0] or [1.0]
    if max(costs) / min(costs) <= FAR:
        axes.set_xlim(0, max(costs) * 1.15)
        return {p.group.label: p.cost for p in points}
    axes.set_xscale("log")
    least, most = min(costs), max(costs)
    nothing = least / (most / least) ** 0.3
    free = any(p.cost == 0 for p in points)
    axes.set_xlim((nothing if free else least) / 1.4, most * 1.5)
    ticks = [t for e in range(-6, 9) for t in (10.0**e, 2 * 10.0**e, 5 * 10.0**e)]
    inside = [t for t in ticks if least / 1.1 <= t <= most * 1.4]
    inside = inside if len(inside) <= 8 else [t for t in inside if f"{t:e}".startswith("1")]
    marks = [(nothing, "0")] * free + [(t, f"{t:g}") for t in inside]
    axes.set_xticks([t for t, _ in marks], [text for _, text in marks])
    axes.minorticks_off()
    return {p.group.label: p.cost if p.cost > 0 else nothing for p in points}


def _write_names(
    axes: Axes, points: Sequence[Point], front: Sequence[Point], at: dict[str, float]
) -> None:
    """Write names where there is room: the front's first, then those drawn elsewhere."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    scale = 72 / figure.dpi / PIXEL  # pixels of names for one of the figure
    height = figure.get_figheight() * 72 / PIXEL

    def spot(point: Point) -> tuple[float, float]:
        x, y = axes.transData.transform((at[point.group.label], point.accuracy.mean * 100))
        return x * scale, height - y * scale

    spots = [spot(p) for p in points]
    best = {p.group.label for p in front}
    usual = {g.label for g in drawn([p.group for p in points])}
    rank = [2 * (p.group.label not in best) + (p.group.label not in usual) for p in points]
    order = sorted(range(len(points)), key=lambda k: rank[k])
    box = axes.get_window_extent()
    area = (box.x0 * scale + 2, figure.bbox.x1 * scale - 2, height - box.y1 * scale,
            height - box.y0 * scale)  # fmt: skip
    line = [spot(p) for p in front if p.cost > 0]
    names = [tag(p.group) for p in points]
    for place in choose_places(spots, names, order, line, area, MARKER):
        left, _, _, bottom = place.box
        axes.annotate(place.name, (left * PIXEL, (height - bottom + 3) * PIXEL), fontsize=SMALL,
                      xycoords="figure points", annotation_clip=False)  # fmt: skip
        if place.leader:
            (x1, y1), (x2, y2) = place.leader
            wide = figure.bbox.width * scale
            ends = ([x1 / wide, x2 / wide], [1 - y1 / height, 1 - y2 / height])
            axes.plot(*ends, color=GREY, linewidth=0.4, transform=figure.transFigure, zorder=2)
