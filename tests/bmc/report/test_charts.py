"""Charts are drawn from the runs' own numbers; papers get them in every format."""

import csv
import io
import re
from pathlib import Path
from statistics import fmean

import altair as alt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_runs import ablation, configured, make_results, many, of, write, write_all

from autods.pages.palette import PALETTE
from bmc.methods import METHODS
from bmc.report import group, load_runs
from bmc.report.charts import curves
from bmc.report.figures import COLUMNS, _file_names, figures, task_figures, write_figures
from bmc.report.finished import Run
from bmc.report.looks import COUNT, FAMILIAR, SHAPES, entries
from bmc.report.pareto import _name_sides, cost_points, pareto, pareto_front
from bmc.report.row_charts import ANSWERS, cost_accuracy
from bmc.report.style import PAGE, paper
from bmc.report.task_charts import matrix


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return load_runs(write_all(tmp_path_factory.mktemp("runs"), (1, 2), tasks=12))


@pytest.fixture(scope="module")
def files(runs, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("figures")
    return {path.name: path for path in write_figures(runs, folder)}


FIGURES = (
    "learning-curves-class-il", "learning-curves-task-il", "answers", "forgetting", "cost-accuracy",
    "relative-time", "intervals", "pareto",
)  # fmt: skip


def test_every_figure_is_there_in_all_formats_for_one_and_two_columns(files):
    for kind in ("pdf", "svg", "png"):
        assert {f"{n}-{w}.{kind}" for n in FIGURES for w in COLUMNS} <= files.keys()
        for title in ("bmc", "deep-slda", "experience-replay", "fine-tuning", "joint-training"):
            assert f"matrix-{title}-1col.{kind}" in files
    captions = files["captions.txt"].read_text()
    assert all(f"{name}: " in captions for name in FIGURES)
    assert "one standard deviation" in captions


def test_figures_have_the_width_of_the_column_legible_text_and_truetype_fonts(files):
    for name, path in files.items():
        if path.suffix == ".pdf":
            content = path.read_bytes()
            (box,) = re.findall(rb"/MediaBox ?\[0 0 ([\d.]+) [\d.]+\]", content)
            assert float(box) == pytest.approx(72 * COLUMNS[name[-8:-4]], abs=0.5)
            assert b"/Subtype /Type3" not in content
        if path.suffix == ".svg":
            sizes = re.findall(r'font-size="([\d.]+)px"', path.read_text())
            assert min(map(float, sizes)) >= 6.9


def test_the_same_runs_give_the_same_bytes(runs, files, tmp_path):
    for path in write_figures(runs[::-1], tmp_path):
        assert path.read_bytes() == files[path.name].read_bytes(), path.name


def test_figures_of_several_streams_lie_in_a_folder_each(tmp_path):
    folders = [write(tmp_path / s, make_results("er", tasks=2, stream=s)) for s in ("a", "b")]
    written = write_figures(load_runs(folders), tmp_path / "figures")
    assert {path.parent.name for path in written} == {
        "a-class-il-clean-2-tasks", "b-class-il-clean-2-tasks"
    }  # fmt: skip


def test_a_single_run_of_one_task_is_drawn(tmp_path):
    one = [write(tmp_path / "one", make_results("finetune", tasks=1))]
    files = {path.name for path in write_figures(load_runs(one), tmp_path / "figures")}
    assert {"learning-curves-class-il-1col.pdf", "pareto-1col.svg"} <= files


def test_names_of_files_are_plain_and_differ():
    labels = ["DER", "DER++", "BMC (\N{GREEK SMALL LETTER LAMDA} 0.5)", "BMC (0.5)", "BMC 0.5"]
    assert _file_names(labels) == ["der", "derpp", "bmc-lam-0-5", "bmc-0-5", "bmc-0-5-4"]


def test_every_chart_is_valid_vega_lite(runs):
    groups = group(runs)
    shown = entries(groups)
    every = [*figures(shown, shown), *(f for e in shown for f in task_figures(e, "class-il"))]
    for style in (PAGE, paper(3.25)):
        for figure in every:
            figure.draw(style).to_dict()  # checks against the schema
    assert all(len(figure.description) > 30 for figure in every)


def looks_of(results: list[dict]) -> dict:
    return {e.name: e.look for e in entries(group([Run.model_validate(r) for r in results]))}


def test_a_look_belongs_to_the_method_whatever_its_rank_and_company(tmp_path):
    everyone = load_runs(many(tmp_path, 28, 1))
    looks = {e.name: e.look for e in entries(group(everyone))}
    assert len({(k.colour, k.shape) for k in looks.values()}) == 30
    few = [make_results("bmc", tasks=3), make_results("slda", tasks=3)]
    turned = [make_results("slda", tasks=3), make_results("bmc", tasks=3)]
    turned[0]["metrics"]["class-il"]["final_mean"] = 0.01
    assert looks_of(few) == looks_of(turned)
    with_others = looks_of([*few, make_results("er", tasks=3), of("new", "New", tasks=3)])
    assert all(with_others[name] == look for name, look in looks_of(few).items())


def test_known_methods_all_differ_and_the_usual_ones_have_a_colour_each():
    assert set(FAMILIAR) == {name for name in METHODS.names() if not name.startswith("test")}
    results = [of(name, name, tasks=2) for name in FAMILIAR]
    looks = looks_of(results)
    competing = [look for name, look in looks.items() if name != "joint \N{DAGGER}"]
    assert len({(k.colour, k.shape) for k in competing}) == len(FAMILIAR) - 1
    assert len({looks[name].colour for name in FAMILIAR[:8]}) == 8
    assert COUNT == 8 * len(SHAPES) > len(FAMILIAR)


def test_settings_of_one_method_differ_and_the_plainest_has_the_look_of_the_method():
    looks = looks_of(ablation())
    assert len({(k.colour, k.shape) for k in looks.values()}) == len(looks)
    assert looks["BMC"] == looks_of([configured()])["BMC"]


def test_kinds_of_answers_differ_in_grey():
    def grey(name: str) -> float:
        colour = PALETTE[name][0]
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), parts, strict=True))

    first, second, third = (grey(name) for name in ANSWERS.values())
    assert second - first > 0.25
    assert third - second > 0.25


