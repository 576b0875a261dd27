"""After which tasks runs are measured: the points, their one name, and runs on a shared grid."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small import CPU, small_config, small_stream

from bmc.methods import METHODS
from bmc.runs import run as experiment
from bmc.runs.grid import at_once, common_step, effective_step, group_size, measured_after
from bmc.runs.identity import effective, identity_of, run_name
from bmc.runs.run import run

STREAM = small_stream(6)
numbers = st.integers(1, 30)


def ends_of(size: int, tasks: int) -> list[int]:
    return [*range(size, tasks, size), tasks]


def results_of(folder: Path, name: str, **changes) -> dict:
    run(STREAM, name, small_config(name, **changes), folder / name)
    return json.loads((folder / name / "results.json").read_text())


@pytest.mark.parametrize(
    ("every", "size", "tasks", "points"),
    [
        (1, 1, 4, [1, 2, 3, 4]),
        (3, 1, 8, [3, 6, 8]),
        (8, 3, 20, [9, 18, 20]),  # the first ends of groups at or beyond 8 and 16
        (2, 4, 10, [4, 8, 10]),
        (4, 4, 4, [4]),
        (9, 1, 4, [4]),
        (1, 9, 4, [4]),
    ],
)
def test_worked_cases(every, size, tasks, points):
    assert measured_after(every, ends_of(size, tasks)) == points


def test_a_first_task_that_is_learned_alone_shifts_the_ends_of_all_groups(tmp_path):
    config = small_config("bmc", first_alone=True)  # groups of 4
    method = METHODS.get("bmc")(2, 2, config, CPU)
    assert method.group_ends(10) == [1, 5, 9, 10]
    assert method.group_ends(5) == [1, 5]
    assert method.group_ends(1) == [1]
    assert measured_after(4, [1, 5, 9, 10]) == [5, 9, 10]
    made = results_of(tmp_path, "bmc", first_alone=True)
    assert made["learned"] == [5, 6]
    assert (
        made["records"]["expert_steps"]
        == results_of(tmp_path / "groups", "bmc")["records"]["expert_steps"]
    )


@given(numbers, numbers, numbers)
def test_a_run_is_measured_at_the_first_end_of_a_group_at_or_beyond_each_multiple(every, size, n):
    ends = {min(end, n) for end in range(size, n + size, size)}
    multiples = range(every, n + 1, every)
    expected = {min(end for end in ends if end >= multiple) for multiple in multiples} | {n}
    assert measured_after(every, ends_of(size, n)) == sorted(expected)


@given(numbers, numbers, numbers)
def test_the_recorded_step_measures_at_the_same_points(every, size, n):
    step = effective_step(every, size, n)
    ends = ends_of(size, n)
    assert measured_after(step, ends) == measured_after(every, ends)
    assert effective_step(step, size, n) == step
    assert measured_after(effective_step(0, size, n), ends) == measured_after(1, ends)


def test_the_largest_group_decides_and_one_of_all_tasks_does_not_count():
    assert common_step([(1, 71), (8, 71), (71, 71)]) == 8
    assert common_step([(1, 71)]) == 1
    assert common_step([(71, 71)]) == 0
    sizes = {"er": 1, "slda": 1, "bmc": 4, "joint": 6}
    assert {name: group_size(name, small_config(name), 6) for name in sizes} == sizes


def test_methods_on_one_grid_are_measured_after_the_same_tasks(tmp_path):
    made = {name: results_of(tmp_path, name, evaluate_every=4) for name in ("er", "slda", "bmc")}
    assert {name: results["learned"] for name, results in made.items()} == {
        "er": [4, 6], "slda": [4, 6], "bmc": [4, 6],
    }  # fmt: skip
    joint = results_of(tmp_path, "joint", evaluate_every=4)
    assert joint["learned"] == [6]
    assert joint["config"]["evaluate_every"] == 6


def test_measuring_less_often_changes_no_other_number(tmp_path):
    each = results_of(tmp_path / "each", "er")
    some = results_of(tmp_path / "some", "er", evaluate_every=4)
    assert each["config"]["evaluate_every"] == 1
    assert some["R"] == {name: [rows[3], rows[5]] for name, rows in each["R"].items()}
    assert some["costs"] == each["costs"]


def test_a_run_stopped_between_two_evaluations_goes_on_to_the_same_results(tmp_path, monkeypatch):
    changes = {"evaluate_every": 4, "measure_ahead": True}
    whole = results_of(tmp_path / "whole", "finetune", **changes)
    assert whole["ahead"]["before"][:4] == [None] * 4
    assert None not in whole["ahead"]["before"][4:]
    saved = []

    def save(folder, *given):
        original(folder, *given)
        saved.append(given[1].done)
        if len(saved) in (2, 5):
            raise KeyboardInterrupt

    original = experiment.RunFolder.save
    config, folder = small_config("finetune", **changes), tmp_path / "cut"
    with monkeypatch.context() as patch:
        patch.setattr(experiment.RunFolder, "save", save)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                run(STREAM, "finetune", config, folder, resume=True)
    run(STREAM, "finetune", config, folder, resume=True)
    assert json.loads((folder / "results.json").read_text()) == whole
    assert saved == [1, 2, 3, 4, 5]


def test_runs_that_are_measured_at_the_same_points_have_the_same_folder():
    def name(method: str, every: int) -> str:
        config = small_config(method, evaluate_every=every)
        return run_name("run", identity_of(STREAM, method, config, CPU))

    assert name("bmc", 0) == name("bmc", 1) == name("bmc", 4) != name("bmc", 5)
    assert name("joint", 0) == name("joint", 1) == name("joint", 4)
    assert name("er", 0) == name("er", 1) != name("er", 4)
    assert effective("er", small_config("er", evaluate_every=50), STREAM).evaluate_every == 6


def test_a_run_records_how_its_device_computes():
    def recorded(method: str, device: str, **changes: object) -> tuple[str, bool]:
        config = small_config(method, **changes)
        made = identity_of(STREAM, method, config, torch.device(device))["config"]
        return made["precision"], made["capture"]

    assert recorded("er", "cpu") == recorded("ncm", "cpu") == ("float32", False)
    assert recorded("er", "cuda") == ("tf32", True)
    assert recorded("ncm", "cuda") == ("float32", False)
    chosen = {"precision": "float32", "capture": False}
    assert recorded("er", "cuda", **chosen) == ("float32", False)
    assert recorded("ncm", "cuda", precision="tf32") == ("tf32", False)


@pytest.mark.parametrize(
    ("experts", "tasks", "told"), [(8, 6, True), (6, 6, True), (5, 6, False), (8, 1, False)]
)
def test_a_method_that_learns_all_tasks_at_once_is_named(experts, tasks, told):
    methods = [(name, small_config(name)) for name in ("er", "joint")]
    methods += [("bmc", small_config("bmc", experts=experts))] * 2
    lines = at_once(methods, tasks)
    assert [line.partition(";")[0].partition(":")[0] for line in lines] == [
        f"BMC learns all {tasks} tasks at once"
    ] * told
    assert all(line.endswith("-o bmc.experts=N.") for line in lines)
