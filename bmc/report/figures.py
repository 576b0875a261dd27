"""The figures of the report that compare methods: each a function from groups to SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from bmc.report import svg
from bmc.report.groups import Group, Stat
from bmc.report.tables import MB, name

PERCENT = (0, 20, 40, 60, 80, 100)
SCENARIOS = {"class-il": "class-incremental", "task-il": "task-incremental"}


def swatch(g: Group) -> Markup:
    """Draw a group's line and marker, for legends and tables."""
    cls = svg.style_class(g.style, g.reference)
    parts = [
        svg.line(1, 7, 27, 7, f"curve {cls}"),
        svg.marker(g.style, 14, 7, f"dot {cls}", radius=4),
    ]
    return Markup(
        f'<svg class="swatch" viewBox="0 0 28 14" aria-hidden="true">{"".join(parts)}</svg>'
    )


def percent(value: float, digits: int = 1) -> str:
    """Format a fraction as a percentage, without a negative zero."""
    return f"{round(value * 100, digits) + 0.0:.{digits}f} %"


def learning_curves(groups: Sequence[Group], scenario: str, width: int, named: bool) -> Markup:
    """Draw accuracy over the number of tasks learned, with a band of one deviation.

    Parameters
    ----------
    named
        Whether to write each method's name at the end of its curve; else the legend does.
    """
    tasks = len(groups[0].first.tasks)
    right = width - (165 if named else 12)
    frame = svg.Frame(40, 12, right, 282, (min(1, tasks - 1), tasks), (0, 100))
    parts = [
        frame.y_axis(PERCENT),
        frame.x_axis([(t, str(t)) for t in svg.count_ticks(tasks)], "tasks learned"),
    ]
    ends = []
    for g in reversed(groups):  # the best is drawn last, on top
        curve = g.curve(scenario)
        if curve:
            parts.append(_curve(g, curve, frame))
            ends.append((g, curve[-1][1].mean))
    if named:
        rows = svg.spread([frame.y(end * 100) for _, end in ends], 15, 12, 286)
        for (g, end), row in zip(ends, rows, strict=True):
            cls = svg.style_class(g.style, g.reference)
            if abs(row - frame.y(end * 100)) > 4:
                parts.append(svg.line(right + 3, frame.y(end * 100), right + 10, row, "leader"))
            parts.append(svg.marker(g.style, right + 16, row, f"dot {cls}", radius=4))
            parts.append(svg.text(right + 25, row + 4, _short(g.label), cls="name"))
    said = "; ".join(f"{g.label} ends at {percent(end)}" for g, end in reversed(ends))
    label = f"{SCENARIOS[scenario].capitalize()} accuracy over tasks learned. {said}."
    return svg.figure(width, 325, label, parts, "wide" if named else "narrow")


def _short(label: str, limit: int = 21) -> str:
    return label if len(label) <= limit else label[: limit - 1].rstrip() + "…"


