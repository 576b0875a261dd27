"""The charts of one method, task by task: accuracy matrix, final accuracy, forgetting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autods.pages.palette import LEVELS
from bmc.report.charts import table
from bmc.report.looks import Entry
from bmc.report.style import Style

if TYPE_CHECKING:
    import altair as alt


def _task_axis(tasks: int, field: str = "left", title: str = "task, in the order learned") -> alt.X:
    import altair as alt

    axis = alt.Axis(grid=False, tickMinStep=1, format="d", tickCount=8)
    return alt.X(f"{field}:Q", title=title, scale=alt.Scale(domain=[0.5, tasks + 0.5], nice=False),
                 axis=axis)  # fmt: skip


def matrix(entry: Entry, scenario: str, style: Style) -> alt.LayerChart:
    """Draw the accuracy matrix R of the group's first run; a single evaluation is a strip.

    A row is as high as the number of tasks learned since the one above.
    """
    import altair as alt

    run = entry.group.first
    starts = [0, *run.learned[:-1]]
    cells = [
        (task.name, number, above + 0.5, learned, round(100 * value, 1))
        for learned, above, row in zip(run.learned, starts, run.R[scenario], strict=True)
        for number, (task, value) in enumerate(zip(run.tasks, row, strict=True), start=1)
        if value is not None
    ]  # fmt: skip
    single = len(run.learned) == 1
    last = run.learned[-1]
    data = table(cells, task="string", number="number", top="number", learned="number",
                 accuracy="number")  # fmt: skip
    ticks: dict[str, Any] = {"values": [last]} if single else {"tickMinStep": 1}
    down = alt.Axis(grid=False, format="d", **ticks)
    scale = alt.Scale(domain=[0.5, last + 0.5], nice=False, reverse=True)
    colour = alt.Color(
        "accuracy:Q", title="accuracy (%)",
        scale=alt.Scale(type="quantize", domain=[0, 100], range=[style.colour(c) for c in LEVELS]),
        legend=None if style.width is None else alt.Legend(
            orient="right", type="gradient", direction="vertical",
            gradientLength=40 if single else 110, gradientThickness=7,
        ),
    )  # fmt: skip
    chart = alt.Chart(data).mark_rect().encode(
        x=_task_axis(len(run.tasks)), x2="right:Q",
        y=alt.Y("top:Q", title="learned" if single else "tasks learned", scale=scale, axis=down),
        y2="bottom:Q", color=colour,
        tooltip=[
            alt.Tooltip("task:N", title="task"), alt.Tooltip("learned:Q", title="tasks learned"),
            alt.Tooltip("accuracy:Q", title="accuracy, %", format=".1f"),
        ],
    ).transform_calculate(
        left="datum.number - 0.5", right="datum.number + 0.5", bottom="datum.learned + 0.5"
    )  # fmt: skip
    return style.finish(chart, height=60 if single else 280)


def _percent(value: float | None) -> float | str:
    return "" if value is None else 100 * value


def final_accuracy(entry: Entry, style: Style) -> alt.LayerChart:
    """Draw each task's final accuracy: a dot class-incremental, a ring task-incremental."""
    import altair as alt

    g = entry.group
    class_il, task_il = g.by_task("final", "class-il"), g.by_task("final", "task-il")
    rows = [
        [task.name, number, *(_percent(v.get(task.name)) for v in (class_il, task_il))]
        for number, task in enumerate(g.first.tasks, start=1)
    ]  # fmt: skip
    base = alt.Chart(table(rows, task="string", number="number", low="number", high="number"))
    y: dict[str, Any] = {"scale": alt.Scale(domain=[0, 100]), "title": "final accuracy (%)"}
    base = base.encode(x=_task_axis(len(g.first.tasks), "number"), tooltip=[
        alt.Tooltip("task:N", title="task"),
        alt.Tooltip("low:Q", title="class-il, %", format=".1f"),
        alt.Tooltip("high:Q", title="task-il, %", format=".1f"),
    ])  # fmt: skip
    colour = style.of(entry)
    dot: dict[str, Any] = {"size": max(10, min(style.point, 3000 // len(rows))), "opacity": 1}
    known = base.transform_filter("isValid(datum.high)")
    return style.finish(
        known.transform_filter("isValid(datum.low)").mark_rule(color=colour, strokeOpacity=0.6)
            .encode(y=alt.Y("low:Q", **y), y2="high:Q"),
        known.mark_point(color=colour, fill=style.colour("ground"), strokeWidth=1.2, **dot)
            .encode(y=alt.Y("high:Q", **y)),
        base.transform_filter("isValid(datum.low)").mark_point(color=colour, filled=True, **dot)
            .encode(y=alt.Y("low:Q", **y)),
        height=280,
    )  # fmt: skip


def task_forgetting(entry: Entry, scenario: str, style: Style) -> alt.LayerChart:
    """Draw each task's forgetting as a bar; tasks measured once have none."""
    import altair as alt

    g = entry.group
    drop = g.by_task("forgetting", scenario)
    rows = [
        [task.name, number - 0.4, number + 0.4, 100 * drop[task.name], 0]
        for number, task in enumerate(g.first.tasks, start=1)
        if task.name in drop
    ]
    data = table(rows, task="string", left="number", right="number", drop="number", zero="number")
    bars = alt.Chart(data).mark_rect(color=style.of(entry)).encode(
        x=_task_axis(len(g.first.tasks)), x2="right:Q", y2="zero:Q",
        y=alt.Y("drop:Q", title="forgetting (percentage points)",
                scale=alt.Scale(domain=[100 * min(0.0, *drop.values()), 100], nice=True)),
        tooltip=[alt.Tooltip("task:N", title="task"),
                 alt.Tooltip("drop:Q", title="forgetting, points", format=".1f")],
    )  # fmt: skip
    return style.finish(bars, height=280)
