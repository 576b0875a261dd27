import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bmc.runs import metrics

WORKED = np.array([[80, np.nan, np.nan], [60, 90, np.nan], [85, 95, 70]]) / 100


def test_the_worked_case_of_the_field_notes_gives_bwt_plus_5_and_forgetting_minus_5():
    assert metrics.bwt_gem(WORKED, [1, 2, 3]) == pytest.approx(0.05)
    assert metrics.forgetting_chaudhry(WORKED, [1, 2, 3]) == pytest.approx(-0.05)


def test_means_are_those_of_the_last_row_and_of_the_rows_seen_so_far():
    assert metrics.final_mean(WORKED) == pytest.approx((0.85 + 0.95 + 0.70) / 3)
    assert metrics.final_micro(WORKED, [1, 1, 2]) == pytest.approx((0.85 + 0.95 + 1.4) / 4)
    rows = [0.80, (0.60 + 0.90) / 2, (0.85 + 0.95 + 1.4) / 4]
    assert metrics.average_incremental_micro(WORKED, [1, 1, 2]) == pytest.approx(np.mean(rows))
    assert metrics.learning_accuracy(WORKED, [1, 2, 3]) == pytest.approx((0.8 + 0.9 + 0.7) / 3)
    assert metrics.worst_task(WORKED) == pytest.approx(0.70)


def test_tasks_of_the_last_group_are_neither_forgotten_nor_transferred_to():
    R = np.array([[0.5, 0.7, np.nan], [0.4, 0.9, 0.6]])
    assert metrics.bwt_gem(R, [2, 3]) == pytest.approx((-0.1 + 0.2) / 2)
    assert metrics.forgetting_chaudhry(R, [2, 3]) == pytest.approx((0.1 - 0.2) / 2)
    assert metrics.learning_accuracy(R, [2, 3]) == pytest.approx((0.5 + 0.7 + 0.6) / 3)


def test_one_evaluation_has_no_forgetting_to_speak_of():
    R = np.array([[0.5, 0.7]])
    assert np.isnan(metrics.bwt_gem(R, [2]))
    assert np.isnan(metrics.forgetting_chaudhry(R, [2]))
    assert np.isnan(metrics.average_incremental_micro(R, [1, 1]))


@given(st.integers(2, 7), st.integers(0, 2**32 - 1))
def test_metrics_leave_r_unchanged_and_a_perfect_learner_scores_one(n, seed):
    rng = np.random.default_rng(seed)
    R = np.where(np.tri(n, dtype=bool), rng.random((n, n)), np.nan)
    before = R.copy()
    values = metrics.summary(R, range(1, n + 1), rng.integers(1, 50, n))
    np.testing.assert_array_equal(R, before)
    assert set(values) <= set(metrics.DEFINITIONS)
    # forgetting is at least the loss since the row in which a task was learned
    assert values["forgetting_chaudhry"] >= -values["bwt_gem"] - 1e-12
    perfect = metrics.summary(np.where(np.isnan(R), np.nan, 1.0), range(1, n + 1), [1] * n)
    assert perfect["final_mean"] == perfect["average_incremental_micro"] == 1.0
    assert perfect["bwt_gem"] == perfect["forgetting_chaudhry"] == 0.0


def test_forward_transfer_is_the_gain_before_a_task_was_learned_over_no_training_at_all():
    # b = (10, 20, 50); before task 1: 26, before task 2: 41
    before, untrained = np.array([np.nan, 0.26, 0.41]), np.array([0.1, 0.2, 0.5])
    assert metrics.fwt_gem(before, untrained) == pytest.approx((0.06 - 0.09) / 2)
    assert np.isnan(metrics.fwt_gem(np.full(3, np.nan), untrained))


def test_intransigence_is_what_joint_training_reached_beyond_each_task_as_it_was_learned():
    joint = np.array([0.9, 0.85, 0.8])  # diagonal of the worked case: 80, 90, 70
    assert metrics.intransigence(WORKED, [1, 2, 3], joint) == pytest.approx((10 - 5 + 10) / 300)
    grouped = np.array([[0.5, 0.7, np.nan], [0.4, 0.9, 0.6]])  # learned at 50, 70, 60
    assert metrics.intransigence(grouped, [2, 3], joint) == pytest.approx((40 + 15 + 20) / 300)


def test_the_class_within_the_dataset_is_the_quotient_and_unknown_where_no_dataset_was_right():
    assert metrics.within_dataset(0.6, 0.8) == pytest.approx(0.75)
    assert np.isnan(metrics.within_dataset(0.0, 0.0))


@st.composite
def matrices(draw):
    """Draw R of tasks learned in groups, and the learned counts of its rows."""
    n = draw(st.integers(1, 7))
    steps = sorted(draw(st.sets(st.integers(1, n), max_size=n)) | {n})
    values = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).random((len(steps), n))
    return np.where(np.arange(n) < np.array(steps)[:, None], values, np.nan), steps


@given(matrices())
def test_every_metric_stays_within_its_bounds(case):
    R, learned = case
    R.flags.writeable = False  # any change would raise
    values = metrics.summary(R, learned, [3] * R.shape[1])
    for name, value in values.items():
        low = -1 if name in ("bwt_gem", "forgetting_chaudhry") else 0
        assert np.isnan(value) or low <= value <= 1, name
    assert values["worst_task"] <= values["final_mean"] <= R[-1].max()
    assert values["final_micro"] == pytest.approx(values["final_mean"])  # tasks of one size
    missed = metrics.intransigence(R, learned, np.full(R.shape[1], 0.5))
    assert missed == pytest.approx(0.5 - values["learning_accuracy"])


@given(matrices(), st.randoms(use_true_random=False))
def test_what_only_the_last_row_decides_does_not_depend_on_the_order_of_tasks(case, random):
    R, _ = case
    order = list(range(R.shape[1]))
    random.shuffle(order)
    sizes = np.arange(1, R.shape[1] + 1)
    moved = R[-1:, order]
    assert metrics.final_mean(moved) == pytest.approx(metrics.final_mean(R))
    assert metrics.worst_task(moved) == metrics.worst_task(R)
    assert metrics.final_micro(moved, sizes[order]) == pytest.approx(metrics.final_micro(R, sizes))


@given(matrices(), st.data())
def test_a_task_that_was_never_measured_changes_no_metric(case, data):
    R, learned = case
    tasks = R.shape[1]
    out = sorted(data.draw(st.sets(st.integers(0, tasks - 1), max_size=tasks - 1)))
    sizes, joint = np.arange(1, tasks + 1), np.linspace(0.2, 0.9, tasks)
    R[:, out], sizes[out], joint[out] = np.nan, 0, np.nan
    fewer = [n - sum(j < n for j in out) for n in learned]
    kept = [np.delete(values, out, axis=-1) for values in (R, sizes, joint)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = metrics.summary(R, learned, sizes)
        whole["intransigence"] = metrics.intransigence(R, learned, joint)
    without = metrics.summary(kept[0], fewer, kept[1])
    without["intransigence"] = metrics.intransigence(kept[0], fewer, kept[2])
    assert whole == pytest.approx(without, nan_ok=True)
    assert not np.isnan([whole["final_mean"], whole["learning_accuracy"]]).any()


@given(matrices())
def test_nothing_measured_gives_no_number_and_no_warning(case):
    R, learned = np.full_like(case[0], np.nan), case[1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = metrics.summary(R, learned, [0] * R.shape[1])
        values["intransigence"] = metrics.intransigence(R, learned, R[-1])
        values["fwt_gem"] = metrics.fwt_gem(R[-1], R[-1])
    assert np.isnan(list(values.values())).all()
