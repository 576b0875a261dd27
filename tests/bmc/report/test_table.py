"""The results table: the same numbers for programs, papers and terminals of any width."""

import csv
import io
import json
from statistics import fmean, stdev

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from report_runs import TASKS, TITLES, make_results, printed, right, stored

from bmc.report import Run, group
from bmc.report import table as table_module
from bmc.report.columns import COLUMNS, Column, Unit
from bmc.report.load import load_runs, related
from bmc.report.table import results_table
from bmc.studies.compare_files import compare_tex
from bmc.studies.compare_table import Comparison, compare_table
from bmc.studies.sweep import sweep_table


def runs_of(orders: int, others: int = 0) -> list[Run]:
    """Runs of five methods and so many others, each in so many orders."""
    results = [make_results(m, tasks=9, order_seed=k) for m in TITLES for k in range(orders)]
    results += [
        {**make_results("er", tasks=9, order_seed=k), "method": f"m{i}", "title": f"Method no. {i}"}
        for i in range(others)
        for k in range(orders)
    ]
    return related([Run.model_validate(one) for one in results])


RUNS = {(orders, others): runs_of(orders, others) for orders in (1, 5) for others in (0, 25)}
MADE = {
    (name, *size): made
    for size, runs in RUNS.items()
    for name, made in (
        ("run", results_table(group(runs))),
        ("compare", compare_table(Comparison(tuple(runs)))),
        ("sweep", sweep_table(runs)),
    )
}


@given(st.sampled_from(sorted(MADE)), st.integers(60, 200))
def test_at_any_width_every_method_is_whole_and_every_dropped_column_is_named(which, width):
    table = MADE[which]
    lines = printed(table, width)
    assert max(map(len, lines)) <= width
    said = " ".join(" ".join(lines).partition("Left out for width: ")[2].split())
    dropped = said.partition("; see all.csv or a wider terminal.")[0].split(", ") if said else []
    columns = list(table.shown.values())
    assert set(dropped) <= {column.header for column in columns}
    kept = [column for column in columns if column.header not in dropped]
    for k, name in enumerate(table.names):
        (line,) = [line for line in lines if line.startswith(f"{name} ")]
        values = line[len(name) :].replace("*", " ").split()
        assert values == [text for column in kept if (text := column.texts[k])]
    assert kept[0].header == "class-il final mean"


def test_every_table_is_whole_in_a_terminal_of_160_columns():
    for table in MADE.values():
        assert "Left out for width" not in " ".join(printed(table, 160))


def test_the_frame_has_mean_and_deviation_of_every_column_as_stored():
    table = MADE["run", 5, 0]
    finals = [
        make_results("bmc", tasks=9, order_seed=k)["metrics"]["class-il"]["final_mean"]
        for k in range(5)
    ]
    row = table.frame.set_index("method").loc["bmc"]
    assert row["class_il_mean"] == fmean(finals)
    assert row["class_il_sd"] == stdev(finals)
    assert row["runs"] == 5
    for column in COLUMNS:
        for suffix in ("mean", "sd"):
            assert table.frame[f"{column.key}_{suffix}"].dtype == float
    assert [row["label"] for row in table.records()] == [g.label for g in table.groups]


def test_csv_and_json_hold_the_same_numbers_to_the_last_digit():
    table = MADE["compare", 5, 0]
    records = json.loads(json.dumps(table.records()))
    rows = list(csv.DictReader(io.StringIO(table.csv())))
    assert list(rows[0]) == list(records[0])
    for row, record in zip(rows, records, strict=True):
        for key, value in record.items():
            if value is None:
                assert row[key] == ""
            elif isinstance(value, bool | str):
                assert row[key] == str(value)
            else:
                assert float(row[key]) == value
    assert next(r for r in rows if r["method"] == "bmc")["communication_bytes_mean"] == "8380416"
    joint = next(record for record in records if record["method"] == "joint")
    assert joint["class_il_forgetting_chaudhry_mean"] is None
    assert joint["reference"] is True