def _curve(g: Group, curve: list[tuple[int, Stat]], frame: svg.Frame) -> str:
    """Draw one method: band, line and (when few) its measured points."""
    cls = svg.style_class(g.style, g.reference)
    path = [(frame.x(n), frame.y(s.mean * 100)) for n, s in curve]
    if g.reference and len(curve) == 1:  # a level to compare with, rather than a curve
        path_drawn = [(frame.left, path[0][1]), (frame.right, path[0][1])]
    else:
        path_drawn = path
    drawn = f'<polyline points="{svg.points(path_drawn)}" class="curve {cls}"/>'
    upper = [(frame.x(n), frame.y(min(1, s.mean + (s.sd or 0)) * 100)) for n, s in curve]
    lower = [(frame.x(n), frame.y(max(0, s.mean - (s.sd or 0)) * 100)) for n, s in curve]
    band = ""
    if len(curve) > 1 and any(s.sd for _, s in curve):
        band = f'<polygon points="{svg.points(upper + lower[::-1])}" class="band {cls}"/>'
    every = max(1, len(curve) // 12)
    shown = [k for k in range(len(curve)) if (len(curve) - 1 - k) % every == 0]
    dots = "".join(
        svg.marker(
            g.style, *path[k], f"dot {cls}", radius=3.5,
            tip=f"{g.label}, {curve[k][0]} tasks learned: {percent(curve[k][1].mean)}",
        )
        for k in shown
    )  # fmt: skip
    return band + drawn + dots


def mistakes(groups: Sequence[Group], width: int = 380) -> Markup:
    """Draw what class-il answers were: right, wrong in the right dataset, in another one."""
    parts, said, top = [], [], 4.0
    for g in groups:
        right, dataset = g.metric("class-il", "final_mean"), g.metric("class-il", "dataset_id")
        if right is None or dataset is None:
            continue
        split = f"{percent(right.mean)} of {percent(dataset.mean)}"
        parts.append(svg.text(0, top + 12, _short(name(g), 34)))
        parts.append(svg.text(width, top + 12, split, "end", "tick"))
        start = 0.0
        for cls, what, share in (
            ("part-right", "right class", right.mean),
            ("part-dataset", "right dataset, wrong class", max(0.0, dataset.mean - right.mean)),
            ("part-wrong", "wrong dataset", 1 - max(dataset.mean, right.mean)),
        ):
            tip = f"{what}: {percent(share)}"
            parts.append(svg.rect(start * width, top + 18, share * width, 16, cls, tip=tip))
            start += share
        said.append(f"{g.label}: right class {split} right dataset")
        top += 48
    label = "Share of test samples by kind of answer. " + "; ".join(said)
    return svg.figure(width, top, label, parts)


def cost(groups: Sequence[Group], width: int = 380) -> Markup:
    """Draw final accuracy against bytes sent plus bytes remembered, on a log axis.

    Methods that store nothing stand left of the axis, at "0".
    """
    scenario = groups[0].first.scenario
    known = []
    for g in groups:
        mean = g.metric(scenario, "final_mean")
        total = sum(r.costs.total_bytes for r in g.runs) / len(g.runs) * MB
        if mean is not None:
            known.append((g, total, mean))
    sizes = [total for _, total, _ in known if total > 0] or [1.0]
    low = 10.0 ** math.floor(math.log10(min(sizes) / 1.3))
    high = 10.0 ** math.ceil(math.log10(max(sizes) * 1.3))
    frame = svg.Frame(80, 12, width - 14, 252, (low, high), (0, 100), log=True)
    nothing = 54.0
    decades = range(round(math.log10(low)), round(math.log10(high)) + 1)
    parts = [
        svg.Frame(36, 12, width - 14, 252, (0, 1), (0, 100)).y_axis(PERCENT),
        frame.x_axis([(10.0**e, f"{10.0**e:g}") for e in decades], "bytes sent + remembered (MB)"),
        svg.text(nothing, 268, "0", "middle", "tick"),
        *(svg.line(frame.x(10.0**e), 12, frame.x(10.0**e), 252, "grid") for e in decades),
    ]
    said: list[str] = []
    spots: list[tuple[float, float, str]] = []
    for g, total, mean in reversed(known):
        x = frame.x(total) if total > 0 else nothing
        cls = svg.style_class(g.style, g.reference)
        tip = f"{g.label}: {total:,.2f} MB, {percent(mean.mean)}"
        said.insert(0, tip)
        spots.append((x, frame.y(mean.mean * 100), name(g)))
        if mean.sd:
            ends = (frame.y((mean.mean + mean.sd) * 100), frame.y((mean.mean - mean.sd) * 100))
            parts.append(svg.line(x, ends[0], x, ends[1], f"curve solid {cls}"))
        parts.append(
            svg.marker(g.style, x, frame.y(mean.mean * 100), f"dot {cls}", radius=6, tip=tip)
        )
    parts.append(_spot_names(spots, width))
    label = "Final mean accuracy against total cost. " + "; ".join(said)
    return svg.figure(width, 290, label, parts)


def _spot_names(spots: list[tuple[float, float, str]], width: int) -> str:
    """Write names beside their points: right, left, above or below, where least is covered."""
    taken = [(x - 7, y - 7, x + 7, y + 7) for x, y, _ in spots]
    drawn = ""
    for x, y, label in spots:
        shown = _short(label)
        long = 6.6 * len(shown)  # about the width of 12 px text

        def covered(place: tuple[float, float], long: float = long) -> float:
            left, base = place
            box = (left, base - 10, left + long, base + 3)
            outside = max(0.0, 30 - box[0]) + max(0.0, box[2] - width)
            return outside * 13 + sum(_overlap(box, other) for other in taken)

        middle = x - long / 2
        sides = [(x + 11, y + 4), (x - 11 - long, y + 4), (middle, y - 11), (middle, y + 20)]
        left, base = min(sides, key=covered)
        taken.append((left, base - 10, left + long, base + 3))
        anchor, at = ("end", x - 11) if (left, base) == sides[1] else ("start", left)
        drawn += svg.text(at, base, shown, anchor)
    return drawn


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Return the common area of two boxes (left, top, right, bottom)."""
    wide = min(a[2], b[2]) - max(a[0], b[0])
    high = min(a[3], b[3]) - max(a[1], b[1])
    return max(0.0, wide) * max(0.0, high)


def times(groups: Sequence[Group], width: int = 380) -> Markup:
    """Draw learning time relative to sequential fine-tuning (else in seconds) as bars."""
    relative = any(r.costs.relative_time is not None for g in groups for r in g.runs)
    rows = []
    for g in groups:
        values = [
            r.costs.relative_time if relative else r.costs.learning_seconds for r in g.runs
        ]  # fmt: skip
        known = [v for v in values if v is not None]
        if known:
            rows.append((g, sum(known) / len(known)))
    longest = max([1.0 if relative else 1e-9, *(value for _, value in rows)])
    scale = (width - 2) / longest
    parts, said, top = [], [], 4.0
    for g, value in rows:
        shown = f"{value * 100:,.0f} %" if relative else f"{value:,.1f} s"
        parts += [
            svg.text(0, top + 12, _short(name(g), 34)),
            svg.text(width, top + 12, shown, "end", "tick"),
            svg.rect(
                0, top + 18, value * scale, 16, f"fill {svg.style_class(g.style, g.reference)}"
            ),
        ]
        if relative:
            parts.append(svg.line(scale, top + 17, scale, top + 35, "mark"))
        said.append(f"{g.label}: {shown}")
        top += 48
    what = "Learning time relative to fine-tuning. " if relative else "Learning time. "
    return svg.figure(width, top, what + "; ".join(said), parts)
