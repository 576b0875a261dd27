"""The figures of the report that compare methods: each a function from groups to SVG."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from bmc.report import svg
from bmc.report.groups import Group, Stat, summarise
from bmc.report.table import REFERENCE

PERCENT = (0, 20, 40, 60, 80, 100)
PHONE = 480  # pixels up to which a drawing is shown on narrow screens only
CURVE_NAME = 21  # characters of a name at the end of a curve
BAR_NAME = 42  # characters of a name above a bar
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


def tag(g: Group) -> str:
    """Return the shortest name that tells a group from the others, with its reference mark."""
    return g.short + (REFERENCE if g.reference else "")


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
            parts.append(svg.text(right + 25, row + 4, g.short, cls="name"))
    said = "; ".join(f"{g.label} ends at {percent(end)}" for g, end in reversed(ends))
    label = f"{SCENARIOS[scenario].capitalize()} accuracy over tasks learned. {said}."
    return svg.figure(width, 325, label, parts, "wide" if width > PHONE else "narrow")


def _short(label: str, limit: int) -> str:
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
        parts.append(svg.text(0, top + 12, _short(tag(g), BAR_NAME)))
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


def times(groups: Sequence[Group], width: int = 380) -> Markup:
    """Draw learning time relative to sequential fine-tuning (else in seconds) as bars."""
    relative = any(r.costs.relative_time is not None for g in groups for r in g.runs)
    rows: list[tuple[Group, float | None, str]] = []
    for g in groups:
        stat = summarise(
            r.costs.relative_time if relative else r.costs.learning_seconds for r in g.runs
        )
        if stat is not None:
            shown = f"{stat.mean * 100:,.0f} %" if relative else f"{stat.mean:,.1f} s"
            rows.append((g, stat.mean, shown))
    longest = max([1.0 if relative else 1e-9, *(value or 0.0 for _, value, _ in rows)])
    what = "Learning time relative to fine-tuning. " if relative else "Learning time. "
    return bars(rows, longest, what, width, mark=1.0 if relative else None)


def bars(
    rows: Sequence[tuple[Group, float | None, str]],
    longest: float,
    what: str,
    width: int,
    mark: float | None = None,
) -> Markup:
    """Draw one named bar for each row: group, value (``None``: no bar) and the value in words.

    Parameters
    ----------
    longest
        The value whose bar fills the width.
    what
        Begins the description.
    mark
        A value at which every bar is crossed by a line.
    """
    scale = (width - 2) / longest
    parts, top = [], 4.0
    for g, value, shown in rows:
        cls = svg.style_class(g.style, g.reference)
        parts.append(svg.text(0, top + 12, _short(tag(g), BAR_NAME)))
        parts.append(svg.text(width, top + 12, shown, "end", "tick"))
        if value is not None:
            parts.append(svg.rect(0, top + 18, value * scale, 16, f"fill {cls}"))
        if mark is not None:
            parts.append(svg.line(mark * scale, top + 17, mark * scale, top + 35, "mark"))
        top += 48
    said = "; ".join(f"{g.label}: {shown}" for g, _, shown in rows)
    return svg.figure(width, top, what + said, parts)
