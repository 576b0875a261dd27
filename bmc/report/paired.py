"""The test samples of a comparison: what each group of runs got right, beside the best group.

Samples are matched by the name of their task and their place in it. A group counts as one method:
its runs, over orders and seeds, are averaged sample by sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bmc.report.finished import Run
from bmc.report.groups import Group, Repeat, repeat_of
from bmc.report.resampling import bootstrap_intervals, sign_flip_p, totals

NOT_STORED = "their runs do not say which samples were right"
OTHER_SIZES = "their runs were measured on other samples"

Hits = Mapping[str, npt.NDArray[np.integer[Any]]]  # by task, of each sample [n] how often right


@dataclass(frozen=True)
class OverSamples:
    """A group over ``n`` test samples of ``tasks`` tasks.

    ``low`` to ``high`` is the 95 % interval of its mean, over all its runs. ``difference`` is its
    mean minus that of the best, over the runs of the same orders and seeds that both have, with
    the ends of its interval and the p of the sign-flip test; ``None`` for the best itself, and
    if there are no such runs.
    """

    n: int
    tasks: int
    low: float
    high: float
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    p: float | None = None


@dataclass(frozen=True)
class Sampled:
    """What is known over test samples, for each group; ``why`` says why one has nothing."""

    over: list[OverSamples | None]
    why: list[str]


def over_samples(groups: Sequence[Group], scenario: str, best: int | None) -> Sampled:
    """Compare the final means of groups over test samples with that of the group ``best``.

    In orders that are cut, runs have different tasks: a sample counts in the runs that have it.

    Raises `UsageError` if the samples of a run are damaged.
    """
    reader = _Reader(scenario)
    rival = {} if best is None else reader.runs_of(groups[best])
    columns: list[_Column] = []
    why = []
    for k, group in enumerate(groups):
        runs = rival if k == best else reader.runs_of(group)
        if isinstance(runs, str):
            why.append(runs)
            continue
        why.append("")
        columns.append(_Column(k, _summed(list(runs.values())), len(runs), paired=False))
        pairs = [] if k == best or isinstance(rival, str) else sorted(runs.keys() & rival.keys())
        if pairs and not isinstance(rival, str):
            own, other = (_summed([of[repeat] for repeat in pairs]) for of in (runs, rival))
            difference = {task: own[task] - other[task] for task in own}
            columns.append(_Column(k, difference, len(pairs), paired=True))
    return Sampled(_compared(len(groups), columns, reader), why)


def difference_error(pairs: Sequence[tuple[Run, Run]], scenario: str) -> float | None:
    """Return the standard error, over samples, of the mean difference of final means.

    The runs of a pair have the same tasks. A sample counts once: its differences in all pairs are
    added up. ``None`` if a run does not say which samples were right, or on other samples than
    its partner. Raises `UsageError` if the samples of a run are damaged.
    """
    total: dict[str, npt.NDArray[np.float64]] = {}
    for one, other in pairs:
        ours, theirs = one.samples(scenario), other.samples(scenario)
        if ours is None or theirs is None:
            return None
        measured = {task: right for task, right in ours.items() if len(right)}
        for task, right in measured.items():
            if len(theirs[task]) != len(right):
                return None
            difference = (right.astype(float) - theirs[task]) / len(measured) / len(pairs)
            total[task] = total.get(task, np.zeros(len(right))) + difference
    # of a task of one sample nothing is known but that its mean may be as far away as it is
    variances = [
        values.var(ddof=1) / len(values) if len(values) > 1 else float(values[0] ** 2)
        for values in total.values()
    ]
    return float(np.sqrt(sum(variances)))


class _Column(NamedTuple):
    """What is redrawn: hits of group ``k`` in so many runs, or ``paired`` differences of hits."""

    k: int
    hits: Hits
    runs: int
    paired: bool


def _compared(count: int, columns: Sequence[_Column], reader: _Reader) -> list[OverSamples | None]:
    over: list[OverSamples | None] = [None] * count
    sizes = {name: size for name, size in sorted(reader.sizes.items()) if size}
    if not columns or not sizes:
        return over
    of_tasks = list(sizes.values())
    sums = _stacked(columns, sizes)
    scale = np.array([column.runs for column in columns]) * reader.tasks
    ends = (bootstrap_intervals(sums, of_tasks) / scale).T.tolist()
    differences = (totals(sums, of_tasks) / scale).tolist()
    pairs = [place for place, column in enumerate(columns) if column.paired]
    p = dict(zip(pairs, sign_flip_p(sums[:, pairs], of_tasks), strict=True)) if pairs else {}
    for place, (column, (low, high)) in enumerate(zip(columns, ends, strict=True)):
        known = over[column.k]
        if known is None:  # the column of its mean stands before that of its difference
            over[column.k] = OverSamples(len(sums), len(sizes), low, high)
        else:
            over[column.k] = replace(
                known, difference=differences[place], difference_low=low, difference_high=high,
                p=float(p[place]),
            )  # fmt: skip
    return over


def _stacked(columns: Sequence[_Column], sizes: Mapping[str, int]) -> npt.NDArray[np.float32]:
    """Return the hits of all columns, task after task: [N, columns]."""
    sums = np.zeros((sum(sizes.values()), len(columns)), dtype=np.float32)
    first = 0
    for name, size in sizes.items():
        for place, column in enumerate(columns):
            sums[first : first + size, place] = column.hits.get(name, 0)
        first += size
    return sums


class _Reader:
    """Reads the samples of runs; all must have as many of a task as the first that has it.

    ``tasks`` is the number of measured tasks of a run, which is the same for all runs unless
    orders are cut and tasks lack test samples: then their mean.
    """

    def __init__(self, scenario: str) -> None:
        self.scenario = scenario
        self.sizes: dict[str, int] = {}
        self.measured: list[int] = []

    @property
    def tasks(self) -> float:
        return fmean(self.measured)

    def runs_of(self, group: Group) -> dict[Repeat, Hits] | str:
        """Return what each run of a group got right, or why that is not known."""
        hits: dict[Repeat, Hits] = {}
        for run in group.runs:
            right = run.samples(self.scenario)
            if right is None:
                return NOT_STORED
            for task, values in right.items():
                if self.sizes.setdefault(task, len(values)) != len(values):
                    return OTHER_SIZES
            self.measured.append(sum(len(values) > 0 for values in right.values()))
            hits[repeat_of(run)] = right
        return hits


def _summed(runs: Sequence[Hits]) -> dict[str, npt.NDArray[np.int32]]:
    """Return by task in how many runs each sample was right."""
    total: dict[str, npt.NDArray[np.int32]] = {}
    for run in runs:
        for task, right in run.items():
            total[task] = total.get(task, np.zeros(len(right), np.int32)) + right
    return total
