"""The charts with a row for each method: answers, costs, times, forgetting, intervals."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from bmc.report import statistics
from bmc.report.charts import percent, table
from bmc.report.columns import MISSING
from bmc.report.groups import summarise
from bmc.report.looks import Entry
from bmc.report.style import Style

if TYPE_CHECKING:
    import altair as alt

# Kinds of answers, and their colours: the accuracy scale keeps its order in grey.
ANSWERS = {"right class": "h8", "right dataset, wrong class": "h5", "wrong dataset": "h1"}
NEAR = 15.0  # points below the best that the chart of intervals shows


class Row(NamedTuple):
    """One line of a chart with a row for each method: its value in words at the right."""

    entry: Entry
    words: str


def _rows(rows: Sequence[Row], style: Style, *layers: alt.Chart) -> alt.LayerChart:
    """Write names and values above the rows of a chart, and stack its layers below them.

    The layers encode ``y`` by `_band`.
    """
    import altair as alt

    data = table([[r.entry.name, r.words] for r in rows], name="string", words="string")
    words = alt.Chart(data).encode(y=_band(rows))
    above: dict[str, Any] = {"dy": -0.27 * style.row, "baseline": "middle"}
    # lines that cross the rows end at a text: it has a rim of the ground's colour
    rim: dict[str, Any] = {
        "stroke": style.colour("ground"),
        "strokeWidth": 4,
        "strokeJoin": "round",
    }
    labels = [
        layer
        for look in (rim, {})
        for layer in (
            words.mark_text(align="left", limit=18 * style.size, **above, **look)
                .encode(x=alt.value(0), text="name:N"),
            words.mark_text(align="right", color=style.colour("soft"), **above, **look)
                .encode(x=alt.value("width"), text="words:N"),
        )
    ]  # fmt: skip
    total = style.row * len(rows) / style.shrink
    return style.finish(*layers, *labels, height=total)


def _band(rows: Sequence[Row]) -> alt.Y:
    import altair as alt

    return alt.Y("name:N", axis=None, sort=None, scale=alt.Scale(
        domain=[r.entry.name for r in rows], paddingInner=0, paddingOuter=0))  # fmt: skip


def _bar(style: Style) -> dict[str, Any]:
    """Return how a bar lies in the lower half of its row."""
    return {"size": 0.42 * style.row, "yOffset": 0.2 * style.row}


def answers(shown: Sequence[Entry], style: Style) -> alt.LayerChart:
    """Draw what class-il answers were: right, wrong in the right dataset, in another one."""
    import altair as alt

    rows, shares = [], []
    for entry in shown:
        right = entry.group.metric("class-il", "final_mean")
        dataset = entry.group.metric("class-il", "dataset_id")
        if right is None or dataset is None:
            continue
        rows.append(Row(entry, f"{percent(right.mean)} of {percent(dataset.mean)}"))
        either = max(right.mean, dataset.mean)
        fractions = right.mean, either - right.mean, 1 - either
        shares += [
            [entry.name, k, kind, 100 * fraction]
            for k, (kind, fraction) in enumerate(zip(ANSWERS, fractions, strict=True))
        ]
    kinds = alt.Scale(domain=list(ANSWERS), range=[style.colour(c) for c in ANSWERS.values()])
    data = table(shares, name="string", order="number", kind="string", share="number")
    bars = alt.Chart(data).mark_bar(**_bar(style)).encode(
        x=alt.X("share:Q", title="test samples (%)", scale=alt.Scale(domain=[0, 100]),
                axis=alt.Axis(grid=False, tickCount=5)),
        y=_band(rows), order="order:Q",
        color=alt.Color("kind:N", title=None, sort=None, scale=kinds,
                        legend=alt.Legend(orient="top", symbolType="square", labelLimit=220)),
        tooltip=[alt.Tooltip("name:N", title="method"), alt.Tooltip("kind:N", title="answer"),
                 alt.Tooltip("share:Q", title="share, %", format=".1f")],
    )  # fmt: skip
    return _rows(rows, style, bars)


def bars(
    values: Sequence[tuple[Entry, float | None, str]],
    title: str,
    style: Style,
    mark: float | None = None,
) -> alt.LayerChart:
    """Draw one bar for each method with its value in words, and a line across all at ``mark``."""
    import altair as alt

    rows = [Row(entry, words) for entry, _, words in values]
    data = table(
        [[e.name, v, words] for e, v, words in values if v is not None],
        name="string", value="number", words="string",
    )  # fmt: skip
    base = alt.Chart(data).encode(x=alt.X("value:Q", title=title, scale=alt.Scale(zero=True),
                                          axis=alt.Axis(grid=False, tickCount=5)))  # fmt: skip
    drawn = base.mark_bar(**_bar(style)).encode(
        y=_band(rows), color=_no_legend(style, [e for e, _, _ in values]),
        tooltip=[alt.Tooltip("name:N", title="method"), alt.Tooltip("words:N", title=title)],
    )  # fmt: skip
    return _rows(rows, style, drawn, *([_line_at(mark, style)] if mark is not None else []))


def _no_legend(style: Style, shown: Sequence[Entry]) -> alt.Color:
    color: alt.Color = style.by_method(shown, "color")["color"]
    return color.legend(None)


def _line_at(value: float, style: Style) -> alt.Chart:
    """Draw a dashed line across all rows."""
    import altair as alt

    rule: alt.Chart = (
        alt.Chart(table([[value]], value="number"))
        .mark_rule(color=style.colour("ink"), strokeDash=[4, 3], strokeWidth=style.stroke / 1.5)
        .encode(x="value:Q")
    )
    return rule


def cost_accuracy(shown: Sequence[Entry], style: Style) -> alt.LayerChart:
    """Draw final mean accuracy in per cent per megabyte of total cost as bars."""
    values = []
    for entry in shown:
        stat = summarise(run.costs.cost_accuracy for run in entry.group.runs)
        stores = any(run.costs.total_bytes for run in entry.group.runs)
        without = MISSING if stores else "stores nothing"
        words = f"{stat.mean:,.2f} %/MB" if stat else without
        values.append((entry, stat.mean if stat else None, words))
    return bars(values, "cost accuracy (%/MB)", style)


def times(shown: Sequence[Entry], style: Style) -> alt.LayerChart:
    """Draw learning time relative to sequential fine-tuning, else in seconds, as bars."""
    relative = is_relative(shown)
    field = "relative_time" if relative else "learning_seconds"
    values = []
    for entry in shown:
        stat = summarise(getattr(run.costs, field) for run in entry.group.runs)
        if stat is not None and relative:
            values.append((entry, 100 * stat.mean, f"{100 * stat.mean:,.0f} %"))
        elif stat is not None:
            values.append((entry, stat.mean, f"{stat.mean:,.1f} s"))
    title = "learning time (% of fine-tuning)" if relative else "learning time (s)"
    return bars(values, title, style, 100.0 if relative else None)


def is_relative(shown: Sequence[Entry]) -> bool:
    """Tell whether any learning time can be set against that of fine-tuning."""
    return any(run.costs.relative_time is not None for e in shown for run in e.group.runs)


def forgetting(shown: Sequence[Entry], scenario: str, style: Style) -> alt.LayerChart:
    """Draw each task's forgetting as a dot in the row of its method, and the mean as a line."""
    import altair as alt

    rows, dots, means = [], [], []
    for entry in shown:
        drop = entry.group.by_task("forgetting", scenario)
        if drop:
            mean = sum(drop.values()) / len(drop)
            rows.append(Row(entry, f"{round(100 * mean, 1) + 0.0:.1f}"))
            dots += [[entry.name, task, 100 * value] for task, value in drop.items()]
            means.append([entry.name, 100 * mean])
    x = alt.X("drop:Q", title="forgetting (percentage points)", axis=alt.Axis(tickCount=5))
    data = table(dots, name="string", task="string", drop="number")
    offset: dict[str, Any] = {"yOffset": 0.2 * style.row}
    entries = [row.entry for row in rows]
    dot: dict[str, Any] = {"size": style.point / 2, "opacity": 1, "fillOpacity": 0.55}
    strip = alt.Chart(data).mark_circle(**dot, **offset).encode(
        x=x, y=_band(rows), color=_no_legend(style, entries),
        tooltip=[alt.Tooltip("name:N", title="method"), alt.Tooltip("task:N", title="task"),
                 alt.Tooltip("drop:Q", title="forgetting, points", format=".1f")],
    )  # fmt: skip
    middle = alt.Chart(table(means, name="string", drop="number")).mark_tick(
        color=style.colour("ink"), thickness=style.stroke, size=0.42 * style.row, **offset
    )
    return _rows(rows, style, strip, middle.encode(x=x, y=_band(rows)))


