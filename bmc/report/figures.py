"""The figures of a report: what each is called, what a caption says, and how it is drawn.

The page shows all of them; `write_figures` writes those for papers as PDF, SVG and PNG.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from autods.core.files import atomic
from bmc.report import charts, row_charts, task_charts
from bmc.report.finished import Run
from bmc.report.groups import SIGNS, drawn, group
from bmc.report.load import sections
from bmc.report.looks import Entry, entries
from bmc.report.pareto import cost_points, pareto, pareto_front
from bmc.report.statistics import compare_groups
from bmc.report.style import Style, paper

if TYPE_CHECKING:
    import altair as alt

COLUMNS = {"1col": 3.25, "2col": 6.75}  # widths in inches of most conferences' columns
DPI = 300  # of PNG


class Figure(NamedTuple):
    """One figure."""

    name: str  # of its files, without the width
    title: str  # a few words for the page
    caption: str
    numbers: str  # the same in words, for screen readers
    draw: Callable[[Style], alt.LayerChart]

    @property
    def description(self) -> str:
        """The figure in words."""
        return f"{self.title}. {self.numbers or self.caption}"

    def spec(self, style: Style) -> dict[str, Any]:
        """Return the chart as Vega-Lite.

        Altair's check of every piece, which takes half of the time, is left to the tests.
        """
        from altair.utils.schemapi import debug_mode

        with debug_mode(False):
            chart: dict[str, Any] = self.draw(style).to_dict(validate=False)
        return chart


def figures(all_entries: Sequence[Entry], shown: Sequence[Entry]) -> Iterator[Figure]:
    """Yield the figures that compare methods and that the runs have numbers for.

    Curves are drawn of ``shown`` alone: more could not be told apart.
    """
    scenario = all_entries[0].group.first.scenario
    several = max(len(e.group.runs) for e in all_entries) > 1
    bands = " Bands show one standard deviation over task orders and seeds." if several else ""
    for name, words in charts.SCENARIOS.items():
        known = [e for e in shown if e.group.curve(name)]
        if known:
            ends = ((e, e.group.curve(name)[-1][1].mean) for e in known)
            yield Figure(
                f"learning-curves-{name}", f"{words.capitalize()} accuracy",
                f"{words.capitalize()} accuracy, mean over the tasks learned so far.{bands}",
                _listed((e, charts.percent(end)) for e, end in ends),
                partial(charts.curves, known, name),
            )  # fmt: skip
    points = cost_points([e.group for e in all_entries])
    if points:
        front = ", ".join(p.group.label for p in pareto_front(points))
        yield Figure(
            "pareto", "Accuracy against cost",
            "Final mean accuracy against bytes sent, broadcast and kept. Filled and named: on the "
            "Pareto front." + (" Vertical lines show one standard deviation." if several else ""),
            f"On the Pareto front: {front}.", partial(pareto, all_entries),
        )  # fmt: skip
    yield from _rows(all_entries, scenario)


def _rows(shown: Sequence[Entry], scenario: str) -> Iterator[Figure]:
    """Yield the figures that have a row for each method."""
    if any(run.metrics.get("class-il", {}).get("dataset_id") is not None for run in _runs(shown)):
        yield Figure(
            "answers", "What the class-il answers were",
            "Test samples by what the class-incremental answer was, mean over tasks. Numbers: "
            "right class, of right dataset.", "", partial(row_charts.answers, shown),
        )  # fmt: skip
    if any(run.costs.cost_accuracy is not None for run in _runs(shown)):
        yield Figure(
            "cost-accuracy", "Cost accuracy",
            "Final mean accuracy in per cent per MB sent, broadcast and kept; methods that store "
            "nothing have none.", "", partial(row_charts.cost_accuracy, shown),
        )  # fmt: skip
    if row_charts.is_relative(shown):
        yield Figure(
            "relative-time", "Time relative to fine-tuning",
            "Learning time over that of fine-tuning with the same order, seed, epochs and device.",
            "", partial(row_charts.times, shown),
        )  # fmt: skip
    elif any(run.costs.learning_seconds is not None for run in _runs(shown)):
        yield Figure(
            "learning-time", "Learning time",
            "Wall time of training and consolidation, without evaluation.", "",
            partial(row_charts.times, shown),
        )  # fmt: skip
    if any(e.group.by_task("forgetting", scenario) for e in shown):
        yield Figure(
            "forgetting", "Forgetting",
            "Forgetting of each task (dots, mean over runs) and its mean over tasks (line): best "
            "accuracy before the last evaluation minus the last; negative: the task improved.",
            "", partial(row_charts.forgetting, shown, scenario),
        )  # fmt: skip
    rows = compare_groups([e.group for e in shown], scenario)
    over = (
        "test samples (bootstrap)" if any(row.samples for row in rows)
        else "task orders (Student's t)" if any(row.orders.n > 1 for row in rows)
        else ""
    )  # fmt: skip
    if over:
        yield Figure(
            "intervals", "Intervals",
            f"Final mean accuracy with its 95 % interval over {over}; the dashed line is the best, "
            "and an arrow at the edge stands for what lies far below.",
            "", partial(row_charts.intervals, shown, rows),
        )  # fmt: skip


def task_figures(entry: Entry, scenario: str) -> Iterator[Figure]:
    """Yield the figures of one method, task by task."""
    g, run = entry.group, entry.group.first
    if scenario in run.R:
        yield Figure(
            "matrix", "Accuracy matrix: down, tasks learned",
            f"{g.label}: {scenario} accuracy on each task after each evaluation, {run.order}.",
            f"{g.label}, {run.order}: {len(run.learned)} evaluations by {len(run.tasks)} tasks.",
            partial(task_charts.matrix, entry, scenario),
        )  # fmt: skip
    final = g.by_task("final", scenario)
    if final:
        worst = min(final, key=lambda task: final[task])
        yield Figure(
            "final", "Final accuracy: \N{BLACK CIRCLE} class-il, \N{WHITE CIRCLE} task-il",
            f"{g.label}: final accuracy on each task.",
            f"{g.label}, worst: {worst}, {charts.percent(final[worst])}.",
            partial(task_charts.final_accuracy, entry),
        )  # fmt: skip
    drop = g.by_task("forgetting", scenario)
    if drop:
        most = max(drop, key=lambda task: drop[task])
        yield Figure(
            "forgetting", "Forgetting", f"{g.label}: forgetting of each task.",
            f"{g.label}, most: {most}, {charts.percent(drop[most])}.",
            partial(task_charts.task_forgetting, entry, scenario),
        )  # fmt: skip


def any_task(shown: Sequence[Entry]) -> Figure:
    """Return the figure of one task that the reader chooses; the page's script gives its rows."""
    return Figure(
        "any-task", "Accuracy on one task", "Accuracy on the chosen task while others are learned.",
        "", partial(charts.task_curves, shown),
    )  # fmt: skip


