"""Comparisons: statistics worked by hand, and commands with real processes."""

import csv
import json
from pathlib import Path
from statistics import fmean

import pytest
from commands import bmc_stream
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from autods.core.files import read_json, write_json
from autods.errors import UsageError
from bmc.config import Config
from bmc.methods import METHODS, config_for
from bmc.report import group
from bmc.report.finished import Run
from bmc.report.statistics import compare_groups, holm, interval, paired_p
from bmc.report.table import escaped
from bmc.runs.choice import StreamChoice
from bmc.studies.compare_files import compare_tex
from bmc.studies.compare_table import Comparison, compare_table
from bmc.studies.plan import Design, parse_grids
from bmc.studies.tune import candidates_of
from bmc.studies.tuning import Tuned, choose, datasets_of, read_tuned

STREAM = ["--scenario", "class-il", "--max-tasks", "3", "--scale", "0.0001"]
SMALL = [*STREAM, "--epochs", "1", "--memory", "40"]
TITLES = {"er": "Experience replay", "ncm": "NCM", "bmc": "BMC", "joint": "Joint training",
          "finetune": "Fine-tuning"}  # fmt: skip


def make_run(method: str, order: int, accuracy: float, seed: int = 0, **metrics: float) -> Run:
    """A finished run on two tasks, whose order is ``order``."""
    names = [f"a{order}", f"b{order}"]
    task = {"dataset": "d", "classes": 2, "train": 10, "test": 5}
    both = {"final_mean": accuracy, **metrics}
    return Run.model_validate(
        {
            "format": 2, "method": method, "title": TITLES.get(method, method),
            "stream": "s_1", "scenario": "class-il", "protocol": "clean", "order_seed": order,
            "run_seed": seed, "tasks": [{"name": name, **task} for name in names],
            "learned": [1, 2],
            "R": {k: [[accuracy, None], [accuracy] * 2] for k in ("class-il", "task-il")},
            "metrics": {"class-il": both, "task-il": both},
            "costs": {"communication_bytes": 0, "memory_bytes": 2_000_000, "total_bytes": 2_000_000,
                      "cost_accuracy": 1.0, "steps": 3, "seconds": {"total": 2.0},
                      "relative_time": 1.0, "peak_host_bytes": 400_000_000},
            "config": {"memory": 100, "epochs": 1, "seed": seed}, "provenance": {},
            "versions": {}, "folder": f"{method}-{order}-{seed}",
        }
    )  # fmt: skip


def runs_of(**accuracies: list[float]) -> list[Run]:
    return [
        make_run(m, k, value) for m, values in accuracies.items() for k, value in enumerate(values)
    ]


def row_of(rows, method):
    return next(row for row in rows if row.group.first.method == method)


def test_the_interval_of_three_values_is_that_of_the_t_distribution():
    # mean 0.2, deviation 0.1, t(0.975, 2) = 4.302653: half width 0.4302653 / sqrt(3) = 0.2484138
    low, high = interval([0.1, 0.2, 0.3], within=(-1, 1))
    assert low == pytest.approx(0.2 - 0.2484138, abs=1e-6)
    assert high == pytest.approx(0.2 + 0.2484138, abs=1e-6)
    assert interval([1.0]) is None


def test_no_interval_goes_beyond_what_the_metric_can_be():
    low, high = interval([0.1, 0.2, 0.3])
    assert low == 0
    assert high == pytest.approx(0.2 + 0.2484138, abs=1e-6)
    assert interval([0.8, 0.9, 1.0])[1] == 1
    runs = [make_run("ncm", k, 0.5, bwt_gem=value) for k, value in enumerate((-0.3, 0.0, 0.1))]
    (row,) = compare_groups(group(runs), "class-il", "bwt_gem")
    assert -1 < row.orders.low < -0.3  # a difference of accuracies has a sign


def test_the_paired_test_is_worked_by_hand():
    # differences -1, -2, -3: mean -2, deviation 1, t = -2 sqrt(3) = -3.4641 of 2 degrees
    assert paired_p([-1.0, -2.0, -3.0]) == pytest.approx(0.0741799, abs=1e-6)
    assert paired_p([0.5]) is None


def test_differences_without_deviation_are_no_sample_to_test():
    """Two methods free of the order that differ in one of 3,276 test samples, in five orders."""
    assert paired_p([1 / 3276] * 5) is None
    assert paired_p([1 / 3276 + 1e-9 * k for k in range(5)]) is None
    assert paired_p([0.0, 0.0]) is None


