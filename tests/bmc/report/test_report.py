"""The report is built from result files as runs write them, and read in a real browser."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from statistics import fmean, stdev
from urllib.parse import unquote

import pytest
from chromium import EXECUTABLE, Page
from hypothesis import given
from hypothesis import strategies as st
from report_runs import TITLES, make_results, task_names, write

from autods.errors import UsageError
from bmc.report import build_report, group, load_runs, results_table
from bmc.report.by_task import heat_map
from bmc.report.cost import cost_accuracy, cost_points, pareto, pareto_front
from bmc.report.load import SHARED, Run
from bmc.report.page import compare
from bmc.report.statistics import compare_groups
from bmc.report.svg import count_ticks, spread


@pytest.fixture(scope="module")
def full_size(tmp_path_factory) -> list[Path]:
    """Five methods, 71 tasks, three orders."""
    root = tmp_path_factory.mktemp("runs")
    return [
        write(root / f"{m}-{seed}", make_results(m, order_seed=seed))
        for m in TITLES for seed in (1, 2, 3)
    ]  # fmt: skip


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
        assert tag not in {"script", "iframe", "object", "img"}
        for name in ("href", "src", "srcset", "data", "xlink:href", "action"):
            value = attributes.get(name) or "#"
            assert value.startswith(("#", "data:")), f"<{tag} {name}={value[:60]}>"
    assert "url(" not in page
    assert "@import" not in page


def test_every_link_inside_the_page_has_its_target(outline):
    elements = outline.elements
    names = [a["id"] for _, a in elements if "id" in a]
    assert len(names) == len(set(names))
    links = {a["href"][1:] for t, a in elements if t == "a" and a["href"].startswith("#")}
    labels = {a["aria-labelledby"] for _, a in elements if "aria-labelledby" in a}
    assert links | labels <= set(names)


def test_every_drawing_is_described_and_every_scrolling_table_takes_the_keyboard(outline):
    elements = outline.elements
    drawings = [a for t, a in elements if t == "svg" and a.get("aria-hidden") != "true"]
    assert len(drawings) >= 4 + 3 + 5 * 2
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
    assert not {"script", "b>", "i"} & {tag for tag, _ in outline.elements}
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


def printed(runs: list[Run], width: int = 100) -> list[str]:
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.setenv("COLUMNS", str(width))
        results_table(group(runs)).print("report.html")
    return out.getvalue().splitlines()


def test_the_terminal_table_stays_whole_at_100_columns_without_colour(full_size):
    lines = printed(load_runs(full_size))
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
    lines = printed(runs)
    marked = [line.split()[1] for line in lines if line[:2] in ("A ", "B ", "C ")]
    assert marked == ["50.0*", "50.0*", "40.0"]


def test_csv_holds_mean_deviation_and_number_of_runs_in_stored_units(full_size):
    rows = list(csv.DictReader(io.StringIO(results_table(group(load_runs(full_size))).csv())))
    row = next(r for r in rows if r["method"] == "bmc")
    finals = [
        make_results("bmc", order_seed=s)["metrics"]["class-il"]["final_mean"] for s in (1, 2, 3)
    ]
    assert row["runs"] == "3"
    assert float(row["class_il_mean"]) == pytest.approx(fmean(finals))
    assert float(row["class_il_sd"]) == pytest.approx(stdev(finals))
    assert row["communication_bytes_mean"] == "8380416"
    joint = next(r for r in rows if r["method"] == "joint")
    assert joint["class_il_forgetting_chaudhry_mean"] == ""


def test_references_stand_last_though_their_accuracy_is_the_highest(full_size):
    groups = group(load_runs(full_size))
    assert [g.label for g in groups] == [
        "Deep SLDA", "BMC", "Experience replay", "Fine-tuning", "Joint training",
    ]  # fmt: skip
    assert [g.style for g in groups] == list(range(5))


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


def configured(order_seed: int = 0, accuracy: float = 0.6, **settings) -> dict:
    """Results of BMC under a configuration, whose memory and buffer decide its cost."""
    config = {"epochs": 10, "memory": 2000, "buffer": 250, "experts": 8, "lam": 0.1, "beta": 0.1}
    results = make_results("bmc", tasks=9, order_seed=order_seed, config={**config, **settings})
    kept, sent = (2060 * results["config"][key] for key in ("memory", "buffer"))
    results["metrics"]["class-il"]["final_mean"] = accuracy
    results["costs"].update(
        memory_bytes=kept, communication_bytes=sent, total_bytes=kept + sent,
        cost_accuracy=accuracy * 1e8 / (kept + sent),
    )  # fmt: skip
    return results


def ablation() -> list[dict]:
    """As many configurations as an ablation has, many of them at one cost, and fine-tuning."""
    rows = [configured(accuracy=0.6)]
    rows += [configured(lam=0.0, accuracy=0.57), configured(beta=0.0, accuracy=0.56)]
    rows += [configured(experts=k, accuracy=0.63 - k / 400) for k in (1, 2, 4, 16)]
    rows += [configured(memory=m, accuracy=0.55 + m / 1e5) for m in (500, 1000, 4000, 8000)]
    rows += [configured(buffer=b, accuracy=0.6 + b / 5e4) for b in (50, 125, 500, 1000)]
    rows += [configured(lam=w, accuracy=0.601 + w / 1e3) for w in (0.001, 0.01, 1.0)]
    return [*rows, make_results("finetune", tasks=9, order_seed=0)]


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


def test_references_are_not_on_the_front_and_points_beside_it_are_hollow(full_size):
    groups = group(load_runs(full_size))
    front = [p.group.label for p in pareto_front(cost_points(groups))]
    assert front == ["Fine-tuning", "Experience replay", "Deep SLDA"]
    drawing = pareto(groups, 1150, "wide")
    assert drawing.count('class="dot ') == 3
    assert drawing.count('class="hollow ') == 2
    assert drawing.count('class="front"') == 1


def test_cost_accuracy_is_drawn_in_per_cent_per_megabyte_and_free_methods_have_no_bar():
    drawing = cost_accuracy(
        groups_of([configured(), make_results("finetune", tasks=9, order_seed=0)])
    )
    assert f"{60 / (2250 * 2060 / 1e6):.2f} %/MB" in drawing
    assert "stores nothing" in drawing
    assert drawing.count("<rect") == 1


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


def test_the_heat_map_has_one_cell_for_each_measured_accuracy(full_size):
    for g in group(load_runs(full_size)):
        cells = re.findall(r"M[\d.]+ [\d.]+h", heat_map(g, "class-il"))
        known = sum(v is not None for row in g.first.R["class-il"] for v in row)
        assert len(cells) == known


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


def of(method: str, title: str, **made) -> dict:
    """Results as those of replay, of a method of another name."""
    return {**make_results("er", **made), "method": method, "title": title}


def many(tmp_path: Path, count: int, orders: int, tasks: int = 9) -> list[Path]:
    """Runs of so many methods besides fine-tuning and joint training, each less accurate."""
    folders = []
    for seed in range(orders):
        for k in range(count):
            results = of(f"m{k}", f"Method {k}", tasks=tasks, order_seed=seed)
            results["metrics"]["class-il"]["final_mean"] = 0.7 - 0.02 * k + 0.001 * seed * (k % 3)
            folders.append(write(tmp_path / f"m{k}-{seed}", results))
        for method in ("finetune", "joint"):
            results = make_results(method, tasks=tasks, order_seed=seed)
            folders.append(write(tmp_path / f"{method}-{seed}", results))
    return folders


def test_of_many_methods_the_best_and_the_landmarks_are_drawn_and_all_stand_in_the_tables(tmp_path):
    folders = many(tmp_path, count=28, orders=5, tasks=71)
    page = build_report(folders, tmp_path / "report.html")
    outline = Outline(read(page))
    assert "Of 30 methods, 8 are drawn" in outline.text
    drawings = [a["aria-label"] for t, a in outline.elements if t == "svg" and "aria-label" in a]
    matrices = [label for label in drawings if label.startswith("Accuracy matrix of ")]
    named = [label.removeprefix("Accuracy matrix of ").partition(",")[0] for label in matrices]
    assert named == [*(f"Method {k}" for k in range(6)), "Fine-tuning", "Joint training"]
    assert all(outline.text.count(f"Method {k} ") >= 2 for k in range(28))
    folded = [a for t, a in outline.elements if t == "details" and a.get("class") == "one"]
    assert len(folded) == 8 - 4
    links = [a["download"] for t, a in outline.elements if t == "a" and "download" in a]
    assert len(links) == 1 + 3 * 8  # one run of each method that is drawn
    assert page.stat().st_size < 2_500_000


def test_intervals_and_tests_against_the_best_stand_in_the_report_of_several_orders(tmp_path):
    folders = many(tmp_path, count=4, orders=5)
    outline = Outline(read(build_report(folders, tmp_path / "report.html")))
    rows = compare_groups(group(load_runs(folders)), "class-il")
    table = outline.text.partition("Final mean accuracy, class-il")[2].partition("learning")[0]
    words = " ".join(table.split())
    assert [row.group.label for row in rows if row.best] == ["Method 0"]
    second = next(row for row in rows if row.group.label == "Method 1")
    assert second.p < 0.05
    shown = f"{second.low * 100:.1f} to {second.high * 100:.1f} \N{MINUS SIGN}1.8 < 0.001 worse 5"
    assert f"Method 1 {second.mean * 100:.1f} {shown}" in words
    assert "Method 0 70.0 70.0 to 70.0 best 5" in words
    assert re.search(r"Joint training † [\d.]+ [\d. to]+ \S+ \S* ?[\d.]+ reference 5", words)


def test_methods_that_the_test_cannot_tell_from_the_best_are_named_at_the_top(tmp_path):
    folders = []
    for seed in range(3):
        for title, mean in (("One", 0.6 + 0.01 * seed), ("Two", 0.62 - 0.015 * seed)):
            results = of(title, title, tasks=5, order_seed=seed)
            results["metrics"]["class-il"]["final_mean"] = mean
            folders.append(write(tmp_path / f"{title}-{seed}", results))
    text = Outline(read(build_report(folders, tmp_path / "report.html"))).text
    assert "Over these orders Two cannot be told apart from the first" in " ".join(text.split())


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
    values = {m: run.metrics["class-il"].get(SHARED) for m, run in runs.items()}
    assert values == {"every": pytest.approx(0.7), "pairs": pytest.approx(0.6), "joint": None}
    alone = load_runs(folders[:1])[0].metrics["class-il"][SHARED]
    assert alone == pytest.approx(0.75)
    text = " ".join(printed(list(runs.values())))
    assert "average incremental: over the 2 evaluations that all have, after 2, 4 tasks" in text
    page = Outline(read(build_report(folders, tmp_path / "report.html"))).text
    assert "Average incremental: over the 2 evaluations that all have" in page


def test_methods_without_a_common_evaluation_but_the_last_have_no_average_to_compare(tmp_path):
    folders = [
        write(tmp_path / "one", rows_at("one", [1, 4], [0.9, 0.6])),
        write(tmp_path / "two", rows_at("two", [2, 4], [0.7, 0.5])),
    ]
    runs = load_runs(folders)
    assert all(SHARED not in run.metrics["class-il"] for run in runs)
    assert "average incremental: left out" in " ".join(printed(runs))


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
        (change(stream="stream71", run_seed=1), "must share the stream"),
        (change(protocol="paper", run_seed=1), "must share the protocol"),
        ({**make_results("er", tasks=4), "run_seed": 1}, "must share their tasks"),
        ({**renamed("train", 7), "run_seed": 1}, "must share their tasks"),
    ],
)
def test_runs_that_cannot_stand_in_one_table_are_refused(other, said, tmp_path):
    folders = [write(tmp_path / "one", change()), write(tmp_path / "two", other)]
    with pytest.raises(UsageError, match=said):
        build_report(folders, tmp_path / "report.html")


@given(st.integers(1, 5000))
def test_axis_labels_are_few_and_include_both_ends(total):
    ticks = count_ticks(total)
    assert ticks[0] == 1
    assert ticks[-1] == total
    assert len(ticks) <= 10
    assert all(a < b for a, b in pairwise(ticks))


@given(st.lists(st.floats(12, 286), min_size=1, max_size=15))
def test_labels_never_overlap_nor_leave_the_drawing(wanted):
    placed = spread(wanted, 15, 12, 286)
    assert all(b - a >= 15 - 1e-6 for a, b in pairwise(sorted(placed)))
    assert all(12 - 1e-6 <= row <= 286 + 1e-6 for row in placed)
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    assert [placed[i] for i in order] == sorted(placed)


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Page]:
    if EXECUTABLE is None:
        pytest.skip("no Chromium is installed")
    with Page(tmp_path_factory.mktemp("profile")) as page:
        yield page


def test_the_browser_reports_errors_and_sideways_scrolling(browser, tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text("<div style='width:2000px'>x</div><script>console.error('no')</script>")
    browser.open(bad, 390)
    assert max(browser.evaluate(WIDTHS)) > 390
    assert len(browser.problems) > 0
    browser.problems.clear()


OPEN_ALL = "document.querySelectorAll('details').forEach(d => d.open = true)"
WIDTHS = "[document.documentElement.scrollWidth, window.innerWidth]"
SHOWN = "[...document.querySelectorAll('svg.{}')].filter(s => s.clientWidth > 0).length"


@pytest.mark.parametrize(("width", "dark"), [(320, False), (390, True), (820, False), (1280, True)])
def test_a_browser_shows_the_page_without_errors_or_sideways_scrolling(
    browser, full_page, width, dark
):
    browser.open(full_page, width, dark=dark)
    browser.evaluate(OPEN_ALL)
    assert max(browser.evaluate(WIDTHS)) <= width
    assert browser.problems == []
    assert all(url.startswith(("file:", "data:")) for url in browser.requests)
    wide = width >= 1120
    assert browser.evaluate(SHOWN.format("wide")) == (3 if wide else 0)
    assert browser.evaluate(SHOWN.format("narrow")) == (0 if wide else 3)


COVERED = """(() => {
  const drawing = [...document.querySelectorAll('svg')].find(
    s => s.clientWidth > 0 && (s.getAttribute('aria-label') || '').includes('Pareto front'));
  const inside = e => { const b = e.getBoundingClientRect();
    return [b.left + 1, b.top + 2, b.right - 1, b.bottom - 2]; };
  const names = [...drawing.querySelectorAll('text:not(.tick):not(.axis)')];
  const others = [...names, ...drawing.querySelectorAll('.tick'),
                  ...drawing.querySelectorAll('.dot, .hollow')];
  const meet = (a, b) => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
  const edge = inside(drawing);
  return [names.length, names.filter(n => others.some(
      o => o !== n && meet(inside(n), inside(o)))).map(n => n.textContent),
    names.filter(n => inside(n)[0] < edge[0] - 2 || inside(n)[2] > edge[2] + 2).length]; })()"""


@pytest.mark.parametrize("width", [320, 390, 820, 1280])
def test_names_in_the_figure_of_cost_cover_nothing_and_stay_inside(browser, tmp_path, width):
    folders = [write(tmp_path / f"{i}", r) for i, r in enumerate(ablation())]
    browser.open(build_report(folders, tmp_path / "report.html"), width)
    assert max(browser.evaluate(WIDTHS)) <= width
    names, covered, outside = browser.evaluate(COVERED)
    assert names >= 8
    assert covered == []
    assert outside == 0
    assert browser.problems == []


def test_a_phone_shows_text_in_drawings_at_a_readable_size(browser, full_page):
    browser.open(full_page, 390)
    smallest = browser.evaluate(
        "Math.min(...[...document.querySelectorAll('svg text')].filter(t => t.getClientRects()"
        ".length).map(t => t.getScreenCTM().a * parseFloat(getComputedStyle(t).fontSize)))"
    )
    assert smallest >= 10


@pytest.mark.parametrize("dark", [False, True])
def test_text_and_curves_stand_out_from_the_background(browser, full_page, dark):
    browser.open(full_page, 1280, dark=dark)
    colours = browser.evaluate(
        "(() => { const s = getComputedStyle(document.documentElement); const get = n => "
        "s.getPropertyValue('--' + n).trim(); const all = {}; for (const n of ['ground', 'ink', "
        "'soft', 'link', 'ref', ...Array.from({length: 8}, (_, i) => 'm' + i)]) all[n] = get(n); "
        "return all })()"
    )
    ground = luminance(colours.pop("ground"))
    for name, colour in colours.items():
        light, low = sorted((ground, luminance(colour)), reverse=True)
        needed = 4.5 if name in ("ink", "soft", "link") else 3.0
        assert (light + 0.05) / (low + 0.05) >= needed, name


def luminance(colour: str) -> float:
    """Relative luminance of #rgb or #rrggbb, as the contrast rules of the web define it."""
    digits = colour.lstrip("#")
    digits = "".join(2 * d for d in digits) if len(digits) == 3 else digits
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