def write_figures(runs: Sequence[Run], folder: Path) -> list[Path]:
    """Write the figures for papers as NAME-1col.pdf, NAME-2col.svg and so on; return the files.

    ``captions.txt`` describes them. The same runs give the same bytes. Runs of several streams
    get a folder for each.
    """
    by_stream = sections(runs)
    names = _file_names([" ".join(key) for key in by_stream])
    written: list[Path] = []
    for name, members in zip(names, by_stream.values(), strict=True):
        written += _write_section(members, folder / name if len(names) > 1 else folder)
    return written


def _write_section(runs: Sequence[Run], folder: Path) -> list[Path]:
    groups = group(runs)
    everything = entries(groups)
    kept = drawn(groups)
    shown = [e for e in everything if e.group in kept]
    scenario = groups[0].first.scenario
    pictures = [(figure, tuple(COLUMNS)) for figure in figures(everything, shown)]
    for name, entry in zip(_file_names([e.group.label for e in shown]), shown, strict=True):
        of_method = [f for f in task_figures(entry, scenario) if f.name == "matrix"]
        pictures += [(f._replace(name=f"matrix-{name}"), ("1col",)) for f in of_method]
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for figure, widths in pictures:
        for width in widths:
            written += _write(figure, folder / f"{figure.name}-{width}", paper(COLUMNS[width]))
    captions = folder / "captions.txt"
    with atomic(captions) as temporary:
        lines = [f"{figure.name}: {figure.caption}\n" for figure, _ in pictures]
        temporary.write_text("\n".join(lines), encoding="utf-8")
    return [*written, captions]


def _write(figure: Figure, stem: Path, style: Style) -> Iterator[Path]:
    """Write one figure in all formats."""
    import vl_convert

    svg = vl_convert.vegalite_to_svg(figure.spec(style))
    contents = {
        "pdf": _ordered(vl_convert.svg_to_pdf(svg)),
        "svg": svg.encode(),
        "png": vl_convert.svg_to_png(svg, ppi=DPI),
    }
    for kind, content in contents.items():
        path = stem.with_name(f"{stem.name}.{kind}")
        with atomic(path) as temporary:
            temporary.write_bytes(content)
        yield path


def _ordered(pdf: bytes) -> bytes:
    """Sort the entries of a PDF's dictionaries of objects, which are written in any order."""
    lines = rb"(<<\n)((?: +/\w+ \d+ 0 R\n)+)( *>>)"
    return re.sub(lines, lambda m: m[1] + b"".join(sorted(m[2].splitlines(True))) + m[3], pdf)


def _file_names(labels: Sequence[str]) -> list[str]:
    """Return plain names for files, all different."""
    names: list[str] = []
    spelled = str.maketrans({sign: key for key, sign in SIGNS.items()} | {"+": "p"})
    for label in labels:
        plain = re.sub(r"[^a-z0-9]+", "-", label.translate(spelled).lower()).strip("-")
        names.append(plain if plain not in names else f"{plain}-{len(names)}")
    return names


def _listed(values: Iterator[tuple[Entry, str]]) -> str:
    return "; ".join(f"{entry.group.label}: {words}" for entry, words in values) + "."


def _runs(shown: Sequence[Entry]) -> Iterator[Run]:
    return (run for entry in shown for run in entry.group.runs)