def test_holm_multiplies_by_the_tests_that_are_left_and_never_falls():
    # sorted 0.01, 0.02, 0.03: 3 x 0.01 = 0.03, 2 x 0.02 = 0.04, 1 x 0.03 -> not below 0.04
    assert holm([0.03, None, 0.01, 0.02]) == pytest.approx([0.04, None, 0.03, 0.04])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([None]) == [None]


def test_a_group_is_compared_with_the_best_over_the_orders_that_both_have():
    runs = runs_of(ncm=[0.8, 0.7, 0.9], er=[0.5, 0.6, 0.4], joint=[0.9, 0.95, 0.85])
    runs = [run for run in runs if (run.method, run.order_seed) != ("er", 1)]
    rows = compare_groups(group(runs), "class-il")
    best, er, joint = (row_of(rows, method) for method in ("ncm", "er", "joint"))
    assert (best.best, best.difference, best.orders.p, best.orders.n) == (True, None, None, 3)
    assert best.mean == pytest.approx(0.8)
    assert (er.orders.n, er.orders.pairs) == (2, 2)
    assert er.difference == pytest.approx(-0.4)  # (0.5 - 0.8 + 0.4 - 0.9) / 2
    assert (joint.best, joint.group.reference) == (False, True)
    assert joint.difference == pytest.approx(0.1)
    raw = [
        stats.ttest_rel([0.5, 0.4], [0.8, 0.9]).pvalue,
        stats.ttest_rel([0.9, 0.95, 0.85], [0.8, 0.7, 0.9]).pvalue,
    ]
    assert (er.orders.p, joint.orders.p) == pytest.approx((2 * min(raw), max(2 * min(raw), *raw)))


def test_run_seeds_of_an_order_are_averaged_so_that_orders_are_the_unit():
    runs = [
        make_run("ncm", 0, 0.9, 0), make_run("ncm", 0, 0.9, 1),
        make_run("ncm", 1, 0.7, 0), make_run("ncm", 1, 0.9, 1),
        make_run("er", 0, 0.5, 0), make_run("er", 0, 0.7, 1), make_run("er", 1, 0.4, 1),
    ]  # fmt: skip
    er = row_of(compare_groups(group(runs), "class-il"), "er")
    assert er.orders.n == er.orders.pairs == 2
    assert er.mean == pytest.approx((0.6 + 0.4) / 2)
    assert er.difference == pytest.approx((-0.3 - 0.5) / 2)  # of order 1 seed 1 alone is paired
    assert er.orders.p == pytest.approx(stats.ttest_rel([0.6, 0.4], [0.9, 0.9]).pvalue)


def test_one_order_has_neither_interval_nor_test_and_what_is_not_measured_is_none():
    rows = compare_groups(group(runs_of(ncm=[0.8], er=[0.5])), "class-il")
    orders = [row.orders for row in rows]
    assert [(of.sd, of.low, of.high, of.p) for of in orders] == [(None, None, None, None)] * 2
    assert row_of(rows, "er").difference == pytest.approx(-0.3)
    rows = compare_groups(group(runs_of(ncm=[0.8], er=[0.5])), "class-il", "bwt_gem")
    assert [(row.orders.n, row.mean, row.best) for row in rows] == [(0, None, False)] * 2


def test_of_forgetting_the_least_is_the_best():
    runs = [
        make_run("ncm", 0, 0.8, forgetting_chaudhry=0.1),
        make_run("er", 0, 0.5, forgetting_chaudhry=0.4),
    ]
    rows = compare_groups(group(runs), "class-il", "forgetting_chaudhry")
    assert row_of(rows, "ncm").best
    assert row_of(rows, "er").difference == pytest.approx(0.3)


ACCURACY = st.floats(0, 1, allow_nan=False).map(lambda value: round(value, 3))


@given(st.lists(st.tuples(ACCURACY, ACCURACY), min_size=3, max_size=6))
def test_intervals_and_tests_agree_with_scipy(pairs):
    first, second = zip(*pairs, strict=True)
    differences = [a - b for a, b in pairs]
    if max(differences) - min(differences) > 1e-6:
        assert paired_p(differences) == pytest.approx(stats.ttest_rel(first, second).pvalue)
    if max(first) > min(first):
        expected = stats.t.interval(0.95, len(first) - 1, fmean(first), stats.sem(first))
        assert interval(first, within=(-9, 9)) == pytest.approx(expected)


