"""Rows of R from scores that are known number by number, and what lies ahead of them."""

import json
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small import CPU, learned, small_config, small_stream, tensors

from autods.core.cores import intra_op_threads
from bmc.config import Config
from bmc.methods import METHODS
from bmc.methods.base import Method
from bmc.runs import evaluate as runs_evaluate
from bmc.runs import metrics
from bmc.runs.evaluate import evaluate, first_best, measure_ahead
from bmc.runs.run import run
from bmc.train.data import Split, TaskTensors


class Lookup(Method):
    """A method whose scores stand in a table: a sample's feature is the number of its row."""

    name = title = "lookup"

    def __init__(self, table: torch.Tensor, seen: int) -> None:
        super().__init__(1, table.shape[1], Config(), CPU)
        self.table, self.seen = table, seen

    def scores(self, features):
        return self.table[features[:, 0].long()]


def made_tasks(sizes: list[int], classes: list[int], datasets: list[str]) -> list[TaskTensors]:
    """Tasks of so many samples and classes; labels go round the classes of the task."""
    tasks, row, start = [], 0, 0
    for k, (size, count) in enumerate(zip(sizes, classes, strict=True)):
        rows = torch.arange(row, row + size)
        split = Split(rows[:, None].double(), start + rows % count)
        tasks.append(
            TaskTensors(k, f"t{k}", datasets[k], start, start + count, split, split, split)
        )
        row, start = row + size, start + count
    return tasks


def labels_of(tasks: list[TaskTensors]) -> torch.Tensor:
    return torch.cat([task.test.labels for task in tasks])


@st.composite
def streams(draw):
    """Draw tasks, some of one dataset, and a table of scores with many ties."""
    count = draw(st.integers(1, 5))
    numbers = st.lists(st.integers(1, 7), min_size=count, max_size=count)
    names = st.lists(st.sampled_from("abc"), min_size=count, max_size=count)
    tasks = made_tasks(draw(numbers), draw(numbers), draw(names))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    rows = sum(len(task.test) for task in tasks)
    table = torch.randint(0, draw(st.integers(1, 9)), (rows, tasks[-1].stop), generator=generator)
    return tasks, table.float()


