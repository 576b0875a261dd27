"""Intervals and tests over test samples: against exact results, and on simulated data."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bmc.report.resampling import FLIPS, bootstrap_intervals, sign_flip_p, totals

SIZES = [10, 25, 40]


def column(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)[:, None]


def drawn(seed: int, share: float, sizes=SIZES, columns: int = 1) -> np.ndarray:
    """Hits of so many methods that are right with this probability."""
    draw = np.random.default_rng(seed)
    return (draw.random((sum(sizes), columns)) < share).astype(np.float32)


def test_the_total_counts_every_task_alike_by_hand():
    assert totals(column(1, 0, 1, 1, 1, 0), [2, 4]).tolist() == [1 / 2 + 3 / 4]


@given(st.lists(st.integers(0, 1), min_size=6, max_size=6), st.sampled_from([[6], [1, 5], [3, 3]]))
@settings(max_examples=30, deadline=None)
def test_no_end_of_an_interval_lies_outside_the_values_of_samples(hits, sizes):
    low, high = bootstrap_intervals(column(*hits), sizes)[:, 0]
    assert 0 <= low <= totals(column(*hits), sizes)[0] <= high <= len(sizes)


def test_the_interval_of_one_task_is_the_one_of_its_mean_by_the_normal_distribution():
    hits = drawn(0, 0.6, [2000])
    low, high = bootstrap_intervals(hits, [2000])[:, 0]
    deviation = hits.std(ddof=1) / np.sqrt(2000)
    expected = hits.mean() + deviation * stats.norm.ppf([0.025, 0.975])
    # the quantiles of 2,000 draws vary by a twentieth of the deviation
    assert [low, high] == pytest.approx(expected, abs=0.2 * deviation)


def test_four_times_the_samples_halve_the_interval():
    hits = drawn(1, 0.7, [250, 250])
    widths = [
        np.ptp(bootstrap_intervals(np.concatenate([np.tile(part, (times, 1)) for part in
                                                   np.split(hits, 2)]), [250 * times] * 2)[:, 0])
        for times in (1, 4)
    ]  # fmt: skip
    assert widths[1] == pytest.approx(widths[0] / 2, rel=0.1)


def test_intervals_cover_the_truth_as_often_as_they_say():
    """300 sets of test samples of 12 tasks; few samples a task, so that n - 1 matters."""
    shares = np.linspace(0.2, 0.9, 12)
    sizes = [12] * 12
    truth = shares.sum()
    hits = np.concatenate(
        [drawn(k, share, [12], columns=300) for k, share in enumerate(shares)]
    )  # fmt: skip
    low, high = bootstrap_intervals(hits, sizes)
    covered = ((low <= truth) & (truth <= high)).mean()
    assert 0.92 <= covered <= 0.98  # 95 % and two and a half deviations of 300 trials


def test_a_difference_has_the_interval_of_pairs_and_not_of_two_samples():
    one = drawn(3, 0.5, [1000])
    other = one.copy()
    other[:20] = 1 - other[:20]  # 20 of 1,000 samples differ
    of_pairs, of_one = (np.ptp(bootstrap_intervals(x, [1000])[:, 0]) for x in (one - other, one))
    assert of_pairs / of_one == pytest.approx(np.sqrt(0.02 / 0.25), rel=0.1)


def test_p_is_that_of_mcnemars_exact_test():
    # of 14 samples that only one of two methods gets right, the first has 11
    differences = column(*[1] * 11, *[-1] * 3, *[0] * 30)
    exact = stats.binomtest(11, 14).pvalue
    deviation = np.sqrt(exact * (1 - exact) / FLIPS)
    assert sign_flip_p(differences, [44])[0] == pytest.approx(exact, abs=4 * deviation)


def test_a_difference_of_one_sample_is_no_difference_however_often_it_is_measured():
    """Five orders of two methods that do not depend on the order: each finds the same sample."""
    differences = column(5, *[0] * 3275)  # hits in five runs minus hits in five runs
    assert sign_flip_p(differences, [3276])[0] == 1
    assert sign_flip_p(column(5, 0, 0, 0), [1, 3])[0] == 1


def test_equal_methods_have_a_p_of_one_and_like_ones_any_p():
    assert sign_flip_p(drawn(4, 0.5) * 0, SIZES)[0] == 1
    differences = drawn(5, 0.6, columns=400) - drawn(6, 0.6, columns=400)
    p = sign_flip_p(differences, SIZES)
    assert (p < 0.05).mean() <= 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / 400)
    assert 0.4 < np.median(p) < 0.65


def test_a_clear_difference_has_the_smallest_p_that_is_never_zero():
    assert sign_flip_p(column(*[1] * 200), [200])[0] == 1 / (1 + FLIPS)


def test_numbers_of_a_pair_do_not_depend_on_what_else_is_compared():
    together = drawn(7, 0.3, columns=5) - drawn(8, 0.4, columns=5)
    alone = together[:, 2:3]
    assert sign_flip_p(together, SIZES)[2] == sign_flip_p(alone, SIZES)[0]
    both = bootstrap_intervals(together, SIZES)[:, 2], bootstrap_intervals(alone, SIZES)[:, 0]
    assert both[0].tolist() == both[1].tolist()