def comparison(**options) -> Comparison:
    runs = runs_of(ncm=[0.8, 0.7, 0.9], er=[0.5, 0.4, 0.6], bmc=[0.79, 0.72, 0.88],
                   joint=[0.9, 0.95, 0.85])  # fmt: skip
    return Comparison(tuple(runs), **options)


def test_the_latex_table_has_the_best_in_bold_and_marks_what_cannot_be_told_from_it():
    text = compare_tex(comparison())
    lines = {line.split(" & ")[0]: line for line in text.splitlines() if " & " in line}
    assert lines["NCM"].startswith(r"NCM & $\mathbf{80.0}$ & 10.0 & best &  & $\mathbf{80.0}$ & ")
    assert r" & sd (orders) & vs best & p (orders) & " in lines["method"]
    assert r"^{\ast}$" in lines["BMC"]
    assert r"^{\ast}$" not in lines["Experience replay"]
    assert "Joint training$^{\\dagger}$" in lines
    assert r"$-30.0$" in lines["Experience replay"]
    for words in (r"stream s\_1", "protocol clean", "3 orders of the tasks", "memory of 100 sampl"):
        assert words in text
    columns = text.split(r"\begin{tabular}{")[1].split("}")[0]
    assert {line.count(" & ") for line in lines.values()} == {len(columns) - 1}
    assert text.count("{") == text.count("}")
    for name in ("table", "tabular"):
        assert rf"\begin{{{name}}}" in text
        assert rf"\end{{{name}}}" in text


def test_names_from_outside_cannot_break_the_latex_table():
    assert escaped(r"a_b&c\d{e}50%#^~$") == (
        r"a\_b\&c\textbackslash{}d\{e\}50\%\#\textasciicircum{}\textasciitilde{}\$"
    )


def test_the_table_of_thirty_methods_stays_whole_at_100_columns(monkeypatch, capsys):
    runs = [make_run(f"method number {k}", order, 0.5 + k / 100 + order / 50)
            for k in range(30) for order in (0, 1)]  # fmt: skip
    monkeypatch.setenv("COLUMNS", "100")
    compare_table(Comparison(tuple(runs))).print("compare.csv")
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert sum(line.startswith("method number") for line in lines) == 30
    assert max(map(len, lines)) <= 100
    assert "best" in printed


def test_what_failed_and_what_was_left_out_is_told():
    made = comparison(left_out=("X does not fit. It was left out.",), failed=(("er-1", "why"),))
    assert "X does not fit. It was left out." in made.notes()
    assert any(note.startswith("1 runs failed: er-1; finished runs: ") for note in made.notes())
    assert made.settings == {"epochs": 1, "memory": 100}


def test_every_method_gets_its_best_values_and_the_first_of_equals():
    grids = parse_grids(["bmc.lam=0,1", "learning_rate=0.1,0.01"])
    made = candidates_of(Design(["bmc", "er"], Config(), {}, {0: 5, 1: 5}), grids, [0, 1])
    assert [one.method for one in made] == ["bmc"] * 4 + ["er"] * 2
    score = {("bmc", 0.0, 0.1): 0.3, ("bmc", 1.0, 0.01): 0.6, ("bmc", 0.0, 0.01): 0.6}
    runs = {
        planned.label: make_run(one.method, planned.order, value, planned.config.seed)
        for one in made
        for value in [score.get((one.method, one.values.get("lam"), one.values["learning_rate"]),
                                0.1)]
        for planned in one.runs
    }  # fmt: skip
    streams = {order: StreamChoice(*STREAM[1:2], max_tasks=2).open(order) for order in (0, 1)}
    tuned = choose(made, Config(), runs, streams)
    assert tuned.chosen == {
        "bmc": {"lam": 0.0, "learning_rate": 0.01}, "er": {"learning_rate": 0.1},
    }  # fmt: skip
    assert [row.chosen for row in tuned.table] == [False, True, False, False, True, False]
    assert tuned.datasets == datasets_of(streams.values())
    assert tuned.table[1].by_order == pytest.approx({"0": 0.6, "1": 0.6})