def test_settings_that_only_some_methods_have_stay_whole_numbers():
    configs = [("bmc", {"experts": 4}), ("bmc", {"experts": 8}), ("er", {})]
    runs = [Run.model_validate(make_results(m, tasks=9, config=config)) for m, config in configs]
    experts = [record["experts"] for record in sweep_table(runs).records()]
    assert sorted(map(str, experts)) == ["4", "8", "None"]


def test_a_column_is_one_entry_that_every_output_has(monkeypatch):
    new = Column("seen", "classes seen", Unit("k", 1e-3, 2),
                 lambda run: sum(task.classes for task in run.tasks), "max",
                 tables=("run", "compare"))  # fmt: skip
    monkeypatch.setattr(table_module, "COLUMNS", (*COLUMNS, new))
    runs = RUNS[1, 0]
    classes = sum(task.classes for task in runs[0].tasks)
    table = results_table(group(runs))
    assert "seen_mean,seen_sd\nslda" in table.csv()
    assert table.records()[0]["seen_mean"] == classes
    assert "classes seen" in printed(table, 200)[0]
    assert f"{classes / 1000:.2f}" in " ".join(printed(table, 200))
    assert ("classes seen", "k") in [(c.header, c.sign) for c in table.shown.values()]
    assert "classes seen (k)" in compare_tex(Comparison(tuple(runs)))


def test_a_value_that_no_run_knows_has_a_column_for_programs_only():
    table = MADE["compare", 1, 0]
    assert table.frame["peak_device_bytes_mean"].isna().all()
    assert "peak_device_bytes" not in table.shown
    assert "memory_bytes" in table.shown


def test_latex_bolds_the_best_of_each_column_escapes_names_and_sets_references_apart():
    runs = [
        run.model_copy(update={"title": "50 % of A&B_c"}) if run.method == "er" else run
        for run in RUNS[5, 0]
    ]
    lines = compare_tex(Comparison(tuple(runs))).splitlines()
    assert any(line.startswith(r"50 \% of A\&B\_c & ") for line in lines)
    rows = lines[lines.index(r"\midrule") + 1 : lines.index(r"\bottomrule")]
    assert rows[-2] == r"\midrule"
    assert rows[-1].startswith(r"Joint training$^{\dagger}$ & ")
    assert all(row.count(" & ") == rows[0].count(" & ") for row in rows if row != r"\midrule")
    headers = lines[lines.index(r"\toprule") + 1].removesuffix(r" \\").split(" & ")
    for accuracy in (r"class-il mean (\%)", r"task-il mean (\%)"):
        k = headers.index(accuracy)
        assert sum(r"\mathbf" in row.split(" & ")[k] for row in rows if row != r"\midrule") == 1


def test_results_say_which_method_is_a_reference_and_joint_training_is_one_in_any_case():
    told = make_results("er", tasks=9, title="Joint linear probe", reference=True)
    runs = [Run.model_validate(r) for r in (told, make_results("joint", tasks=9))]
    assert results_table(group(runs)).names == ["Joint training †", "Joint linear probe †"]


def test_of_a_task_incremental_stream_its_own_accuracy_is_dropped_last():
    runs = [run.model_copy(update={"scenario": "task-il"}) for run in RUNS[1, 0]]
    shown = results_table(group(runs)).shown
    assert min(shown, key=lambda key: shown[key].priority) == "task_il"