def rows_of(chart: alt.LayerChart, layer: int) -> list[dict[str, str]]:
    """Return the data of one layer."""
    data = chart.layer[layer].data
    data = chart.data if data is alt.Undefined else data
    return list(
        csv.DictReader(io.StringIO(data["values"] if isinstance(data, dict) else data.values))
    )


def test_a_curve_is_the_mean_over_runs_of_the_mean_over_tasks(runs):
    entry = next(e for e in entries(group(runs)) if e.group.first.method == "er")
    rows = rows_of(curves([entry], "class-il", PAGE), 1)
    assert [int(row["learned"]) for row in rows] == list(range(1, 13))
    for row in rows:
        taken = [
            run.R["class-il"][run.learned.index(int(row["learned"]))] for run in entry.group.runs
        ]
        means = [fmean(v for v in values if v is not None) for values in taken]
        assert float(row["mean"]) == pytest.approx(100 * fmean(means), rel=1e-5)


def test_a_matrix_has_a_cell_for_each_accuracy_as_high_as_the_tasks_learned_in_between(runs):
    for entry in entries(group(runs)):
        run = entry.group.first
        rows = rows_of(matrix(entry, "class-il", PAGE), 0)
        assert len(rows) == sum(v is not None for row in run.R["class-il"] for v in row)
        heights = {int(r["learned"]): int(r["learned"]) + 0.5 - float(r["top"]) for r in rows}
        assert list(heights) == run.learned
        assert sum(heights.values()) == 12


def test_references_are_not_on_the_front_and_points_beside_it_are_hollow(runs):
    groups = group(runs)
    front = [p.group.label for p in pareto_front(cost_points(groups))]
    assert front == ["Fine-tuning", "Experience replay", "Deep SLDA"]
    rows = {row["name"]: row for row in rows_of(pareto(entries(groups), PAGE), 0)}
    assert [name for name, row in rows.items() if row["front"] == "1"] == front[::-1]
    assert len(rows) == 5


def test_cost_accuracy_is_drawn_in_per_cent_per_megabyte_and_free_methods_have_no_bar():
    results = [configured(), make_results("finetune", tasks=9, order_seed=0)]
    chart = cost_accuracy(entries(group([Run.model_validate(r) for r in results])), PAGE)
    (bar,) = rows_of(chart, 0)
    assert bar["words"] == f"{60 / (2250 * 2060 / 1e6):.2f} %/MB"
    assert [row["words"] for row in rows_of(chart, 1)] == [bar["words"], "stores nothing"]


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=12))
def test_names_of_the_front_never_meet_and_its_best_point_is_always_named(points):
    front = list(zip(sorted(x for x, _ in points), sorted(y for _, y in points), strict=True))
    named = [p for p, side in zip(front, _name_sides(front), strict=True) if side]
    assert named[-1:] == front[-1:]
    for k, (x, y) in enumerate(named):
        assert all(abs(x - a) > 0.5 or abs(y - b) > 0.05 for a, b in named[k + 1 :])


def test_intervals_stay_within_0_and_100_and_end_open_where_they_were_cut():
    rows = []
    for name, means in (("high", (0.9, 0.99)), ("mid", (0.8, 0.82)), ("low", (0.001, 0.1))):
        for seed, mean in enumerate(means):
            results = of(name, name.title(), tasks=4, order_seed=seed)
            results["metrics"]["class-il"]["final_mean"] = mean
            rows.append(Run.model_validate(results))
    shown = entries(group(rows))
    known = {f.name: f for f in figures(shown, shown)}
    chart = known["intervals"].draw(PAGE)
    drawn = {row["name"]: row for row in rows_of(chart, 1)}
    assert all(0 <= float(row[end]) <= 100 for row in drawn.values() for end in ("low", "high"))
    assert (drawn["High"]["right"], drawn["Mid"]["right"]) == ("open", "closed")
    assert drawn["Low"]["left"] == "open"
    lowest, highest = chart.to_dict()["layer"][1]["encoding"]["x"]["scale"]["domain"]
    assert 0 <= lowest < highest <= 100


def test_the_error_bars_of_the_pareto_chart_stay_within_0_and_100():
    rows = []
    for seed, mean in enumerate((0.6, 1.0, 1.0)):
        results = of("steep", "Steep", tasks=4, order_seed=seed)
        results["metrics"]["class-il"]["final_mean"] = mean
        rows.append(Run.model_validate(results))
    (row,) = rows_of(pareto(entries(group(rows)), PAGE), 0)
    assert float(row["high"]) == 100
    assert 0 <= float(row["low"]) < float(row["mean"]) < 100