def test_a_grid_of_one_method_multiplies_no_others_and_replaces_the_shared_one():
    texts = ["learning_rate=0.1,0.2", "er.learning_rate=0.5,0.6", "slda.shrinkage=0.1,0.2,0.3"]
    design = Design(["bmc", "er", "slda", "ncm"], Config(), {}, {0: 5})
    made = candidates_of(design, parse_grids(texts), [0])
    tried = {name: [c.values for c in made if c.method == name] for name in design.methods}
    assert tried["bmc"] == [{"learning_rate": 0.1}, {"learning_rate": 0.2}]
    assert tried["er"] == [{"learning_rate": 0.5}, {"learning_rate": 0.6}]
    assert [values["shrinkage"] for values in tried["slda"]] == [0.1, 0.2, 0.3]
    assert tried["ncm"] == [{}]


def test_streams_generated_from_another_seed_are_other_data():
    one, two = (StreamChoice("class-il", max_tasks=2, stream_seed=k).open("paper") for k in (0, 1))
    assert not set(datasets_of([one])) & set(datasets_of([two]))


FILES = ("compare.csv", "compare.json", "compare.tex", "report.html")
ASKED = ["compare", *SMALL, "--method", "ncm,er", "--order", "0,1", "--jobs", 2, "--out", "o"]


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> tuple[Path, str]:
    """A finished comparison, and what it printed."""
    folder = tmp_path_factory.mktemp("compare")
    code, out, told = bmc_stream(*ASKED, cwd=folder)
    assert code == 0, told
    return folder / "o", out


def test_a_comparison_ends_in_a_table_csv_json_latex_and_a_report(done):
    folder, printed = done
    assert all((folder / file).stat().st_size > 100 for file in FILES)
    assert max(map(len, printed.splitlines()[:-2])) <= 100
    made = json.loads((folder / "compare.json").read_text())
    rows = list(csv.DictReader((folder / "compare.csv").open()))
    assert [row["method"] for row in rows] == [row["method"] for row in made["rows"]]
    assert {row["method"] for row in rows} == {"ncm", "er", "finetune"}
    for row, said in zip(rows, made["rows"], strict=True):
        assert row["label"] in printed
        assert float(row["class_il_mean"]) == said["class_il_mean"]
        assert f"{100 * said['class_il_mean']:.1f}±" in printed
        assert float(row["relative_time_mean"]) > 0
    assert rows[0]["class_il_best"] == "True"
    assert set(made["orders"]) == {"0", "1"}


def test_the_json_holds_the_values_of_every_run_at_full_precision(done):
    folder, _ = done
    made = json.loads((folder / "compare.json").read_text())
    assert len(made["runs"]) == 6
    for run in made["runs"]:
        results = json.loads((folder / run["run"] / "results.json").read_text())
        for scenario, values in results["metrics"].items():
            assert values.items() <= run["metrics"][scenario].items()
        assert run["costs"]["memory_bytes"] == results["costs"]["memory_bytes"]
    er = next(row for row in made["rows"] if row["method"] == "er")
    own = [r["metrics"]["class-il"]["final_mean"] for r in made["runs"] if r["method"] == "er"]
    best = next(row["method"] for row in made["rows"] if row["class_il_best"])
    other = [r["metrics"]["class-il"]["final_mean"] for r in made["runs"] if r["method"] == best]
    assert er["class_il_mean"] == fmean(own)
    differences = [a - b for a, b in zip(own, other, strict=True)]
    assert er["class_il_difference"] == pytest.approx(fmean(differences))
    assert best == "ncm"
    assert er["class_il_orders_p"] is None  # NCM gives the same result in any order
    assert er["class_il_samples_difference"] == pytest.approx(er["class_il_difference"])
    assert 0 < er["class_il_samples_p"] < 0.05
    for row in made["rows"]:
        assert row["class_il_samples_low"] <= row["class_il_mean"] <= row["class_il_samples_high"]


def test_a_finished_comparison_gives_the_same_files_again_with_resume_and_none_without(done):
    folder, _ = done
    before = {file: (folder / file).read_bytes() for file in FILES}
    code, _, told = bmc_stream(*ASKED, cwd=folder.parent)
    assert code == 1
    assert "Add --resume" in told
    code, _, told = bmc_stream(*ASKED, "--resume", cwd=folder.parent)
    assert code == 0, told
    assert {file: (folder / file).read_bytes() for file in FILES} == before


