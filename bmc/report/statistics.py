"""Whether one method is better than another: over test samples, and over orders of the tasks.

Two questions, two units. Over test samples: would the same learned methods differ on other
samples of the same tasks? Over orders: would the difference remain in other orders of the tasks?
Runs of one order that differ in the run seed are averaged first, since they share what makes
orders differ. A method that gives the same result in any order has no sample of orders: nothing
is tested over orders where one of the two methods is such.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Literal

from bmc.report.columns import MISSING
from bmc.report.groups import Group, Repeat, repeat_of
from bmc.report.paired import OverSamples, Sampled, over_samples
from bmc.report.resampling import CONFIDENCE

FINAL = "final_mean"
SIGNIFICANT = 0.05  # an adjusted p below it counts as a difference
LESS_IS_BETTER = frozenset({"forgetting_chaudhry", "intransigence"})
SIGNED = LESS_IS_BETTER | {"bwt_gem", "fwt_gem"}  # differences of accuracies; others are fractions
NO_DEVIATION = 1e-8  # of differences that are equal but for rounding

Order = tuple[str, ...]  # names of tasks in their order
Verdict = Literal["best", "reference", "not tested", "not told apart", "worse"]


@dataclass(frozen=True)
class OverOrders:
    """A group over ``n`` orders of the tasks; ``None`` where a number is unknown.

    ``sd`` is the standard deviation, ``low`` to ``high`` the 95 % interval of the mean (Student's
    t, cut to what the metric can be); none for one order, and no interval for a method that does
    not depend on the order. ``p`` is that of the paired two-sided t-test of the differences to
    the best over the ``pairs`` orders that both have, adjusted by Holm; ``None`` for the best
    itself, for fewer than two pairs, for differences without deviation, and where one of the two
    methods does not depend on the order.
    """

    n: int
    sd: float | None
    low: float | None
    high: float | None
    pairs: int
    p: float | None


@dataclass(frozen=True)
class Row:
    """One group compared with the best, references aside; ``None`` where a number is unknown.

    ``mean`` is over orders, ``difference`` the mean of its values minus those of the best over
    the orders that both have (``None`` for the best itself). ``samples`` is adjusted by Holm as
    ``orders`` is; where it is ``None``, ``why`` says why.
    """

    group: Group
    mean: float | None
    best: bool
    difference: float | None
    orders: OverOrders
    samples: OverSamples | None = None
    why: str = ""

    @property
    def difference_text(self) -> str:
        """The difference in points, with its sign; empty for the best."""
        if self.best or self.difference is None:
            return "" if self.best else MISSING
        text = f"{100 * self.difference:+.1f}"
        return "0.0" if text in ("+0.0", "-0.0") else text

    @property
    def samples_p(self) -> float | None:
        """The p over test samples."""
        return None if self.samples is None else self.samples.p

    def p_text(self, p: float | None) -> str:
        """Write one of its p values; empty for the best."""
        if p is None:
            return "" if self.best else MISSING
        return "<0.001" if p < 0.001 else f"{p:.3f}"

    @property
    def half_width(self) -> float | None:
        """Half the width of the interval over test samples."""
        return None if self.samples is None else (self.samples.high - self.samples.low) / 2

    @property
    def verdict(self) -> Verdict:
        """What the tests say: worse than the best only if each p that is known says so."""
        if self.best or self.group.reference:
            return "best" if self.best else "reference"
        known = [p for p in (self.samples_p, self.orders.p) if p is not None]
        if not known:
            return "not tested"
        return "worse" if max(known) < SIGNIFICANT else "not told apart"


def compare_groups(groups: Sequence[Group], scenario: str, metric: str = FINAL) -> list[Row]:
    """Compare groups in one metric of a scenario with the best of them, references aside.

    Test samples say something of the final mean only. Raises `UsageError` if the samples of a
    run are damaged.
    """
    repeats = [_repeats(g, scenario, metric) for g in groups]
    by_order = [list(_by_order(values).values()) for values in repeats]
    best = _best(groups, by_order, metric)
    sampled = Sampled([None] * len(groups), [""] * len(groups))
    if metric == FINAL:
        sampled = over_samples(groups, scenario, best)
    rows = []
    for k, (group, values) in enumerate(zip(groups, by_order, strict=True)):
        rival = {} if best is None or k == best else repeats[best]
        pairs = {r: value - rival[r] for r, value in repeats[k].items() if r in rival}
        differences = list(_by_order(pairs).values())
        free = group.order_free or (best is not None and groups[best].order_free)
        within = (-1.0, 1.0) if metric in SIGNED else (0.0, 1.0)
        low, high = (None if group.order_free else interval(values, within)) or (None, None)
        orders = OverOrders(
            n=len(values),
            sd=stdev(values) if len(values) > 1 else None,
            low=low,
            high=high,
            pairs=len(differences),
            p=None if free else paired_p(differences),
        )
        rows.append(
            Row(
                group=group,
                mean=fmean(values) if values else None,
                best=k == best,
                difference=fmean(differences) if differences else None,
                orders=orders,
                samples=sampled.over[k],
                why=sampled.why[k],
            )
        )
    return _adjusted(rows)


def interval(
    values: Sequence[float], within: tuple[float, float] = (0.0, 1.0)
) -> tuple[float, float] | None:
    """Return the 95 % interval of the mean by Student's t, cut to ``within``.

    ``None`` for fewer than two values.
    """
    if len(values) < 2:
        return None

    from scipy.special import stdtrit  # scipy.stats takes four times as long to import

    factor = float(stdtrit(len(values) - 1, 0.5 + CONFIDENCE / 2))
    half = factor * stdev(values) / math.sqrt(len(values))
    return max(fmean(values) - half, within[0]), min(fmean(values) + half, within[1])


def paired_p(differences: Sequence[float]) -> float | None:
    """Return the two-sided p of the paired t-test.

    ``None`` for fewer than two pairs, and for differences that are equal but for rounding: what
    does not vary is no sample to test.
    """
    if len(differences) < 2 or stdev(differences) <= NO_DEVIATION:
        return None

    from scipy.special import stdtr

    statistic = fmean(differences) / stdev(differences) * math.sqrt(len(differences))
    return float(2 * stdtr(len(differences) - 1, -abs(statistic)))


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


def _adjusted(rows: Sequence[Row]) -> list[Row]:
    """Adjust the p values of each kind for the number of tests of that kind."""
    over_orders = holm([row.orders.p for row in rows])
    over_test_samples = holm([row.samples_p for row in rows])
    return [
        replace(
            row,
            orders=replace(row.orders, p=orders),
            samples=row.samples and replace(row.samples, p=samples),
        )
        for row, orders, samples in zip(rows, over_orders, over_test_samples, strict=True)
    ]


def _repeats(group: Group, scenario: str, metric: str) -> dict[Repeat, float]:
    """Return the known values of a metric by order and run seed."""
    return {
        repeat_of(run): value
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