class Watched(Lookup):
    """Notes how each block is scored; fails at the row ``bad``."""

    def __init__(self, rows: int, bad: int = -1) -> None:
        super().__init__(torch.eye(3).repeat(rows // 3, 1), seen=3)
        self.engine = SimpleNamespace(workers=3)
        self.calls, self.bad = [], bad

    def scores(self, features):
        here = threading.current_thread() is threading.main_thread()
        self.calls.append((here, torch.get_num_threads(), torch.is_grad_enabled()))
        time.sleep(0.002)
        if features[0, 0] == self.bad:
            raise RuntimeError("out of something")
        return super().scores(features)


@pytest.mark.parametrize(("cores", "apart"), [(4, 39), (1, 0)])
def test_threads_score_with_as_many_of_torch_as_the_run_and_the_first_block_before(
    cores, apart, monkeypatch
):
    monkeypatch.setattr(runs_evaluate, "CHUNK", {"cpu": 3})
    monkeypatch.setattr(runs_evaluate, "usable_cores", lambda: cores)
    method = Watched(120)
    with intra_op_threads(1):
        row = evaluate(method, made_tasks([120], [3], ["a"]))
    assert row.class_il.tolist() == [1.0]
    assert [here for here, *_ in method.calls].count(False) == apart
    assert method.calls[0][0]
    assert {call[1:] for call in method.calls} == {(1, False)}


def test_a_block_that_cannot_be_scored_ends_the_evaluation(monkeypatch):
    monkeypatch.setattr(runs_evaluate, "CHUNK", {"cpu": 3})
    monkeypatch.setattr(runs_evaluate, "usable_cores", lambda: 4)
    method = Watched(300, bad=30)
    with pytest.raises(RuntimeError, match="out of something"):
        evaluate(method, made_tasks([300], [3], ["a"]))
    assert len(method.calls) < 60  # of 100


def test_a_worked_case_of_two_datasets_in_three_tasks():
    tasks = made_tasks([2, 1, 1], [2, 1, 1], ["a", "b", "a"])
    # rows of classes 0, 1 (task 0), 2 (task 1), 3 (task 2); datasets a a b a
    table = torch.tensor([[5.0, 1, 0, 0], [3, 2, 0, 9], [0, 0, 1, 2], [0, 8, 0, 3]])
    row = evaluate(Lookup(table, seen=4), tasks)
    np.testing.assert_array_equal(row.class_il, [0.5, 0, 0])  # answers 0, 3, 3, 1
    np.testing.assert_array_equal(row.task_il, [0.5, 1, 1])
    np.testing.assert_array_equal(row.dataset_id, [1, 0, 1])


@given(streams())
def test_the_classes_of_the_task_alone_are_never_harder_than_all(case):
    tasks, table = case
    row = evaluate(Lookup(table, tasks[-1].stop), tasks)
    assert (row.task_il >= row.class_il).all()
    assert (row.dataset_id >= row.class_il).all()
    for part in (row.class_il, row.task_il, row.dataset_id):
        assert ((part >= 0) & (part <= 1)).all()


@given(st.integers(1, 900), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_the_best_class_is_the_first_of_equal_scores_whatever_their_number(classes, values, seed):
    draws = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, values, (9, classes), generator=draws).float()
    scores[3, torch.randint(classes, (1,), generator=draws)] = torch.nan
    scores[4] = -torch.inf
    scores[5, -1] = values
    assert torch.equal(first_best(scores), scores.argmax(dim=1))
    wider = torch.nn.functional.pad(scores, (2, 3))  # rows that do not lie side by side
    assert torch.equal(first_best(wider[:, 2:-3]), scores.argmax(dim=1))


@given(streams())
def test_an_oracle_that_looks_the_class_up_scores_one_everywhere(case):
    tasks, table = case
    oracle = torch.nn.functional.one_hot(labels_of(tasks), table.shape[1]).float()
    row = evaluate(Lookup(oracle, tasks[-1].stop), tasks)
    for part in (row.class_il, row.task_il, row.dataset_id):
        assert (part == 1).all()


@given(streams(), st.randoms(use_true_random=False))
def test_tasks_in_another_order_give_the_same_accuracies_in_that_order(case, random):
    tasks, table = case
    table = table + 1e-3 * torch.arange(table.numel()).view(table.shape)  # no ties to break
    order = list(range(len(tasks)))
    random.shuffle(order)
    classes = torch.cat([torch.arange(tasks[k].start, tasks[k].stop) for k in order])
    moved, start = [], 0
    for index, k in enumerate(order):
        task = tasks[k]
        split = Split(task.test.features, task.test.labels - task.start + start)
        stop = start + task.n_classes
        moved.append(TaskTensors(index, task.name, task.dataset, start, stop, split, split, split))
        start = stop
    before = evaluate(Lookup(table, start), tasks)
    after = evaluate(Lookup(table[:, classes], start), moved)
    for name in ("class_il", "task_il", "dataset_id"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name)[order])


@given(streams(), st.integers(1, 5))
def test_classes_of_the_future_that_compete_can_only_cost_accuracy(case, done):
    tasks, table = case
    done = min(done, len(tasks))
    seen = tasks[done - 1].stop
    among_seen = evaluate(Lookup(table[:, :seen], seen), tasks)
    among_all = evaluate(Lookup(table, seen), tasks)
    assert np.isnan(among_all.class_il[done:]).all()
    assert (among_all.class_il[:done] <= among_seen.class_il[:done]).all()
    np.testing.assert_array_equal(among_all.task_il, among_seen.task_il)


def test_a_method_that_keeps_statistics_of_classes_has_no_score_for_those_to_come():
    stream = small_stream(2)
    for name in ("slda", "ncm", "knn"):
        method = METHODS.get(name)(stream.dim, stream.n_classes, small_config(name), CPU)
        assert measure_ahead(method, tensors(stream)) is None


def test_a_network_is_measured_ahead_by_its_outputs_for_the_classes_of_each_task():
    stream, config = small_stream(3), small_config("finetune")
    tasks = tensors(stream)
    method = METHODS.get("finetune")(stream.dim, stream.n_classes, config, CPU)
    method.learn(tasks[:1])
    found = measure_ahead(method, tasks[1:])
    method.seen = stream.n_classes  # the outputs of all classes, as if all had been met
    np.testing.assert_array_equal(found, evaluate(method, tasks).task_il[1:])


def test_a_method_that_scores_otherwise_than_its_network_does_is_not_measured_by_that():
    class Otherwise(METHODS.get("finetune")):
        def scores(self, features):
            return -super().scores(features)

    stream = small_stream(2)
    method = Otherwise(stream.dim, stream.n_classes, small_config("finetune"), CPU)
    assert measure_ahead(method, tensors(stream)) is None


def results_of(folder, name, **changes):
    run(small_stream(4), name, small_config(name, experts=2, **changes), folder / name)
    return json.loads((folder / name / "results.json").read_text())


@pytest.mark.parametrize(("name", "group"), [("finetune", 1), ("bmc", 2)])
def test_forward_transfer_follows_from_what_was_measured_ahead(tmp_path, name, group):
    results = results_of(tmp_path, name, measure_ahead=True)
    untrained, before = results["ahead"]["untrained"], results["ahead"]["before"]
    assert None not in untrained
    assert before[:group] == [None] * group
    gains = [b - u for b, u in zip(before[group:], untrained[group:], strict=True)]
    assert results["metrics"]["task-il"]["fwt_gem"] == pytest.approx(sum(gains) / len(gains))
    assert "fwt_gem" not in results["metrics"]["class-il"]
    config = small_config(name, experts=2, measure_ahead=True)
    stream = small_stream(4)
    fresh = METHODS.get(name)(stream.dim, stream.n_classes, config, CPU)
    assert untrained == measure_ahead(fresh, tensors(stream)).tolist()
    first = learned(name, small_stream(4), config)
    assert first.seen == stream.n_classes


def test_measuring_ahead_changes_nothing_else(tmp_path):
    plain = results_of(tmp_path / "plain", "er")
    ahead = results_of(tmp_path / "ahead", "er", measure_ahead=True)
    assert plain["ahead"] == {}
    assert ahead["R"] == plain["R"]
    assert ahead["metrics"]["class-il"] == plain["metrics"]["class-il"]
    references = results_of(tmp_path, "slda", measure_ahead=True)
    assert references["ahead"] == {}
    assert "fwt_gem" not in references["metrics"]["task-il"]


def test_a_run_that_stops_and_resumes_measures_ahead_what_an_unbroken_one_does(
    tmp_path, monkeypatch
):
    whole = results_of(tmp_path / "whole", "bmc", measure_ahead=True)
    from bmc.runs import run as experiment

    calls = []

    def stop_at_second(*given):
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return evaluate(*given)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(experiment, "evaluate", stop_at_second)
        results_of(tmp_path / "cut", "bmc", measure_ahead=True)
    config = small_config("bmc", experts=2, measure_ahead=True)
    run(small_stream(4), "bmc", config, tmp_path / "cut" / "bmc", resume=True)
    again = json.loads((tmp_path / "cut" / "bmc" / "results.json").read_text())
    assert again == whole


def test_final_accuracy_is_the_product_of_the_right_dataset_and_the_class_within_it(tmp_path):
    values = results_of(tmp_path, "slda")["metrics"]["class-il"]
    expected = metrics.within_dataset(values["final_mean"], values["dataset_id"])
    assert values["within_dataset"] == expected
    assert expected * values["dataset_id"] == pytest.approx(values["final_mean"])
