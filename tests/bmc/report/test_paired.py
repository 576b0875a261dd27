"""Groups beside the best over the test samples that their runs stored."""

from statistics import fmean

import numpy as np
import pytest
from report_runs import TASKS, Right, right, stored

from autods.errors import UsageError
from bmc.report import group
from bmc.report.finished import Run, read_run
from bmc.report.load import load_runs
from bmc.report.paired import NOT_STORED, OTHER_SIZES, over_samples
from bmc.report.statistics import compare_groups


def changed(hits: Right, task: str, *flipped: int) -> dict[str, np.ndarray]:
    values = hits[task].copy()
    values[list(flipped)] ^= 1
    return {**hits, task: values}


def turned(hits: Right) -> dict[str, np.ndarray]:
    """The same hits with the tasks in the opposite order."""
    return dict(reversed(hits.items()))


def row_of(folders, method: str):
    rows = compare_groups(group(load_runs(folders)), "class-il")
    return next(row for row in rows if row.group.first.method == method)


def test_a_group_is_averaged_over_its_runs_sample_by_sample(tmp_path):
    best, one, two = right(0, 0.9), right(1, 0.5), right(2, 0.7)
    folders = [
        stored(tmp_path / "b0", "best", best), stored(tmp_path / "b1", "best", turned(best), 1),
        stored(tmp_path / "o0", "other", one), stored(tmp_path / "o1", "other", turned(two), 1),
    ]  # fmt: skip
    other, first = row_of(folders, "other"), row_of(folders, "best")
    assert (other.samples.n, other.samples.tasks) == (200, 3)
    mean = fmean((one[task].mean() + two[task].mean()) / 2 for task in TASKS)
    assert other.mean == pytest.approx(mean)
    assert other.samples.low < mean < other.samples.high
    # averages of two runs vary less than a single run
    alone = row_of([folders[0], folders[2]], "other")
    assert other.half_width < alone.half_width
    assert other.samples.difference == pytest.approx(other.difference) == mean - first.mean
    assert other.samples.difference_low < other.difference < other.samples.difference_high < 0
    assert other.samples.p < 0.001
    assert (first.samples.p, first.samples.difference) == (None, None)
    assert first.verdict == "best"


def test_two_methods_that_differ_in_one_sample_are_not_told_apart_over_any_number_of_orders(
    tmp_path,
):
    """The difference is the same in all orders: it has no deviation, and no order is a sample."""
    best = {name: np.ones(size, np.uint8) for name, size in TASKS.items()}
    best["a"][:5] = 0
    other = changed(best, "b", 3)
    orders = [list(TASKS), ["b", "c", "a"], ["c", "a", "b"], ["c", "b", "a"], ["b", "a", "c"]]
    folders = [
        stored(tmp_path / f"{method}{k}", method, {name: hits[name] for name in order}, k, **free)
        for method, hits, free in (("best", best, {"order_free": True}), ("other", other, {}))
        for k, order in enumerate(orders)
    ]
    row = row_of(folders, "other")
    assert (row.orders.n, row.orders.pairs, row.orders.p) == (5, 5, None)
    assert row.samples.p == 1
    assert row.verdict == "not told apart"


def test_nothing_is_tested_over_orders_where_either_method_does_not_depend_on_them(tmp_path):
    for free in ("best", "other", "none"):
        folders = [
            stored(
                tmp_path / free / f"{method}{k}", method,
                right(10 * k + len(method), share, dict(list(TASKS.items())[:: 1 - 2 * (k % 2)])),
                k, order_free=method == free,
            )
            for method, share in (("best", 0.9), ("other", 0.6)) for k in range(2)
        ]  # fmt: skip
        row = row_of(folders, "other")
        assert (row.orders.p is None) == (free != "none")
        assert row.samples.p is not None
        assert (row.orders.low is None) == (free == "other")


