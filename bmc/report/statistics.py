"""Whether one method is better than another, from runs over several orders of the tasks.

The order of the tasks is the independent unit: runs of one order that differ in the run seed are
averaged first, since they share what makes orders differ. Differences are taken between runs of
the same order and the same run seed. Intervals and tests say how results vary from order to
order, and nothing about other test samples: a method that does not depend on the order has an
interval of width zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

from bmc.report.columns import MISSING
from bmc.report.groups import Group

CONFIDENCE = 0.95
SIGNIFICANT = 0.05  # an adjusted p below it counts as a difference
LESS_IS_BETTER = frozenset({"forgetting_chaudhry", "intransigence"})

Order = tuple[str, ...]  # names of tasks in their order
Repeat = tuple[Order, int]  # with a run seed


@dataclass(frozen=True)
class Row:
    """One group compared with the best, references aside; ``None`` where a number is unknown.

    ``mean`` is over ``n`` orders, ``low`` to ``high`` its 95 % interval (Student's t; none for
    one order). ``difference`` is the mean of its values minus those of the best over the
    ``pairs`` orders that both have, ``p`` that of the paired two-sided t-test, adjusted by Holm;
    ``None`` for the best itself and for fewer than two pairs.
    """

    group: Group
    n: int
    mean: float | None
    low: float | None
    high: float | None
    best: bool
    difference: float | None
    p: float | None
    pairs: int

    @property
    def difference_text(self) -> str:
        """The difference in points, with its sign; empty for the best."""
        if self.best or self.difference is None:
            return "" if self.best else MISSING
        text = f"{100 * self.difference:+.1f}"
        return "0.0" if text in ("+0.0", "-0.0") else text

    @property
    def p_text(self) -> str:
        """The p value; empty for the best."""
        if self.p is None:
            return "" if self.best else MISSING
        return "<0.001" if self.p < 0.001 else f"{self.p:.3f}"

    @property
    def half_width(self) -> float | None:
        """Half the width of the interval."""
        return None if self.mean is None or self.high is None else self.high - self.mean

    @property
    def tied(self) -> bool:
        """Whether it was tested and does not differ significantly from the best."""
        return self.p is not None and self.p >= SIGNIFICANT


def compare_groups(groups: Sequence[Group], scenario: str, metric: str = "final_mean") -> list[Row]:
    """Compare groups in one metric of a scenario with the best of them, references aside."""
    repeats = [_repeats(g, scenario, metric) for g in groups]
    by_order = [list(_by_order(values).values()) for values in repeats]
    best = _best(groups, by_order, metric)
    rows, tests = [], []
    for k, (group, values) in enumerate(zip(groups, by_order, strict=True)):
        rival = {} if best is None or k == best else repeats[best]
        pairs = {r: value - rival[r] for r, value in repeats[k].items() if r in rival}
        differences = list(_by_order(pairs).values())
        low, high = interval(values) or (None, None)
        tests.append(paired_p(differences))
        rows.append(
            Row(
                group=group,
                n=len(values),
                mean=fmean(values) if values else None,
                low=low,
                high=high,
                best=k == best,
                difference=fmean(differences) if differences else None,
                p=None,
                pairs=len(differences),
            )
        )
    return [replace(row, p=p) for row, p in zip(rows, holm(tests), strict=True)]


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % interval of the mean by Student's t; ``None`` for fewer than two values."""
    from scipy.stats import t

    if len(values) < 2:
        return None
    factor = float(t.ppf(0.5 + CONFIDENCE / 2, len(values) - 1))
    half = factor * stdev(values) / math.sqrt(len(values))
    return fmean(values) - half, fmean(values) + half


def paired_p(differences: Sequence[float]) -> float | None:
    """Return the two-sided p of the paired t-test; ``None`` for fewer than two pairs.

    Differences that are all the same have no deviation: p is 1 where they are 0 and else 0,
    the limits of the test.
    """
    from scipy.stats import t

    if len(differences) < 2:
        return None
    mean, deviation = fmean(differences), stdev(differences)
    if deviation == 0:
        return 1.0 if mean == 0 else 0.0
    statistic = mean / deviation * math.sqrt(len(differences))
    return float(2 * t.sf(abs(statistic), len(differences) - 1))


def holm(tests: Sequence[float | None]) -> list[float | None]:
    """Adjust p values for their number (Holm 1979): the smallest times m, the next times m - 1.

    An adjusted value is never below that of a smaller one, and never above 1. ``None``, where
    nothing was tested, stays and does not count.
    """
    known = sorted((p, k) for k, p in enumerate(tests) if p is not None)
    adjusted: list[float | None] = [None] * len(tests)
    largest = 0.0
    for rank, (p, k) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        adjusted[k] = largest
    return adjusted


def _repeats(group: Group, scenario: str, metric: str) -> dict[Repeat, float]:
    """Return the known values of a metric by order and run seed."""
    return {
        (tuple(task.name for task in run.tasks), run.run_seed): value
        for run in group.runs
        if (value := run.metrics.get(scenario, {}).get(metric)) is not None
    }


def _by_order(values: Mapping[Repeat, float]) -> dict[Order, float]:
    """Return the mean over run seeds of each order."""
    seeds: dict[Order, list[float]] = {}
    for (order, _), value in values.items():
        seeds.setdefault(order, []).append(value)
    return {order: fmean(of_seeds) for order, of_seeds in seeds.items()}


def _best(groups: Sequence[Group], by_order: Sequence[list[float]], metric: str) -> int | None:
    """Return the number of the best group, the first of equals; references do not compete."""
    sign = -1 if metric in LESS_IS_BETTER else 1
    ranked = [
        (sign * fmean(values), -k)
        for k, (group, values) in enumerate(zip(groups, by_order, strict=True))
        if values and not group.reference
    ]
    return -max(ranked)[1] if ranked else None