def test_a_run_that_fails_costs_only_itself_and_is_named(tmp_path):
    asked = ["compare", *SMALL, "--method", "er,ncm", "--order", "0,1", "--jobs", 2, "--out", "o"]
    _, planned, _ = bmc_stream(*asked, "--list", "--json", cwd=tmp_path)
    (failing,) = (r["run"] for r in json.loads(planned) if r["run"].startswith("er-order-1-"))
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / failing).write_text("in the way")
    code, out, told = bmc_stream(*asked, cwd=tmp_path)
    assert code == 1
    assert "1 of 6 runs failed" in told
    assert f"{failing}: " in told
    assert "Traceback" not in told
    made = json.loads((tmp_path / "o" / "compare.json").read_text())
    assert list(made["failed"]) == [failing]
    counts = {row["method"]: row["runs"] for row in made["rows"]}
    assert counts == {"ncm": 2, "er": 1, "finetune": 2}
    assert "Experience replay" in out
    assert "1 runs failed" in " ".join(out.split())


def test_a_finished_comparison_is_extended_after_an_upgrade(tmp_path):
    asked = ["compare", *SMALL, "--method", "ncm", "--jobs", 2, "--out", "o"]
    assert bmc_stream(*asked, "--order", 0, cwd=tmp_path)[0] == 0
    for path in tmp_path.glob("o/*/config.json"):
        identity = read_json(path)
        identity["versions"]["torch"] = "2.99.0"
        write_json(path, identity)
    kept = {path: path.read_bytes() for path in tmp_path.glob("o/*/timing.json")}
    code, _, told = bmc_stream(*asked, "--order", "0,1", "--resume", cwd=tmp_path)
    assert code == 0, told
    assert all(path.read_bytes() == content for path, content in kept.items())
    rows = json.loads((tmp_path / "o" / "compare.json").read_text())["rows"]
    assert {row["method"]: row["runs"] for row in rows} == {"ncm": 2, "finetune": 2}


def test_the_peak_memory_of_a_run_is_that_of_its_own_process(tmp_path):
    code, _, told = bmc_stream(
        "compare", *STREAM, "--epochs", 1, "--method", "ranpac,ncm", "-o",
        "ranpac.projections=2500", "--order", 0, "--out", "o", cwd=tmp_path,
    )  # fmt: skip
    assert code == 0, told
    peaks = {
        row["method"]: row["peak_host_bytes_mean"]
        for row in json.loads((tmp_path / "o" / "compare.json").read_text())["rows"]
    }
    assert peaks["ranpac"] > peaks["ncm"] + 4 * 2500**2 * 2  # run first, with a large matrix


@pytest.fixture(scope="module")
def tuned(tmp_path_factory) -> Path:
    """Values tuned on a stream of another seed."""
    folder = tmp_path_factory.mktemp("tune")
    code, out, told = bmc_stream(
        "tune", *SMALL, "--epochs", 5, "--stream-seed", 1, "--method", "er", "--grid",
        "learning_rate=0.00001,0.01", "--order", 0, "--jobs", 2, "--out", "tuned", cwd=folder,
    )  # fmt: skip
    assert code == 0, told
    assert "0.01" in out
    assert "Next: bmc-stream compare --tuned tuned/tune.json" in told
    return folder / "tuned" / "tune.json"


def test_tuning_measures_the_development_split_and_records_what_it_rests_on(tuned):
    made = read_tuned(tuned)
    assert made.chosen == {"er": {"learning_rate": 0.01}}
    assert len(made.table) == 2
    assert made.versions
    assert all(name.startswith("synthetic 1: ") for name in made.datasets)
    folders = [path.parent for path in tuned.parent.glob("*/results.json")]
    assert len(folders) == 2
    for folder in folders:
        config = json.loads((folder / "config.json").read_text())["config"]
        assert config["evaluate_on"] == "dev"


def test_a_comparison_with_tuned_values_uses_them_and_says_how_they_were_chosen(tuned, tmp_path):
    asked = ["compare", *SMALL, "--method", "er", "--order", 0, "--jobs", 2, "--tuned", tuned]
    code, out, told = bmc_stream(*asked, "--out", "o", cwd=tmp_path)
    assert code == 0, told
    (folder,) = (tmp_path / "o").glob("er-learning-rate-0.01-order-0-seed-0-*")
    config = json.loads((folder / "config.json").read_text())["config"]
    assert (config["learning_rate"], config["evaluate_on"]) == (0.01, "test")
    made = json.loads((tmp_path / "o" / "compare.json").read_text())
    assert made["tuned"]["datasets"] == read_tuned(tuned).datasets
    assert "learning_rate" not in made["settings"]
    dataset = made["tuned"]["datasets"][0]
    assert dataset in (tmp_path / "o" / "compare.tex").read_text()
    assert dataset in (tmp_path / "o" / "report.html").read_text()
    assert "tuned: er learning_rate 0.01" in " ".join(out.split())


