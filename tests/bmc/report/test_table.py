"""The results table: the same numbers for programs, papers and terminals of any width."""

import csv
import io
import json
from statistics import fmean, stdev

from hypothesis import given
from hypothesis import strategies as st
from report_runs import TITLES, make_results, printed

from bmc.report import Run, group
from bmc.report import table as table_module
from bmc.report.columns import COLUMNS, Column, Unit
from bmc.report.load import related
from bmc.report.table import results_table
from bmc.studies.compare_table import Comparison, compare_table, compare_tex
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
    for k in (1, 2):
        assert sum(r"\mathbf" in row.split(" & ")[k] for row in rows if row != r"\midrule") == 1


def test_results_say_which_method_is_a_reference_and_joint_training_is_one_in_any_case():
    told = make_results("er", tasks=9, title="Joint linear probe", reference=True)
    runs = [Run.model_validate(r) for r in (told, make_results("joint", tasks=9))]
    assert results_table(group(runs)).names == ["Joint training †", "Joint linear probe †"]


def test_of_a_task_incremental_stream_its_own_accuracy_is_dropped_last():
    runs = [run.model_copy(update={"scenario": "task-il"}) for run in RUNS[1, 0]]
    shown = results_table(group(runs)).shown
    assert min(shown, key=lambda key: shown[key].priority) == "task_il"


def test_intervals_of_width_zero_are_shown_and_deviations_of_zero_are_not():
    runs = RUNS[5, 0]
    table = compare_table(Comparison(tuple(
        run.model_copy(update={"metrics": {**run.metrics, "class-il": {"final_mean": 0.5}}})
        for run in runs
    )))  # fmt: skip
    assert set(table.shown["class_il"].texts) == {"50.0±0.0"}
    assert not any("±" in text for text in table.shown["memory_bytes"].texts)
