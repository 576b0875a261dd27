"""The report is built from result files as runs write them."""

import csv
import io
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from statistics import fmean
from urllib.parse import unquote

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_runs import (
    TITLES,
    ablation,
    configured,
    make_results,
    many,
    of,
    printed,
    right,
    stored,
    task_names,
    write,
    write_all,
)  # fmt: skip

from autods.errors import UsageError
from bmc.report import build_report, group, load_runs, results_table
from bmc.report.finished import Run
from bmc.report.pareto import cost_points, pareto_front
from bmc.report.settings import compare
from bmc.report.statistics import compare_groups
from bmc.runs import metrics


@pytest.fixture(scope="module")
def full_size(tmp_path_factory) -> list[Path]:
    """Five methods, 71 tasks, three orders."""
    return write_all(tmp_path_factory.mktemp("runs"), (1, 2, 3))


@pytest.fixture(scope="module")
def full_page(full_size, tmp_path_factory) -> Path:
    return build_report(full_size, tmp_path_factory.mktemp("page") / "report.html")


VOID = {"meta", "link", "br", "hr", "img", "input"}


class Outline(HTMLParser):
    """Checks that every element is closed in order; collects attributes and text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> at line {self.getpos()[0]} closes another element"

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def outline(full_page) -> Outline:
    return Outline(read(full_page))


def test_the_page_is_well_formed_and_asks_for_nothing_outside_itself(full_page, outline):
    page = read(full_page)
    for tag, attributes in outline.elements:
        assert tag not in {"iframe", "object", "img"}
        for name in ("href", "src", "srcset", "data", "xlink:href", "action"):
            value = attributes.get(name) or "#"
            assert value.startswith(("#", "data:")), f"<{tag} {name}={value[:60]}>"
    style = page.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


def test_every_link_inside_the_page_has_its_target(outline):
    elements = outline.elements
    names = [a["id"] for _, a in elements if "id" in a]
    assert len(names) == len(set(names))
    links = {a["href"][1:] for t, a in elements if t == "a" and a["href"].startswith("#")}
    labels = {a["aria-labelledby"] for _, a in elements if "aria-labelledby" in a}
    assert links | labels <= set(names)


def test_every_drawing_is_described_and_every_scrolling_table_takes_the_keyboard(outline):
    elements = outline.elements
    drawings = [a for _, a in elements if a.get("class") == "chart"]
    assert len(drawings) == 2 + 1 + 1 + 4 + 1 + 4 * 3 + 2
    assert all(a["role"] == "img" and len(a["aria-label"]) > 20 for a in drawings)
    scrolling = [a for _, a in elements if "scroll" in (a.get("class") or "").split()]
    assert scrolling
    assert all(a["tabindex"] == "0" and a["aria-label"] for a in scrolling)


def test_the_page_names_all_methods_all_tasks_and_the_winner_first(outline):
    for title in TITLES.values():
        assert title in outline.text
    for name in task_names(71):
        assert f"{name} " in outline.text
    first = outline.text.index("Deep SLDA ranks first")
    assert first < outline.text.index("followed by BMC (")
    assert "Joint training, which sees all data at once, reaches" in outline.text


def test_names_from_outside_are_escaped(tmp_path):
    nasty = make_results("er", tasks=3, title='Replay <b>&"bold"', stream="<i>s</i>")
    nasty["tasks"][0]["name"] = "<script>alert(1)</script>"
    nasty["config"]["note"] = "</code><script>"
    page = build_report([write(tmp_path / "a<b>", nasty)], tmp_path / "report.html")
    outline = Outline(read(page))
    assert not {"b>", "i"} & {tag for tag, _ in outline.elements}
    assert sum(tag == "script" for tag, _ in outline.elements) == 3
    assert "<script>alert" not in read(page)
    assert "1 <script>alert(1)</script>" in outline.text
    assert 'Replay <b>&"bold"' in outline.text


def test_runs_in_any_order_in_any_process_give_the_same_bytes(full_size, full_page, tmp_path):
    again = build_report(full_size[::-1], tmp_path / "again.html")
    assert again.read_bytes() == full_page.read_bytes()
    code = (
        "import sys; from pathlib import Path; from bmc.report import build_report\n"
        "build_report([Path(p) for p in sys.argv[2:]], Path(sys.argv[1]))"
    )
    other = tmp_path / "other.html"
    subprocess.run(
        [sys.executable, "-c", code, str(other), *map(str, full_size)],
        env={**os.environ, "PYTHONHASHSEED": "7"}, check=True,
    )  # fmt: skip
    assert other.read_bytes() == full_page.read_bytes()


def test_the_accuracy_matrix_can_be_taken_from_the_page_as_csv(outline):
    links = {a["download"]: a["href"] for t, a in outline.elements if t == "a" and "download" in a}
    content = unquote(links["R-bmc-1-class-il.csv"].partition(",")[2])
    rows = list(csv.reader(io.StringIO(content)))
    expected = make_results("bmc", order_seed=1)
    assert rows[0] == ["tasks_learned", *(t["name"] for t in expected["tasks"])]
    assert [int(row[0]) for row in rows[1:]] == expected["learned"]
    values = [[float(v) if v else None for v in row[1:]] for row in rows[1:]]
    assert values == expected["R"]["class-il"]
    assert len(links) == 1 + 15 * 3


def printed_runs(runs: list[Run]) -> list[str]:
    return printed(results_table(group(runs)))


def test_the_terminal_table_stays_whole_at_100_columns_without_colour(full_size):
    lines = printed_runs(load_runs(full_size))
    assert max(map(len, lines)) <= 100
    text = "\n".join(lines)
    assert "…" not in text
    assert "n = 3 runs" in text
    rows = {
        title: next(line for line in lines if line.startswith(title)) for title in TITLES.values()
    }
    assert re.search(r"54\.\d±0\.\d\* ", rows["Deep SLDA"])
    assert rows["BMC"].split()[-3:] == ["8.38", "80.0", "78"]
    assert "†" in rows["Joint training"]
    assert "*" not in rows["Joint training"]


def test_values_that_print_alike_share_the_mark():
    runs = []
    for i, title in enumerate(("A", "B", "C")):
        results = {**make_results("er", tasks=3, title=title), "method": title}
        results["metrics"]["class-il"]["final_mean"] = 0.50001 + i * 0.0001 - (i == 2) * 0.1
        runs.append(Run.model_validate(results))
    lines = printed_runs(runs)
    marked = [line.split()[1] for line in lines if line[:2] in ("A ", "B ", "C ")]
    assert marked == ["50.0*", "50.0*", "40.0"]


def test_references_stand_last_though_their_accuracy_is_the_highest(full_size):
    groups = group(load_runs(full_size))
    assert [g.label for g in groups] == [
        "Deep SLDA", "BMC", "Experience replay", "Fine-tuning", "Joint training",
    ]  # fmt: skip


def test_relative_time_compares_learning_with_fine_tuning_of_the_same_order_and_seed(tmp_path):
    folders = []
    for method, seed, learning in [("bmc", 1, 30.0), ("finetune", 1, 40.0), ("finetune", 2, 20.0),
                                   ("bmc", 3, 5.0)]:  # fmt: skip
        results = make_results(method, tasks=9, order_seed=seed)
        results["timing"]["seconds"] = {"train": learning, "evaluate": 7.0, "total": learning + 7}
        folders.append(write(tmp_path / f"{method}-{seed}", results))
    relative = {run.folder: run.costs.relative_time for run in load_runs(folders)}
    assert relative == {
        "bmc-1": pytest.approx(0.75), "finetune-1": 1, "finetune-2": 1, "bmc-3": None,
    }  # fmt: skip


def test_a_folder_named_twice_counts_once(tmp_path):
    folder = write(tmp_path / "run", make_results("er", tasks=3))
    assert len(load_runs([folder, tmp_path / "." / "run"])) == 1


def test_settings_tell_two_runs_of_one_method_apart():
    small = Run.model_validate(make_results("er", tasks=3))
    config = {**small.config, "memory": 4000}
    large = Run.model_validate(make_results("er", tasks=3, config=config))
    labels = [g.label for g in group([small, large])]
    assert sorted(labels) == ["Experience replay (memory 2000)", "Experience replay (memory 4000)"]


def groups_of(results: list[dict]) -> list:
    return group([Run.model_validate(r) for r in results])


def test_rows_of_an_ablation_are_named_by_what_each_changes():
    rows = [configured(), configured(lam=0.0), configured(beta=0.0), configured(experts=1),
            configured(lam=0.0, beta=0.0), configured(lam=1.0),
            make_results("er", tasks=9, order_seed=0)]  # fmt: skip
    named = {g.label: g.short for g in groups_of(rows)}
    assert named == {
        "BMC": "BMC",
        "BMC (no stability loss)": "no stability loss",
        "BMC (no distillation)": "no distillation",
        "BMC (experts 1)": "experts 1",
        "BMC (no distillation, no stability loss)": "no distillation, no stability loss",
        "BMC (\N{GREEK SMALL LETTER LAMDA} 1)": "\N{GREEK SMALL LETTER LAMDA} 1",
        "Experience replay": "Experience replay",
    }


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=12))
def test_the_front_holds_exactly_the_points_that_no_other_dominates(pairs):
    runs = [
        configured(memory=1000 * cost, accuracy=accuracy / 10, learning_rate=i)
        for i, (cost, accuracy) in enumerate(pairs)
    ]
    points = cost_points(groups_of(runs))
    front = pareto_front(points)
    values = {(round(p.cost, 6), p.accuracy.mean) for p in points}
    best = {
        (c, a) for c, a in values
        if not any(c2 <= c and a2 >= a and (c2, a2) != (c, a) for c2, a2 in values)
    }  # fmt: skip
    assert {(round(p.cost, 6), p.accuracy.mean) for p in front} == best
    assert len(front) == len(best)


def test_a_sweep_draws_the_curves_of_its_best_rows_and_lists_all(tmp_path):
    rows = ablation()
    folders = [write(tmp_path / f"{i}", r) for i, r in enumerate(rows)]
    text = Outline(read(build_report(folders, tmp_path / "report.html"))).text
    assert f"Of {len(rows)} configurations, 7 are drawn" in text
    assert "Each configuration learned 9 tasks" in text
    assert all(g.label in text for g in groups_of(rows))


def test_repeats_differ_in_seed_and_order_only():
    repeats = []
    for seed in (0, 1):
        results = make_results("er", tasks=3, order_seed=seed, run_seed=seed)
        results["config"]["seed"] = seed
        repeats.append(Run.model_validate(results))
    (only,) = group(repeats)
    assert only.label == "Experience replay"
    assert only.metric("class-il", "final_mean").n == 2


def three_tasks(rows: list[list[float | None]]) -> Run:
    return Run.model_validate({**make_results("er", tasks=3), "R": {"class-il": rows}})


def test_forgetting_by_task_leaves_the_last_row_out_of_the_maximum():
    run = three_tasks([[0.8, None, None], [0.6, 0.9, None], [0.85, 0.95, 0.7]])
    drops = run.forgetting("class-il")
    assert [drops[t.name] for t in run.tasks] == [pytest.approx(-0.05), pytest.approx(-0.05), None]
    (g,) = group([run])
    assert fmean(g.by_task("forgetting", "class-il").values()) == pytest.approx(-0.05)


def test_the_learning_curve_is_the_mean_over_tasks_learned_so_far():
    (g,) = group([three_tasks([[0.8, None, None], [0.6, 0.9, None], [0.85, 0.95, 0.7]])])
    curve = {learned: stat.mean for learned, stat in g.curve("class-il")}
    assert curve == {n: pytest.approx(v) for n, v in {1: 0.8, 2: 0.75, 3: 2.5 / 3}.items()}


def test_results_of_tasks_are_averaged_by_name_whatever_their_place_in_the_order():
    one, two = make_results("er", tasks=2), make_results("er", tasks=2, run_seed=1)
    two["tasks"].reverse()
    one["R"] = {"class-il": [[0.5, None], [0.2, 0.6]]}
    two["R"] = {"class-il": [[0.9, None], [0.8, 0.4]]}
    (g,) = group([Run.model_validate(one), Run.model_validate(two)])
    first, second = (t["name"] for t in one["tasks"])
    expected = {first: pytest.approx(0.3), second: pytest.approx(0.7)}
    assert g.by_task("final", "class-il") == expected


@pytest.mark.parametrize("tasks", [1, 2, 9])
def test_short_streams_and_single_runs_make_a_page(tasks, tmp_path):
    for method in TITLES:
        folder = write(tmp_path / method, make_results(method, tasks=tasks))
        Outline(read(build_report([folder], tmp_path / "report.html")))


def test_a_run_without_optional_numbers_makes_a_page(tmp_path):
    results = make_results("er", tasks=3, metrics={}, versions={}, provenance={}, config={})
    results["costs"].update(cost_accuracy=None, total_bytes=0)
    del results["timing"]
    results["R"] = {"class-il": [[None] * 3] * 3}
    page = build_report([write(tmp_path / "run", results)], tmp_path / "report.html")
    assert "No accuracy was measured" in Outline(read(page)).text


def test_of_many_methods_the_best_and_the_landmarks_are_drawn_and_all_stand_in_the_tables(tmp_path):
    folders = many(tmp_path, count=28, orders=5, tasks=71)
    page = build_report(folders, tmp_path / "report.html")
    outline = Outline(read(page))
    assert "Of 30 methods, 8 are drawn" in outline.text
    drawings = [a["aria-label"] for _, a in outline.elements if a.get("class") == "chart"]
    matrices = [label for label in drawings if label.startswith("Accuracy matrix")]
    named = [label.partition(". ")[2].partition(",")[0] for label in matrices]
    assert named == [*(f"Method {k}" for k in range(6)), "Fine-tuning", "Joint training"]
    assert all(outline.text.count(f"Method {k} ") >= 2 for k in range(28))
    folded = [a for t, a in outline.elements if t == "details" and a.get("class") == "one"]
    assert len(folded) == 8 - 4
    links = [a["download"] for t, a in outline.elements if t == "a" and "download" in a]
    assert len(links) == 1 + 3 * 8  # one run of each method that is drawn
    assert page.stat().st_size < 5_000_000


def test_intervals_and_tests_against_the_best_stand_in_the_report_of_several_orders(tmp_path):
    folders = many(tmp_path, count=4, orders=5)
    outline = Outline(read(build_report(folders, tmp_path / "report.html")))
    rows = compare_groups(group(load_runs(folders)), "class-il")
    table = outline.text.partition("Final mean accuracy, class-il")[2].partition("learning")[0]
    words = " ".join(table.split())
    assert [row.group.label for row in rows if row.best] == ["Method 0"]
    second = next(row for row in rows if row.group.label == "Method 1")
    assert second.orders.p < 0.05
    low, high, sd = (100 * v for v in (second.orders.low, second.orders.high, second.orders.sd))
    shown = f"{low:.1f} to {high:.1f} {sd:.1f} \N{MINUS SIGN}1.8 < 0.001 worse 5"
    assert f"Method 1 {second.mean * 100:.1f} {shown}" in words
    assert "Method 0 70.0 70.0 to 70.0 0.0 best 5" in words
    assert re.search(r"Joint training † [\d.]+ [\d. to]+ [\d.]+ \S+ \S* ?[\d.]+ reference 5", words)
    assert (
        "No interval over test samples: their runs do not say which samples were right."
        in " ".join(outline.text.split())
    )


def test_the_report_says_what_is_known_over_test_samples_even_of_one_order(tmp_path):
    good = right(0, 0.9)
    worse = {
        name: hits * (np.arange(len(hits)) % 2).astype(np.uint8) for name, hits in good.items()
    }
    folders = [stored(tmp_path / m, m, hits) for m, hits in (("good", good), ("bad", worse))]
    text = Outline(read(build_report(folders, tmp_path / "report.html"))).text
    words = " ".join(text.partition("Final mean accuracy, class-il")[2].split())
    row = compare_groups(group(load_runs(folders)), "class-il")[1]
    low, high = 100 * row.samples.low, 100 * row.samples.high
    assert f"BAD {100 * row.mean:.1f} {low:.1f} to {high:.1f} \N{MINUS SIGN}" in words
    assert "< 0.001 worse" in words
    assert "p (test samples)" in words
    assert "p (orders)" not in words
    assert "Over orders:" not in text


def test_methods_that_the_test_cannot_tell_from_the_best_are_named_at_the_top(tmp_path):
    folders = []
    for seed in range(3):
        for title, mean in (("One", 0.6 + 0.01 * seed), ("Two", 0.62 - 0.015 * seed)):
            results = of(title, title, tasks=5, order_seed=seed)
            results["metrics"]["class-il"]["final_mean"] = mean
            folders.append(write(tmp_path / f"{title}-{seed}", results))
    text = Outline(read(build_report(folders, tmp_path / "report.html"))).text
    assert "Two cannot be told apart from the first" in " ".join(text.split())


def test_one_order_gets_neither_interval_nor_test(tmp_path):
    text = Outline(read(build_report(many(tmp_path, 3, 1), tmp_path / "report.html"))).text
    assert "Intervals and tests" not in text


def rows_at(method: str, learned: list[int], accuracies: list[float]) -> dict:
    """Results of four tasks of 10, 20, 30 and 40 test samples, measured after some of them."""
    results = of(method, method, tasks=4)
    for task, size in zip(results["tasks"], (10, 20, 30, 40), strict=True):
        task["test"] = size
    R = [[a if j < n else None for j in range(4)] for n, a in zip(learned, accuracies, strict=True)]
    return {**results, "learned": learned, "R": {"class-il": R, "task-il": R}}


def test_average_incremental_accuracy_is_compared_over_the_evaluations_that_all_have(tmp_path):
    every = rows_at("every", [1, 2, 3, 4], [0.9, 0.8, 0.7, 0.6])
    pairs = rows_at("pairs", [2, 4], [0.7, 0.5])
    once = rows_at("joint", [4], [0.8])
    folders = [write(tmp_path / r["method"], r) for r in (every, pairs, once)]
    runs = {run.method: run for run in load_runs(folders)}
    values = {
        m: run.metrics["class-il"].get("average_incremental_micro") for m, run in runs.items()
    }
    assert values == {"every": pytest.approx(0.7), "pairs": pytest.approx(0.6), "joint": None}
    alone = load_runs(folders[:1])[0].metrics["class-il"]["average_incremental_micro"]
    assert alone == pytest.approx(0.75)
    text = " ".join(printed_runs(list(runs.values())))
    assert (
        "average incremental and forgetting: over the 2 evaluations that all have, after 2, 4 tasks"
        in text
    )
    page = Outline(read(build_report(folders, tmp_path / "report.html"))).text
    assert "Average incremental and forgetting: over the 2 evaluations that all have" in page


def test_methods_without_a_common_evaluation_but_the_last_have_no_average_to_compare(tmp_path):
    folders = [
        write(tmp_path / "one", rows_at("one", [1, 4], [0.9, 0.6])),
        write(tmp_path / "two", rows_at("two", [2, 4], [0.7, 0.5])),
    ]
    runs = load_runs(folders)
    assert all(run.metrics["class-il"]["average_incremental_micro"] is None for run in runs)
    assert "average incremental and forgetting: left out" in " ".join(printed_runs(runs))


def test_all_that_depends_on_the_evaluation_grid_is_taken_over_the_shared_evaluations(tmp_path):
    every = rows_at("every", [1, 2, 3, 4], [0.9, 0.8, 0.9, 0.6])
    every["metrics"]["task-il"]["fwt_gem"] = 0.1
    pairs = rows_at("pairs", [2, 4], [0.7, 0.5])
    pairs["metrics"]["task-il"]["fwt_gem"] = 0.2
    once = rows_at("joint", [4], [0.85])
    folders = [write(tmp_path / r["method"], r) for r in (every, pairs, once)]
    runs = {run.method: run for run in load_runs(folders)}
    found = {method: run.metrics["class-il"] for method, run in runs.items()}
    assert found["every"]["forgetting_chaudhry"] == pytest.approx(0.8 - 0.6)  # without 0.9
    assert found["every"]["bwt_gem"] == pytest.approx(0.6 - 0.8)
    assert found["every"]["learning_accuracy"] == pytest.approx((0.8 + 0.6) / 2)
    assert found["every"]["intransigence"] == pytest.approx(0.85 - (0.8 + 0.6) / 2)
    assert found["pairs"]["forgetting_chaudhry"] == pytest.approx(0.7 - 0.5)
    first = runs["every"].tasks[0].name
    assert runs["every"].forgetting("class-il")[first] == pytest.approx(0.8 - 0.6)
    assert all(found["joint"][name] is None for name in metrics.ON_GRID)
    transfer = {m: run.metrics["task-il"].get("fwt_gem") for m, run in runs.items()}
    assert transfer == {"every": None, "pairs": 0.2, "joint": None}
    alone = load_runs(folders[:1])[0].metrics
    assert alone["class-il"]["forgetting_chaudhry"] == pytest.approx(0.9 - 0.6)
    assert alone["task-il"]["fwt_gem"] == 0.1
    apart = write(tmp_path / "apart", rows_at("apart", [3, 4], [0.7, 0.5]))
    last = load_runs([folders[1], apart])[0]
    assert all(last.metrics["class-il"][name] is None for name in metrics.ON_GRID)
    assert set(last.forgetting("class-il").values()) == {None}


def test_intransigence_is_known_where_joint_training_has_the_same_order_and_seed(tmp_path):
    own = rows_at("own", [1, 2, 3, 4], [0.9, 0.8, 0.7, 0.6])
    other = {**own, "run_seed": 7}
    joint = rows_at("joint", [4], [0.85])
    folders = [write(tmp_path / name, r) for name, r in
               (("own", own), ("other", other), ("joint", joint))]  # fmt: skip
    found = {r.folder: r.metrics["class-il"].get("intransigence") for r in load_runs(folders)}
    expected = 0.85 - (0.9 + 0.8 + 0.7 + 0.6) / 4
    assert found == {"own": pytest.approx(expected), "other": None, "joint": None}
    row = next(csv.DictReader(io.StringIO(results_table(group(load_runs(folders[::2]))).csv())))
    assert float(row["class_il_intransigence_mean"]) == pytest.approx(expected)
    page = Outline(read(build_report(folders, tmp_path / "report.html"))).text
    assert "intransigence" in page


def test_every_table_names_its_rows_and_columns_and_has_a_caption_or_a_labelled_region(outline):
    cells = [(t, a) for t, a in outline.elements if t == "th"]
    assert all(a.get("scope") in ("row", "col", "rowgroup", "colgroup") for _, a in cells)
    tables = sum(t == "table" for t, _ in outline.elements)
    regions = [a for t, a in outline.elements if t == "div" and a.get("role") == "region"]
    assert tables == len(regions)


def test_settings_are_written_once_where_all_runs_agree():
    rows = compare([("a", {"x": {"y": 1}, "z": 2}), ("b", {"x": {"y": 1}, "z": [3, 4]})])
    assert rows == [("x.y", [("", "1")]), ("z", [("a", "2"), ("b", "3, 4")])]


def test_runs_of_several_streams_get_a_section_each(tmp_path):
    folders = []
    for stream, tasks in (("flowers17", 3), ("<b>pets", 4)):
        for method in TITLES:
            results = make_results(method, tasks=tasks, stream=stream)
            folders.append(write(tmp_path / stream / method, results))
    outline = Outline(read(build_report(folders, tmp_path / "report.html")))
    test_every_link_inside_the_page_has_its_target(outline)
    articles = [a["aria-label"] for t, a in outline.elements if t == "article"]
    assert articles == [f"{stream} tasks: 5 methods, class-il" for stream in
                        ("<b>pets, 4", "flowers17, 3")]  # fmt: skip
    assert [t for t, _ in outline.elements].count("h1") == 1
    assert outline.text.count("Deep SLDA ranks first") + outline.text.count("BMC ranks first") == 2
    relative = {run.folder: run.costs.relative_time for run in load_runs(folders)}
    assert None not in relative.values()


def change(**changes) -> dict:
    return {**make_results("er", tasks=3), **changes}


@pytest.mark.parametrize(
    ("results", "said"),
    [
        (change(format=1), "field format"),
        (change(R={"class-il": [[0.1, 0.2, 0.3]]}), "3 rows of 3 numbers"),
        (change(R={"class-il": [[1.5, None, None]] * 3}), "fractions between 0 and 1"),
        (change(R={"task-il": []}), "no accuracies for the run's own scenario"),
        (change(learned=[2, 1, 3]), "learned must increase"),
        (change(tasks=[]), "tasks must be given"),
        ([1, 2], "it holds a list"),
    ],
)
def test_results_that_cannot_be_understood_are_refused_by_file_and_field(results, said, tmp_path):
    folder = write(tmp_path / "run", results)
    with pytest.raises(UsageError, match=re.escape(said)) as caught:
        build_report([folder], tmp_path / "report.html")
    assert "results.json" in str(caught.value)
    assert not (tmp_path / "report.html").exists()


def test_an_unfinished_or_damaged_run_is_refused(tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(UsageError, match=r"has no results\.json"):
        build_report([tmp_path / "run"], tmp_path / "report.html")
    (tmp_path / "run" / "results.json").write_text('{"format": 2, "met', encoding="utf-8")
    with pytest.raises(UsageError, match="expected a JSON object"):
        build_report([tmp_path / "run"], tmp_path / "report.html")
    with pytest.raises(UsageError, match="at least one run"):
        build_report([], tmp_path / "report.html")


def renamed(field: str, value: object) -> dict:
    results = make_results("er", tasks=3)
    results["tasks"][0][field] = value
    return results


def test_orders_cut_after_some_tasks_may_hold_other_tasks(tmp_path):
    one, two = make_results("er", tasks=3), renamed("name", "only-here")
    folders = [write(tmp_path / "one", one), write(tmp_path / "two", two)]
    text = Outline(read(build_report(folders, tmp_path / "report.html"))).text
    assert "which ones depends on the order" in text
    assert "only-here" in text


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (change(), "are the same run"),
        ({**renamed("train", 7), "run_seed": 1}, "must share their tasks"),
    ],
)
def test_runs_that_cannot_stand_in_one_table_are_refused(other, said, tmp_path):
    folders = [write(tmp_path / "one", change()), write(tmp_path / "two", other)]
    with pytest.raises(UsageError, match=said):
        build_report(folders, tmp_path / "report.html")
