"""Figures for papers: drawn from the runs' own numbers, legible at the width of a column."""

from __future__ import annotations

import re
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from report_runs import TITLES, make_results, write

from bmc.report import load_runs
from bmc.report.figures import tag
from bmc.report.groups import Group, group
from bmc.report.paper import (
    COLOURS,
    COLUMNS,
    SMALL,
    STYLE,
    _file_names,
    curves,
    look,
    matrix,
    write_figures,
)
from bmc.report.paper_bars import KINDS, answers, forgetting
from bmc.report.paper_cost import pareto


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    return load_runs(
        [write(root / f"{m}-{seed}", make_results(m, tasks=12, order_seed=seed))
         for m in TITLES for seed in (1, 2)]
    )  # fmt: skip


@pytest.fixture(scope="module")
def files(runs, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("figures")
    return {path.name: path for path in write_figures(runs, folder)}


KINDS_OF_FIGURE = (
    "learning-curves-class-il", "learning-curves-task-il", "answers", "forgetting", "cost-accuracy",
    "relative-time", "pareto",
)  # fmt: skip


def test_every_figure_is_there_as_pdf_and_png_for_one_and_two_columns(files):
    for name in KINDS_OF_FIGURE:
        for width in COLUMNS:
            assert {f"{name}-{width}.pdf", f"{name}-{width}.png"} <= files.keys()
    for title in ("bmc", "deep-slda", "experience-replay", "fine-tuning", "joint-training"):
        assert f"matrix-{title}-1col.pdf" in files
    captions = files["captions.txt"].read_text()
    assert all(f"{name}: " in captions for name in KINDS_OF_FIGURE)
    assert "one standard deviation" in captions


def test_pdf_files_have_the_width_of_the_column_and_embed_their_fonts_as_truetype(files):
    for name, path in files.items():
        if path.suffix == ".pdf":
            content = path.read_bytes()
            (box,) = re.findall(rb"/MediaBox \[ 0 0 ([\d.]+) [\d.]+ \]", content)
            assert float(box) == pytest.approx(72 * COLUMNS[name[-8:-4]], abs=0.5)
            assert b"/Subtype /Type3" not in content
            assert b"/FontFile2" in content or any(
                b"/FontFile2" in inflated(part) for part in re.split(rb"endobj", content)
            )


def inflated(part: bytes) -> bytes:
    """Return the decompressed stream of a PDF object, or nothing."""
    found = re.search(rb"stream\r?\n(.*)endstream", part, re.DOTALL)
    try:
        return zlib.decompress(found.group(1)) if found else b""
    except zlib.error:
        return b""


def test_the_same_runs_give_the_same_bytes(runs, files, tmp_path):
    for path in write_figures(runs[::-1], tmp_path):
        assert path.read_bytes() == files[path.name].read_bytes(), path.name


def texts(figure) -> list[Text]:
    """All that is written on a figure, laid out."""
    FigureCanvasAgg(figure).draw()
    return [text for text in figure.findobj(Text) if text.get_text().strip()]


FIGURES = {
    "curves": lambda groups, width: curves(groups, "class-il", width),
    "matrix": lambda groups, width: matrix(groups[0], "class-il", width),
    "forgetting": lambda groups, width: forgetting(
        [(g, d) for g in groups if (d := g.by_task("forgetting", "class-il"))], width
    ),
    "answers": lambda groups, width: answers([(g, 0.5, 0.7) for g in groups], width),
    "pareto": pareto,
}


@pytest.mark.parametrize("width", COLUMNS.values())
@pytest.mark.parametrize("name", FIGURES)
def test_text_stays_inside_the_figure_and_is_never_small(runs, name, width):
    with rc_context(STYLE):
        figure = FIGURES[name](group(runs), width)
        assert all(text.get_fontsize() >= SMALL for text in texts(figure))
        left, bottom, right, top = figure.get_tightbbox().extents
    assert min(left, bottom) >= -0.01
    assert right <= figure.get_figwidth() + 0.01
    assert top <= figure.get_figheight() + 0.01


def test_curves_are_named_at_their_ends_and_no_name_covers_another(runs):
    with rc_context(STYLE):
        groups = group(runs)
        figure = curves(groups, "class-il", COLUMNS["1col"])
        written = {text.get_text(): text.get_window_extent() for text in texts(figure)}
    names = sorted((written[tag(g)] for g in groups), key=lambda box: box.y0)
    assert all(low.y1 <= high.y0 + 1.5 for low, high in pairwise(names))


def test_a_curve_is_the_mean_over_runs_of_the_mean_over_tasks(runs):
    with rc_context(STYLE):
        g = next(g for g in group(runs) if g.first.method == "er")
        axes = curves([g], "class-il", 3.25).axes[0]
    line = next(part for part in axes.get_lines() if len(part.get_xdata()) == 12)
    for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True):
        rows = [run.R["class-il"][run.learned.index(x)] for run in g.runs]
        means = [np.mean([v for v in row if v is not None]) for row in rows]
        assert y == pytest.approx(100 * np.mean(means))


def test_the_rows_of_a_grouped_matrix_are_as_high_as_the_tasks_learned_in_between(runs):
    with rc_context(STYLE):
        g = next(g for g in group(runs) if g.first.method == "bmc")
        (image,) = matrix(g, "class-il", 3.25).axes[0].get_images()
    shown = np.ma.filled(image.get_array(), np.nan)
    assert shown.shape == (12, 12)
    expected = np.array(g.first.R["class-il"], dtype=float) * 100
    np.testing.assert_allclose(shown[:8], np.tile(expected[0], (8, 1)))
    np.testing.assert_allclose(shown[8:], np.tile(expected[1], (4, 1)))


def test_a_matrix_of_one_evaluation_is_a_strip(runs):
    with rc_context(STYLE):
        g = next(g for g in group(runs) if g.first.method == "joint")
        figure = matrix(g, "class-il", 3.25)
    (image,) = figure.axes[0].get_images()
    assert image.get_array().shape == (1, 12)
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["12"]


def luminance(colour: str) -> float:
    return float(np.dot([0.2126, 0.7152, 0.0722], to_rgb(colour)))


def test_methods_of_like_colour_differ_in_marker_and_kinds_of_answers_differ_in_grey():
    groups = [Group(str(k), str(k), (), k, reference=False) for k in range(len(COLOURS) * 5)]
    looks = [(look(g)["color"], look(g)["marker"], str(look(g)["linestyle"])) for g in groups]
    assert len(set(looks)) == len(looks)
    greys = [luminance(colour) for _, colour, _ in KINDS]
    assert greys[1] - greys[0] > 0.25
    assert greys[2] - greys[1] > 0.25


def test_a_single_run_of_one_task_is_drawn(tmp_path):
    one = [write(tmp_path / "one", make_results("finetune", tasks=1))]
    files = {path.name for path in write_figures(load_runs(one), tmp_path / "figures")}
    assert {"learning-curves-class-il-1col.pdf", "pareto-1col.pdf"} <= files


def test_names_of_files_are_plain_and_differ():
    labels = ["DER", "DER++", "BMC (\N{GREEK SMALL LETTER LAMDA} 0.5)", "BMC (0.5)", "BMC 0.5"]
    assert _file_names(labels) == ["der", "derpp", "bmc-lam-0-5", "bmc-0-5", "bmc-0-5-4"]