def test_worse_needs_every_p_that_is_known(tmp_path):
    best = right(0, 0.9)
    hits = [changed(best, "c", *range(40)), changed(best, "c", *range(90))]
    folders = [stored(tmp_path / f"b{k}", "best", order) for k, order in
               enumerate((best, turned(best)))]  # fmt: skip
    folders += [stored(tmp_path / "o0", "other", hits[0]),
                stored(tmp_path / "o1", "other", turned(hits[1]))]  # fmt: skip
    row = row_of(folders, "other")
    assert row.samples.p < 0.05 < row.orders.p
    assert row.verdict == "not told apart"
    assert row_of([folders[0], folders[2]], "other").verdict == "worse"


def test_in_orders_that_are_cut_a_sample_counts_in_the_runs_that_have_it(tmp_path):
    one, two = right(0, 0.9), right(1, 0.5)
    folders = [
        stored(tmp_path / f"{method}{k}", method, {name: hits[name] for name in names}, k)
        for method, hits in (("best", one), ("other", two))
        for k, names in enumerate((["a", "b"], ["b", "c"]))
    ]
    row = row_of(folders, "other")
    assert (row.samples.tasks, row.samples.n) == (3, 200)
    assert row.samples.difference == pytest.approx(row.difference)
    assert row.samples.low < row.mean < row.samples.high
    means = {task: two[task].mean() - one[task].mean() for task in TASKS}
    assert row.difference == pytest.approx((means["a"] + 2 * means["b"] + means["c"]) / 4)


def test_a_group_whose_runs_did_not_store_samples_has_no_interval_and_the_others_have(tmp_path):
    folders = [stored(tmp_path / m, m, right(k, 0.9 - 0.1 * k)) for k, m in enumerate("abc")]
    (folders[1] / "samples.safetensors").unlink()
    rows = [row_of(folders, method) for method in "abc"]
    assert [(row.samples is None, row.why) for row in rows] == [
        (False, ""), (True, NOT_STORED), (False, ""),
    ]  # fmt: skip
    assert rows[2].samples.p is not None
    (folders[0] / "samples.safetensors").unlink()  # of the best: nothing to compare with
    rows = [row_of(folders, method) for method in "abc"]
    assert rows[2].samples.high > rows[2].mean
    assert rows[2].samples.p is None
    assert rows[2].verdict == "not tested"


def test_a_group_has_no_interval_if_one_of_its_runs_did_not_store_samples(tmp_path):
    hits = right(0, 0.9)
    folders = [stored(tmp_path / "0", "a", hits), stored(tmp_path / "1", "a", turned(hits), 1)]
    (folders[1] / "samples.safetensors").unlink()
    row = row_of(folders, "a")
    assert (row.samples, row.why) == (None, NOT_STORED)


def test_runs_measured_on_other_samples_are_not_paired(tmp_path):
    one = stored(tmp_path / "one", "one", right(0, 0.9))
    two = stored(tmp_path / "two", "two", right(1, 0.5, TASKS | {"b": 61}))
    groups = [group([read_run(folder)])[0] for folder in (one, two)]
    sampled = over_samples(groups, "class-il", 0)
    assert sampled.why == ["", OTHER_SIZES]
    assert sampled.over[1] is None


def test_a_task_without_test_samples_does_not_count(tmp_path):
    folder = stored(tmp_path / "one", "one", right(0, 0.9))
    run = read_run(folder)
    empty = {**run.samples("class-il"), "b": np.zeros(0, np.uint8)}

    class Emptied(Run):
        def samples(self, scenario: str):
            return empty

    emptied = Emptied.model_construct(**dict(run))
    known = over_samples(group([emptied]), "class-il", 0).over[0]
    assert (known.tasks, known.n) == (2, 140)


def test_damaged_samples_are_refused(tmp_path):
    folders = [stored(tmp_path / m, m, right(k, 0.9)) for k, m in enumerate("ab")]
    (folders[1] / "samples.safetensors").write_bytes(b"no tensors")
    with pytest.raises(UsageError, match="run the method again"):
        row_of(folders, "b")