def refused(tmp_path: Path, *arguments: object) -> str:
    """Return what a command says that must end as wrong usage and run nothing."""
    name, *rest = arguments
    code, _, told = bmc_stream(name, *SMALL, *rest, "--out", "o", cwd=tmp_path)
    assert code == 2
    assert not (tmp_path / "o").exists()
    return " ".join(told.split())


def test_values_tuned_on_a_dataset_of_the_stream_are_refused(tuned, tmp_path):
    said = refused(tmp_path, "compare", "--method", "er", "--stream-seed", 1, "--tuned", tuned)
    assert "was tuned on datasets of this stream: synthetic 1: " in said
    assert "Nothing was run" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["compare", "--method", "bmcc"], "did you mean bmc"),
        (["compare", "--method", "zero-shot", "--order", "0"], "embed-classes"),
        (["compare", "--method", "er", "--tuned", "none.json"], "but there is none"),
        (["compare", "--method", "er", "--orders", "0"], "No such option: --orders"),
        (["tune", "--method", "er", "--grid", "memory=1,2"], "expected a hyper-parameter"),
        (["tune", "--method", "er", "--grid", "bmc.lam=0,1"], "none of er reads bmc.lam"),
        (["tune", "--method", "er"], "--grid"),
    ],
)
def test_wrong_usage_is_refused_before_anything_runs(arguments, said, tmp_path):
    assert said in refused(tmp_path, *arguments)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[", "it is not JSON"),
        ('{"format": 1}', "in chosen: Field required"),
        ("[]", "in the whole"),
    ],
)
def test_a_file_that_tune_did_not_write_is_refused(content, said, tmp_path):
    (tmp_path / "tuned.json").write_text(content)
    with pytest.raises(UsageError, match=said):
        read_tuned(tmp_path / "tuned.json")


def test_a_tuned_value_that_no_method_could_take_is_refused(tuned, tmp_path):
    made = Tuned.model_validate(read_json(tuned))
    wrong = made.model_copy(update={"chosen": {"er": {"learning_rate": -1.0}}})
    (tmp_path / "tuned.json").write_text(wrong.model_dump_json())
    with pytest.raises(UsageError, match="learning_rate: expected a finite number above 0"):
        read_tuned(tmp_path / "tuned.json")


def test_all_leaves_out_what_does_not_fit_and_list_runs_nothing(tmp_path):
    asked = ["compare", *SMALL, "--order", "0", "--list", "--json", "--out", str(tmp_path / "o")]
    code, out, told = bmc_stream(*asked, cwd=tmp_path)
    assert code == 0, told
    rows = json.loads(out)
    assert {"bmc", "er", "finetune", "ncm"} <= {row["method"] for row in rows}
    assert "zero-shot" not in {row["method"] for row in rows}
    assert "It was left out." in told
    assert not (tmp_path / "o").exists()


def test_the_values_chosen_on_real_features_are_ones_that_methods_take_today():
    folder = Path(__file__).parents[3] / "docs" / "benchmarks" / "tuned"
    tuned = read_tuned(folder / "tune.json")
    for method, values in tuned.chosen.items():
        config_for(method, Config(), {method: values})
    assert set(METHODS.names()) - set(tuned.chosen) <= {
        "zero-shot", "zero-shot-lda", "zero-shot-ncm",  # the features have no class names
    }  # fmt: skip
    assert len(tuned.datasets) == 6


def test_a_setting_that_one_method_has_otherwise_is_told():
    made = comparison()
    runs = [
        run.model_copy(update={"config": {**run.config, "memory": 7}})
        if run.method == "er"
        else run
        for run in made.runs
    ]
    (note,) = [n for n in Comparison(tuple(runs)).notes() if n.startswith("the same for all")]
    assert "; memory in samples differs: er 7, others 100; what only some" in note
    assert not any("differs" in note for note in made.notes())