def intervals(
    shown: Sequence[Entry], compared: Sequence[statistics.Row], style: Style
) -> alt.LayerChart:
    """Draw final means with 95 % intervals; the dashed line is the best.

    The intervals are over test samples, or over orders where nothing is known of samples. What
    lies far below the best is at the left edge. A bar across ends an interval; an open arrow says
    that it was cut there: at 0 or 100 %, or at the edge.
    """
    import altair as alt

    by_group = {id(e.group): e for e in shown}
    known = [r for r in compared if r.mean is not None]
    sampled = any(r.samples for r in known)
    rows: list[Row] = []
    data: list[list[Any]] = []
    for r in known:
        entry, mean = by_group[id(r.group)], 100 * (r.mean or 0.0)
        of = r.samples if sampled else r.orders
        ends = (None, None) if of is None else (of.low, of.high)
        low, high = (100 * (v if v is not None else r.mean or 0.0) for v in ends)
        words = f"{mean:.1f}" if None in ends else f"{mean:.1f} ({low:.1f} to {high:.1f})"
        words = words.replace("-", "\N{MINUS SIGN}")
        rows.append(Row(entry, words))
        data.append([entry.name, mean, low, high, words])
    best = next((100 * r.mean for r in known if r.best and r.mean is not None), None)
    least = min(row[2] for row in data)
    start = max(0.0, least if best is None else max(least, best - NEAR))
    start, end = _whole_ticks(start, min(100.0, max(row[3] for row in data)))
    scale = alt.Scale(domain=[start, end], nice=False, zero=False, clamp=True)
    for row in data:
        row += [*_ends(row[2], row[3], start, cut=not sampled)]
    numbers = dict.fromkeys(("mean", "low", "high"), "number")
    entries = [row.entry for row in rows]
    offset: dict[str, Any] = {"yOffset": 0.2 * style.row}
    texts = dict.fromkeys(("words", "left", "right"), "string")
    base = alt.Chart(table(data, name="string", **numbers, **texts)).encode(
        x=alt.X("mean:Q", title="final mean accuracy (%)", scale=scale,
                axis=alt.Axis(tickCount=6)),
        y=_band(rows), color=_no_legend(style, entries),
        tooltip=[alt.Tooltip("name:N", title="method"), alt.Tooltip("words:N", title="mean, %")],
    )  # fmt: skip
    look = style.by_method(entries, "shape")
    ends = base.mark_rule(strokeWidth=style.stroke, **offset)
    return _rows(
        rows, style, *([_line_at(best, style)] if best is not None else []),
        ends.encode(x=alt.X("low:Q", scale=scale), x2="high:Q"),
        *_caps(base, scale, style, offset),
        base.transform_filter(f"datum.mean >= {start}")
            .mark_point(filled=True, size=1.5 * style.point, opacity=1, **offset)
            .encode(shape=look["shape"].legend(None)),
    )  # fmt: skip


