"""The report's figures for papers: PDF and PNG by matplotlib, one and two columns wide.

Fonts are embedded as TrueType (Type 42). Methods differ by colour, dash and marker, and are named
in the figure, so that nothing depends on colour.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from autods.core.files import atomic
from bmc.report import svg
from bmc.report.figures import SCENARIOS, tag
from bmc.report.groups import SIGNS, Group, drawn, group
from bmc.report.load import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = {"1col": 3.25, "2col": 6.75}  # widths in inches of most conferences' columns
SIZE = 8.0  # points of text
SMALL = 7.0
COLOURS = ("#0072b2", "#d55e00", "#00876a", "#a4508b", "#b07900", "#3a8fc4", "#6f6a00", "#7a4b2a")
GREY, RULE = "#6b7280", "#c8ced6"
DASHES = ("-", (0, (4, 1.5)), (0, (1.5, 1)), (0, (5, 1.5, 1, 1.5)), (0, (7, 2)))
MARKERS = ("o", "s", "^", "D", "v")
STYLE: dict[Any, Any] = {
    "pdf.fonttype": 42, "ps.fonttype": 42, "font.family": "DejaVu Sans", "font.size": SIZE,
    "axes.labelsize": SIZE, "axes.titlesize": SIZE, "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL, "axes.spines.top": False, "axes.spines.right": False,
    "axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6,
    "hatch.linewidth": 0.5, "savefig.dpi": 300,
}  # fmt: skip


class Picture(NamedTuple):
    """One figure: its file name without width, how it is drawn, and what a caption must say."""

    name: str
    draw: Callable[[float], Figure]
    caption: str
    widths: tuple[str, ...] = tuple(COLUMNS)


def write_figures(runs: Sequence[Run], folder: Path) -> list[Path]:
    """Draw the figures of runs and write each as PDF and PNG; ``captions.txt`` describes them.

    The same runs give the same bytes with the same version of matplotlib.

    Parameters
    ----------
    runs
        Finished runs on one stream, as read by `bmc.report.load_runs`.
    folder
        Where the files go: NAME-1col.pdf, NAME-1col.png, NAME-2col.pdf and so on.

    Returns
    -------
    The files, in the order in which they were written.

    Raises
    ------
    UsageError
        When the runs cannot stand in one report.
    """
    from matplotlib import rc_context

    groups = group(runs)
    pictures = list(_pictures(groups))
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    with rc_context(STYLE):
        for picture in pictures:
            for width in picture.widths:
                figure = picture.draw(COLUMNS[width])
                for kind, dates in (("pdf", {"CreationDate": None}), ("png", {"Software": None})):
                    path = folder / f"{picture.name}-{width}.{kind}"
                    with atomic(path) as temporary:
                        figure.savefig(temporary, format=kind, metadata=dates)
                    written.append(path)
    captions = folder / "captions.txt"
    with atomic(captions) as temporary:
        lines = [f"{picture.name}: {picture.caption}\n" for picture in pictures]
        temporary.write_text("\n".join(lines), encoding="utf-8")
    return [*written, captions]


def _pictures(groups: Sequence[Group]) -> Iterable[Picture]:
    """Yield the figures that the runs have numbers for."""
    from bmc.report import paper_bars as bars
    from bmc.report.paper_cost import pareto

    scenario, shown = groups[0].first.scenario, drawn(groups)
    several = max(len(g.runs) for g in groups) > 1
    bands = " Bands show one standard deviation over task orders and seeds." if several else ""
    for name, words in SCENARIOS.items():
        if any(g.curve(name) for g in shown):
            yield Picture(
                f"learning-curves-{name}", partial(curves, shown, name),
                f"{words.capitalize()} accuracy, mean over the tasks learned so far.{bands}",
            )  # fmt: skip
    for name, g in zip(_file_names([g.label for g in shown]), shown, strict=True):
        if g.first.R.get(scenario):
            yield Picture(
                f"matrix-{name}", partial(matrix, g, scenario),
                f"{g.label}: {scenario} accuracy on each task after each evaluation, "
                f"{g.first.order}.", ("1col",),
            )  # fmt: skip
    yield from bars.pictures(groups, scenario)
    yield Picture(
        "pareto", partial(pareto, groups),
        "Final mean accuracy against bytes sent and remembered. Filled: on the Pareto front. "
        "Points without room have no name."
        + (" Vertical lines show one standard deviation." if several else ""),
    )  # fmt: skip


def _file_names(labels: Sequence[str]) -> list[str]:
    """Return plain names for files, all different."""
    names: list[str] = []
    spelled = str.maketrans({sign: key for key, sign in SIGNS.items()} | {"+": "p"})
    for label in labels:
        plain = re.sub(r"[^a-z0-9]+", "-", label.translate(spelled).lower()).strip("-")
        names.append(plain if plain not in names else f"{plain}-{len(names)}")
    return names


def look(g: Group) -> dict[str, Any]:
    """Return colour, dash and marker of a group, as in the report."""
    if g.reference:
        return {"color": GREY, "linestyle": (0, (1, 1.5)), "marker": "o"}
    return {
        "color": COLOURS[g.style % svg.STYLES],
        "linestyle": DASHES[g.style % svg.MARKERS],
        "marker": MARKERS[g.style % svg.MARKERS],
    }


def new_figure(
    width: float, height: float, left: float, right: float, bottom: float = 0.42, top: float = 0.08
) -> tuple[Figure, Axes]:
    """Return a figure of so many inches and its axes, with margins in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    box = (left / width, bottom / height, (width - left - right) / width,
           (height - bottom - top) / height)  # fmt: skip
    return figure, figure.add_axes(box)


