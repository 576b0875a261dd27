"""Figures for papers with a row for each method: kinds of answers, forgetting, costs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from bmc.report.figures import tag
from bmc.report.groups import Group, summarise
from bmc.report.paper import GREY, RULE, SMALL, Picture, look, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW = 0.17  # inches of a row
LETTER = 0.058  # inches of a letter
# Kinds of answers: words, colour, hatching. The colours keep their order in grey.
KINDS = (
    ("right class", "#1b4c81", ""),
    ("right dataset, wrong class", "#83afd6", ""),
    ("wrong dataset", "#eef3f9", "////"),
)
Value = tuple[Group, float]


def pictures(groups: Sequence[Group], scenario: str) -> Iterable[Picture]:
    """Yield the figures that the runs have numbers for."""
    split = [
        (g, right.mean, dataset.mean)
        for g in groups
        if (right := g.metric("class-il", "final_mean"))
        and (dataset := g.metric("class-il", "dataset_id"))
    ]
    if split:
        yield Picture(
            "answers", partial(answers, split),
            "Test samples by what the class-incremental answer was, mean over tasks.",
        )  # fmt: skip
    drops = [(g, drop) for g in groups if (drop := g.by_task("forgetting", scenario))]
    if drops:
        yield Picture(
            "forgetting", partial(forgetting, drops),
            "Forgetting of each task (dots, mean over runs) and its mean over tasks (line): best "
            "accuracy before the last evaluation minus the last; negative: the task improved.",
        )  # fmt: skip
    per_byte = _means(groups, lambda run: run.costs.cost_accuracy)
    if per_byte:
        yield Picture(
            "cost-accuracy", partial(bars, per_byte, "cost accuracy (%/MB)", "{:,.2f}", None),
            "Final mean accuracy in per cent per MB sent and remembered; methods that store "
            "nothing have none.",
        )  # fmt: skip
    times = _means(groups, lambda run: run.costs.relative_time)
    if times:
        percent = [(g, 100 * value) for g, value in times]
        yield Picture(
            "relative-time",
            partial(bars, percent, "learning time (% of fine-tuning)", "{:,.0f} %", 100.0),
            "Learning time over that of fine-tuning with the same order, seed, epochs and device.",
        )  # fmt: skip


def _means(groups: Sequence[Group], value: Any) -> list[Value]:
    stats = [(g, summarise(value(run) for run in g.runs)) for g in groups]
    return [(g, stat.mean) for g, stat in stats if stat is not None]


def _rows(groups: Sequence[Group], width: float, right: float, top: float) -> tuple[Figure, Axes]:
    """Return axes with a row for each group, the first on top."""
    names = [tag(g) for g in groups]
    left = min(0.45 * width, 0.12 + LETTER * max(map(len, names)))
    height = ROW * len(groups) + 0.42 + top
    figure, axes = new_figure(width, height, left, right, top=top)
    axes.set_yticks(range(len(groups)), names)
    axes.set_ylim(len(groups) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_axisbelow(True)
    return figure, axes


def answers(split: Sequence[tuple[Group, float, float]], width: float) -> Figure:
    """Draw the shares of right class, right dataset and wrong dataset."""
    one = width < 5
    figure, axes = _rows([g for g, _, _ in split], width, 0.12, 0.5 if one else 0.24)
    start = np.zeros(len(split))
    shares = (
        [right for _, right, _ in split],
        [max(0.0, dataset - right) for _, right, dataset in split],
        [1 - max(dataset, right) for _, right, dataset in split],
    )
    for (words, colour, hatch), share in zip(KINDS, shares, strict=True):
        long = 100 * np.array(share)
        axes.barh(range(len(split)), long, 0.7, start, color=colour, hatch=hatch, label=words,
                  edgecolor="#9aa5b1" if hatch else colour, linewidth=0.3)  # fmt: skip
        start += long
    axes.set(xlim=(0, 100), xlabel="test samples (%)")
    place = (axes.get_position().x0, 1.0) if not one else (0.02, 1.0)
    figure.legend(
        loc="upper left", bbox_to_anchor=place, ncols=2 if one else 3, frameon=False,
        fontsize=SMALL, handlelength=1.2, columnspacing=1.0, borderaxespad=0.2,
    )  # fmt: skip
    return figure


def forgetting(drops: Sequence[tuple[Group, dict[str, float]]], width: float) -> Figure:
    """Draw each task's forgetting as a dot in the row of its method, and the mean as a line."""
    figure, axes = _rows([g for g, _ in drops], width, 0.12, 0.08)
    for row, (g, drop) in enumerate(drops):
        values = 100 * np.array(list(drop.values()))
        colour = look(g)["color"]
        axes.plot(values, np.full(len(values), row), "o", color=colour, markersize=2.2, alpha=0.45,
                  markeredgewidth=0)  # fmt: skip
        axes.plot([values.mean()] * 2, [row - 0.38, row + 0.38], color="black", linewidth=1.4)
    axes.axvline(0, color=GREY, linewidth=0.5, zorder=0)
    axes.grid(axis="x", color=RULE, linewidth=0.4)
    axes.set_xlabel("forgetting (percentage points)")
    return figure


def bars(
    values: Sequence[Value], title: str, shown: str, mark: float | None, width: float
) -> Figure:
    """Draw one bar for each group with its value in words, and a line across all at ``mark``."""
    texts = [shown.format(value) for _, value in values]
    figure, axes = _rows([g for g, _ in values], width, 0.12 + LETTER * max(map(len, texts)), 0.08)
    for row, ((g, value), text) in enumerate(zip(values, texts, strict=True)):
        axes.barh(row, value, 0.7, color=look(g)["color"])
        axes.annotate(text, (value, row), (3, 0), textcoords="offset points", fontsize=SMALL,
                      va="center_baseline", annotation_clip=False, zorder=3,
                      bbox={"color": "white", "pad": 0.4})  # fmt: skip
    if mark is not None:
        axes.axvline(mark, color="black", linewidth=0.8, linestyle=(0, (3, 2)))
    axes.set_xlim(0, max(mark or 0.0, *(value for _, value in values)) or 1.0)
    axes.set_xlabel(title)
    return figure
