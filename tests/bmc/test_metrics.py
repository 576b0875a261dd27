import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bmc import metrics

WORKED = np.array([[80, np.nan, np.nan], [60, 90, np.nan], [85, 95, 70]]) / 100


def test_the_worked_case_of_the_field_notes_gives_bwt_plus_5_and_forgetting_minus_5():
    assert metrics.bwt_gem(WORKED, [1, 2, 3]) == pytest.approx(0.05)
    assert metrics.forgetting_chaudhry(WORKED, [1, 2, 3]) == pytest.approx(-0.05)


def test_means_are_those_of_the_last_row_and_of_the_rows_seen_so_far():
    assert metrics.final_mean(WORKED) == pytest.approx((0.85 + 0.95 + 0.70) / 3)
    assert metrics.final_micro(WORKED, [1, 1, 2]) == pytest.approx((0.85 + 0.95 + 1.4) / 4)
    rows = [0.80, (0.60 + 0.90) / 2, (0.85 + 0.95 + 1.4) / 4]
    assert metrics.average_incremental_micro(WORKED, [1, 2, 3], [1, 1, 2]) == pytest.approx(
        np.mean(rows)
    )
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
    assert np.isnan(metrics.average_incremental_micro(R, [2], [1, 1]))


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
