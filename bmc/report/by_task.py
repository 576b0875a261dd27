"""The figures of one method, task by task: the accuracy matrix, final accuracy, forgetting."""

from __future__ import annotations

from markupsafe import Markup

from bmc.report import svg
from bmc.report.figures import PERCENT, percent
from bmc.report.groups import Group

WIDTH = 380
LEVELS = 10  # steps of the heat map's colour scale


def _task_axis(frame: svg.Frame, tasks: int) -> str:
    """Label a few tasks by their place in the order; names are in the tooltips."""
    ticks = [(t - 0.5, str(t)) for t in svg.count_ticks(tasks)]
    return frame.x_axis(ticks, "task, in the order learned")


def heat_map(g: Group, scenario: str) -> Markup:
    """Draw the accuracy matrix R of the group's first run.

    Columns are tasks in their order, rows the evaluations; a row is as high as the
    number of tasks learned since the row above. A single row is a strip.
    """
    run = g.first
    rows = run.R.get(scenario, [])
    count = len(run.tasks)
    single = len(run.learned) == 1
    bottom = 52 if single else 252
    last = run.learned[-1]
    frame = svg.Frame(36, 12, WIDTH - 8, bottom, (0, count), (last, 0))
    parts = [_task_axis(frame, count)]
    if single:
        parts.append(svg.text(30, 36, str(last), "end", "tick"))
    else:
        parts += [
            svg.text(30, frame.y(t - 0.5) + 4, str(t), "end", "tick") for t in svg.count_ticks(last)
        ]
    cells: list[list[str]] = [[] for _ in range(LEVELS)]
    for learned, above, row in zip(run.learned, [0, *run.learned], rows, strict=False):
        top, height = frame.y(above), frame.y(learned) - frame.y(above)
        for j, value in enumerate(row):
            if value is not None:
                box = (svg.number(frame.x(j)), svg.number(top))
                wide, high = svg.number(frame.x(j + 1) - frame.x(j)), svg.number(height)
                level = min(LEVELS - 1, int(value * LEVELS))
                cells[level].append(f"M{box[0]} {box[1]}h{wide}v{high}h-{wide}z")
    # One path for each level: thousands of cells stay a small and quick page.
    parts += [f'<path d="{"".join(c)}" class="h{k}"/>' for k, c in enumerate(cells) if c]
    for j, task in enumerate(run.tasks):
        history = [(n, row[j]) for n, row in zip(run.learned, rows, strict=False)]
        known = [(n, value) for n, value in history if value is not None]
        if known:
            tip = f"{j + 1} {task.name}: {percent(known[0][1])} after {known[0][0]} tasks"
            if len(known) > 1:
                tip += f", {percent(known[-1][1])} after {known[-1][0]}"
            parts.append(
                svg.rect(frame.x(j), 12, frame.x(1) - frame.x(0), bottom - 12, "hit", tip=tip)
            )
    label = (
        f"Accuracy matrix of {g.label}, {run.order}: {len(rows)} evaluations by {count} tasks; "
        "its numbers are in the CSV files under Configuration."
    )
    return svg.figure(WIDTH, bottom + 40, label, parts)


def final_accuracy(g: Group) -> Markup:
    """Draw each task's final accuracy: a dot class-incremental, a ring task-incremental."""
    class_il, task_il = g.by_task("final", "class-il"), g.by_task("final", "task-il")
    count = len(g.first.tasks)
    frame = svg.Frame(36, 12, WIDTH - 8, 252, (0, count), (0, 100))
    cls = svg.style_class(g.style, g.reference)
    radius = max(1.8, min(4.0, 170 / count))
    parts = [frame.y_axis(PERCENT), _task_axis(frame, count)]
    for j, task in enumerate(g.first.tasks):
        low, high = class_il.get(task.name), task_il.get(task.name)
        x = frame.x(j + 0.5)
        tip = f"{j + 1} {task.name}:"
        if high is not None:
            tip += f" task-il {percent(high)}"
            parts.append(svg.marker(0, x, frame.y(high * 100), f"ring {cls}", radius=radius))
        if low is not None:
            tip += f" class-il {percent(low)}"
            parts.append(svg.marker(0, x, frame.y(low * 100), f"dot {cls}", radius=radius))
        if low is not None and high is not None and high > low:
            y1, y2 = frame.y(low * 100), frame.y(high * 100) + radius
            if y1 > y2:
                parts.append(svg.line(x, y1, x, y2, f"stem {cls}"))
        parts.append(svg.rect(frame.x(j), 12, frame.x(1) - frame.x(0), 240, "hit", tip=tip))
    worst = min(class_il, key=lambda task: class_il[task], default=None)
    said = f" Worst: {worst}, {percent(class_il[worst])}." if worst is not None else ""
    label = f"Final accuracy of {g.label} on each of {count} tasks.{said}"
    return svg.figure(WIDTH, 292, label, parts)


def forgetting(g: Group, scenario: str) -> Markup | None:
    """Draw each task's forgetting as a bar; ``None`` if no task was measured twice."""
    drop = g.by_task("forgetting", scenario)
    if not drop:
        return None
    count = len(g.first.tasks)
    lowest = -20 * max(0, -int(min(drop.values()) * 100 // 20))
    ticks = range(lowest, 101, 20)
    frame = svg.Frame(36, 12, WIDTH - 8, 252, (0, count), (lowest, 100))
    cls = svg.style_class(g.style, g.reference)
    parts = [frame.y_axis(ticks), _task_axis(frame, count)]
    for j, task in enumerate(g.first.tasks):
        left, wide = frame.x(j), frame.x(1) - frame.x(0)
        tip = f"{j + 1} {task.name}: measured once"
        if task.name in drop:
            value = drop[task.name]
            top, base = frame.y(max(0, value) * 100), frame.y(min(0, value) * 100)
            parts.append(svg.rect(left + wide * 0.1, top, wide * 0.8, base - top, f"fill {cls}"))
            tip = f"{j + 1} {task.name}: {percent(value)}"
        parts.append(svg.rect(left, 12, wide, 240, "hit", tip=tip))
    most = max(drop, key=lambda task: drop[task])
    label = f"Forgetting of {g.label} by task. Most: {most}, {percent(drop[most])}."
    return svg.figure(WIDTH, 292, label, parts)