def sampled_runs(tmp_path, orders: int = 5) -> list[Run]:
    """Three methods of different accuracy, one of which is free of the order."""
    names = list(TASKS)
    folders = [
        stored(
            tmp_path / f"{method}-{k}", method,
            {name: right(seed if method == "free" else seed + k, share)[name]
             for name in (names[k % 3 :] + names[: k % 3])[:: 1 - 2 * (k // 3)]},
            k, order_free=method == "free",
        )
        for seed, (method, share) in enumerate((("first", 0.9), ("free", 0.84), ("last", 0.5)))
        for k in range(orders)
    ]  # fmt: skip
    return load_runs(folders)


def test_the_table_says_what_is_known_over_test_samples_and_what_over_orders(tmp_path):
    made = Comparison(tuple(sampled_runs(tmp_path)))
    table = compare_table(made)
    lines = printed(table, 80)
    assert max(map(len, lines)) <= 80
    for header in ("p (samples)", "p (orders)", "sd (orders)"):
        assert header in table_headers(table)
    first, free, last = table.records()
    assert (first["class_il_best"], free["class_il_orders_p"]) == (True, None)
    assert free["class_il_samples_p"] >= 1 / 10_000
    assert last["class_il_samples_p"] < 0.05
    assert last["class_il_orders_p"] < 0.05
    assert (last["class_il_samples_n"], last["class_il_orders_n"]) == (200, 5)
    texts = [column.texts for column in table.shown.values()]
    half = (first["class_il_samples_high"] - first["class_il_samples_low"]) / 2
    assert texts[0][0] == f"{100 * first['class_il_mean']:.1f}±{100 * half:.1f}"
    assert table.shown["class_il_orders_p"].texts[:2] == ["", "n/a"]
    said = " ".join(made.notes())
    for words in ("over test samples (bootstrap", "deviation over 5 orders", "depend on the order"):
        assert words in said


def table_headers(table) -> list[str]:
    return [column.short or column.header for column in table.shown.values()]


def test_of_one_order_the_table_has_intervals_and_tests_over_samples_alone(tmp_path):
    made = Comparison(tuple(sampled_runs(tmp_path, orders=1)))
    table = compare_table(made)
    assert "p (samples)" in table_headers(table)
    assert not {"p (orders)", "sd (orders)"} & set(table_headers(table))
    assert all("±" in text for text in table.shown["class_il"].texts)
    assert any("nothing is known over orders" in note for note in made.notes())


def test_a_best_that_is_free_of_the_order_leaves_no_p_over_orders_and_the_notes_say_so(tmp_path):
    runs = [run for run in sampled_runs(tmp_path) if run.method != "first"]
    made = Comparison(tuple(runs))
    assert "p (orders)" not in table_headers(compare_table(made))
    assert "no p over orders: the best gives the same result in any order" in made.notes()
    assert "p (orders)" not in compare_tex(made)


def test_runs_that_did_not_store_their_samples_are_named(tmp_path):
    runs = sampled_runs(tmp_path, orders=2)
    for run in runs:
        if run.method == "last":
            (run.path / "samples.safetensors").unlink()
    made = Comparison(tuple(runs))
    assert compare_table(made).shown["class_il_samples_p"].texts[2] == "n/a"
    assert (
        "no interval over test samples of LAST: their runs do not say which samples were right"
        in made.notes()
    )


def test_intervals_of_width_zero_are_shown_and_deviations_of_zero_are_not(tmp_path):
    sure = {name: np.ones(size, np.uint8) for name, size in TASKS.items()}
    turned = dict(reversed(sure.items()))
    runs = load_runs([stored(tmp_path / "0", "a", sure), stored(tmp_path / "1", "a", turned, 1)])
    table = compare_table(Comparison(tuple(runs)))
    assert table.shown["class_il"].texts == ["100.0±0.0"]
    assert not any("±" in text for text in table.shown["memory_bytes"].texts)


def test_the_terminal_says_that_features_were_generated_whatever_the_stream_is_called():
    generated = {"parameters": {"seed": 0}}
    named = [
        ("synthetic", {}, True), ("mine", generated, True), ("mine", {}, False),
    ]  # fmt: skip
    for stream, provenance, said in named:
        results = make_results("er", tasks=3, stream=stream, provenance=provenance)
        text = " ".join(printed(results_table(group([Run.model_validate(results)]))))
        assert ("The features are generated by a seeded model" in text) == said
