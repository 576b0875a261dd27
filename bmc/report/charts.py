"""The learning curves, and what all charts share: data as CSV, the most compact form, and legends.

The report page and papers draw the same chart in another `Style`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from bmc.report.looks import Entry
from bmc.report.style import Style

if TYPE_CHECKING:
    import altair as alt

SCENARIOS = {"class-il": "class-incremental", "task-il": "task-incremental"}
MARKED = 12  # about as many points of a curve carry a marker


def percent(value: float) -> str:
    """Format a fraction as a percentage, without a negative zero."""
    return f"{round(value * 100, 1) + 0.0:.1f} %"


def table(rows: Iterable[Sequence[Any]], **columns: str) -> alt.InlineData:
    """Return rows as CSV data; ``columns`` names the type of each column: string or number."""
    import altair as alt

    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")  # quotes names that hold either
    writer.writerow(columns)
    writer.writerows([f"{v:.6g}" if isinstance(v, float) else v for v in row] for row in rows)
    return alt.InlineData(
        values=out.getvalue(), format=alt.CsvDataFormat(type="csv", parse=columns)
    )


def chosen(chart: alt.Chart, style: Style) -> alt.Chart:
    """Leave out methods that the reader did not pick; nothing picked shows all.

    The page's script gives the chart the names, from buttons that work by keyboard, too.
    """
    if not style.interactive:
        return chart
    shown: alt.Chart = chart.transform_filter(
        "length(picked) == 0 || indexof(picked, datum.name) >= 0"
    )
    return shown


def choosing(chart: alt.LayerChart, style: Style) -> alt.LayerChart:
    """Declare the names that `chosen` looks for."""
    import altair as alt

    if not style.interactive:
        return chart
    pickable: alt.LayerChart = chart.add_params(alt.param(name="picked", value=[]))
    return pickable


def curves(shown: Sequence[Entry], scenario: str, style: Style) -> alt.LayerChart:
    """Draw accuracy over the number of tasks learned, with a band of one standard deviation.

    A reference that was measured once is a level.
    """
    import altair as alt

    tasks = len(shown[0].group.first.tasks)
    start = min(1, tasks - 1)
    x = alt.X(
        "learned:Q", title="tasks learned", scale=alt.Scale(domain=[start, tasks], nice=False),
        axis=alt.Axis(grid=False, tickMinStep=1, tickCount=8, format="d"),
    )  # fmt: skip
    y = alt.Y("mean:Q", title="accuracy (%)", scale=alt.Scale(domain=[0, 100]),
              axis=alt.Axis(tickCount=5))  # fmt: skip
    numbers = dict.fromkeys(("learned", "mean", "low", "high", "marked"), "number")
    data = table(_curve_rows(shown, scenario, start, tasks), name="string", **numbers)
    base = chosen(alt.Chart(data).encode(x=x, y=y), style)
    measured = base.transform_filter("datum.marked >= 0").encode(tooltip=[
        alt.Tooltip("name:N", title="method"), alt.Tooltip("learned:Q", title="tasks learned"),
        alt.Tooltip("mean:Q", title="accuracy, %", format=".1f"),
    ])  # fmt: skip
    layers = [
        base.mark_area(opacity=1, fillOpacity=0.16).encode(
            y=alt.Y("low:Q", title="accuracy (%)"), y2="high:Q", **style.by_method(shown, "color")),
        base.mark_line(strokeWidth=style.stroke)
            .encode(**style.by_method(shown, "color", "strokeDash")),
        base.transform_filter("datum.marked == 1")
            .mark_point(filled=True, size=style.point, opacity=1)
            .encode(**style.by_method(shown, "color", "shape")),
    ]  # fmt: skip
    if style.interactive:  # unseen, and wide enough for a finger
        layers.append(measured.mark_point(filled=True, size=6 * style.point, opacity=0))
    return choosing(style.finish(*layers, height=300), style)


def _curve_rows(shown: Sequence[Entry], scenario: str, start: int, tasks: int) -> list[list[Any]]:
    """Return name, tasks learned, mean, band, and 1 for a marker, 0 for none, -1 for a level."""
    rows: list[list[Any]] = []
    for entry in shown:
        curve = entry.group.curve(scenario)
        every = max(1, len(curve) // MARKED)
        for k, (learned, stat) in enumerate(curve):
            mean, sd = 100 * stat.mean, 100 * (stat.sd or 0)
            marked = int((len(curve) - 1 - k) % every == 0)
            rows.append([entry.name, learned, mean, max(0, mean - sd), min(100, mean + sd), marked])
        if entry.group.reference and len(curve) == 1:
            rows += [[entry.name, at, rows[-1][2], "", "", -1] for at in (start, tasks)]
    return rows


TASK_DATA = "task"  # the name under which the page's script gives the rows of one task


def task_curves(shown: Sequence[Entry], style: Style) -> alt.LayerChart:
    """Draw accuracy on one task over the number of tasks learned; the page's script has the rows.

    A row has the name, the tasks learned, and the accuracy in per cent.
    """
    import altair as alt

    tasks = len(shown[0].group.first.tasks)
    scale = alt.Scale(domain=[min(1, tasks - 1), tasks], nice=False)
    axis = alt.Axis(grid=False, tickMinStep=1, tickCount=8, format="d")
    data = alt.NamedData(name=TASK_DATA, format=alt.JsonDataFormat(type="json"))
    base = chosen(alt.Chart(data), style).encode(
        x=alt.X("learned:Q", title="tasks learned", scale=scale, axis=axis),
        y=alt.Y("accuracy:Q", title="accuracy (%)", scale=alt.Scale(domain=[0, 100]),
                axis=alt.Axis(tickCount=5)),
    )  # fmt: skip
    tips = [
        alt.Tooltip("name:N", title="method"), alt.Tooltip("learned:Q", title="tasks learned"),
        alt.Tooltip("accuracy:Q", title="accuracy, %", format=".1f"),
    ]  # fmt: skip
    layers = [
        base.mark_line(strokeWidth=style.stroke)
            .encode(**style.by_method(shown, "color", "strokeDash")),
        base.mark_point(filled=True, size=style.point / 2, opacity=1)
            .encode(**style.by_method(shown, "color", "shape")),
        base.mark_point(filled=True, size=6 * style.point, opacity=0).encode(tooltip=tips),
    ]  # fmt: skip
    return choosing(style.finish(*layers, height=300), style)


def task_rows(shown: Sequence[Entry], scenario: str) -> dict[str, list[Any]]:
    """Return what `task_curves` draws, for any task, as little as possible.

    ``tasks`` are the names of tasks; by method ``learned`` [S] at its evaluations and ``R`` [S],
    whose rows have an accuracy in tenths of a per cent for each task, ``None`` if not measured.
    """
    names = [task.name for task in shown[0].group.first.tasks]
    methods = []
    for entry in shown:
        run = entry.group.first
        place = {task.name: k for k, task in enumerate(run.tasks)}
        columns = [place.get(name) for name in names]
        rows = [
            [_tenths(None if k is None else row[k]) for k in columns]
            for row in run.R.get(scenario, [])
        ]
        methods.append({"name": entry.name, "learned": run.learned, "R": rows})
    return {"tasks": names, "methods": methods}


def _tenths(value: float | None) -> int | None:
    return None if value is None else round(1000 * value)