def curves(groups: Sequence[Group], scenario: str, width: float) -> Figure:
    """Draw accuracy over tasks learned, each curve named at its end."""
    known = [(g, curve) for g in groups if (curve := g.curve(scenario))]
    names = max(len(tag(g)) for g, _ in known)
    right = min(0.45 * width, 0.24 + 0.058 * names)
    height = max(0.62 * min(width, 4.6), 0.6 + 0.125 * len(known))
    figure, axes = new_figure(width, height, 0.5, right)
    tasks = len(groups[0].first.tasks)
    for g, curve in reversed(known):  # the best on top
        at, mean = [n for n, _ in curve], np.array([100 * s.mean for _, s in curve])
        deviation = np.array([100 * (s.sd or 0) for _, s in curve])
        style = look(g)
        if g.reference and len(curve) == 1:
            axes.axhline(mean[0], color=style["color"], linestyle=style["linestyle"], linewidth=1.2)
            axes.plot(
                at, mean, style["marker"], color=style["color"], markersize=3.5, clip_on=False
            )
            continue
        every = (len(at) - 1) % max(1, len(at) // 8), max(1, len(at) // 8)
        axes.plot(at, mean, **style, linewidth=1.2, markersize=3.5, markevery=every, clip_on=False)
        if deviation.any():
            low, high = np.clip(mean - deviation, 0, 100), np.clip(mean + deviation, 0, 100)
            axes.fill_between(at, low, high, color=style["color"], alpha=0.18, linewidth=0)
    axes.set(xlim=(min(1, tasks - 1), tasks), ylim=(0, 100), xlabel="tasks learned",
             ylabel="accuracy (%)", xticks=svg.count_ticks(tasks))  # fmt: skip
    axes.grid(axis="y", color=RULE, linewidth=0.4)
    axes.set_axisbelow(True)
    _name_ends(axes, [(g, curve[-1][1].mean * 100) for g, curve in known])
    return figure


def _name_ends(axes: Axes, ends: Sequence[tuple[Group, float]]) -> None:
    """Write names right of the axes at the heights of their curves, moved apart."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    place = axes.get_position()
    wide, high = (
        place.width * figure.get_figwidth() * 72,
        place.height * figure.get_figheight() * 72,
    )
    gap = SMALL * 1.2
    rows = svg.spread([end / 100 * high for _, end in ends], gap, gap / 2, high - gap / 2)
    draw = partial(axes.plot, transform=axes.transAxes, clip_on=False)
    for (g, end), row in zip(ends, rows, strict=True):
        x, y, style = 1 + 11 / wide, row / high, look(g)
        if abs(row - end / 100 * high) > 2:
            draw([1.0, x - 4 / wide], [end / 100, y], color=GREY, linewidth=0.4)
        draw([x], [y], style["marker"], color=style["color"], markersize=3.5)
        axes.text(x + 5 / wide, y, tag(g), fontsize=SMALL, va="center_baseline",
                  transform=axes.transAxes)  # fmt: skip


def matrix(g: Group, scenario: str, width: float) -> Figure:
    """Draw the accuracy matrix R of the group's first run; one evaluation is a strip.

    A row is as high as the number of tasks learned since the one above.
    """
    run = g.first
    last, tasks, single = run.learned[-1], len(run.tasks), len(run.learned) == 1
    heights = [1] if single else np.diff([0, *run.learned])
    R = np.repeat(np.array(run.R[scenario], dtype=np.float64) * 100, heights, axis=0)
    height = 1.25 if single else 0.86 * width
    figure, axes = new_figure(width, height, 0.5, 0.75, top=0.22)
    image = axes.imshow(R, cmap="Blues", vmin=0, vmax=100, aspect="auto", interpolation="nearest",
                        extent=(0.5, tasks + 0.5, len(R) + 0.5, 0.5))  # fmt: skip
    axes.set(xlabel="task, in the order learned", ylabel="learned" if single else "tasks learned",
             xticks=svg.count_ticks(tasks))  # fmt: skip
    if single:
        axes.set_yticks([1], [str(last)])
    else:
        axes.set_yticks(svg.count_ticks(last))
    axes.set_title(tag(g), loc="left", fontsize=SIZE)
    place = axes.get_position()
    bar = figure.add_axes((place.x1 + 0.1 / width, place.y0, 0.1 / width, place.height))
    figure.colorbar(image, cax=bar, label="accuracy (%)", ticks=(0, 50, 100) if single else None)
    return figure