def _whole_ticks(low: float, high: float) -> tuple[float, float]:
    """Widen an axis of per cent to whole steps, never beyond 0 to 100."""
    step = next(step for step in (1, 2, 5, 10, 20) if high - low <= 10 * step)
    return max(0.0, step * math.floor(low / step)), min(100.0, step * math.ceil(high / step))


def _ends(low: float, high: float, start: float, *, cut: bool) -> tuple[str, str]:
    """Say how an interval in per cent ends on either side: ``closed``, ``open``, or not at all.

    It is open beyond the edge ``start`` of the axis, and at 0 or 100 if it was ``cut`` there.
    """
    if low >= high:
        return "", ""
    left = "open" if low < start or (cut and low <= 0) else "closed"
    right = "open" if cut and high >= 100 else "closed"
    return left, right if high > start else ""


def _caps(
    base: alt.Chart, scale: alt.Scale, style: Style, offset: Mapping[str, Any]
) -> Iterator[alt.Chart]:
    """Draw the ends of intervals: bars across, and hollow arrows where they go on."""
    import altair as alt

    size = 0.22 * style.row
    for side, field, inwards in (("left", "low", 1), ("right", "high", -1)):
        x = alt.X(f"{field}:Q", scale=scale)
        closed = base.transform_filter(f"datum.{side} == 'closed'")
        yield closed.mark_tick(thickness=style.stroke, size=size, **offset).encode(x=x)
        going_on = base.transform_filter(f"datum.{side} == 'open'")
        yield going_on.mark_point(
            shape=f"triangle-{side}", fill=style.colour("ground"), size=style.point, opacity=1,
            xOffset=inwards * style.point / 9, **offset,
        ).encode(x=x)  # fmt: skip
