"""Groups of like runs: what the tables and figures show, as mean and deviation.

Measures nothing that the runs did not measure themselves.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Literal, NamedTuple

from autods.errors import UsageError
from bmc.report.finished import Run
from bmc.report.load import JOINT

LANDMARKS = ("bmc", "er", "finetune")  # methods that are drawn whatever their rank
MOST = 6  # best groups whose curves and tasks are drawn; more cannot be told apart
SIGNS = {"lam": "\N{GREEK SMALL LETTER LAMDA}", "alpha": "\N{GREEK SMALL LETTER ALPHA}",
         "beta": "\N{GREEK SMALL LETTER BETA}"}  # fmt: skip
WITHOUT = {"lam": "no stability loss", "beta": "no distillation"}  # what a weight of 0 means


Repeat = tuple[tuple[str, ...], int]  # names of tasks in their order, and a run seed


class Stat(NamedTuple):
    """Mean and sample standard deviation (``None`` for one value) of ``n`` runs."""

    mean: float
    sd: float | None
    n: int


def summarise(values: Iterable[float | None]) -> Stat | None:
    """Return mean and deviation of the values that are known; ``None`` if none is."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Stat(fmean(known), stdev(known) if len(known) > 1 else None, len(known))


@dataclass(frozen=True)
class Group:
    """Runs of one method with one configuration, over several orders or seeds.

    ``label`` is the method's title with the settings that tell it from namesakes, ``short``
    these settings alone if no other method has any. A ``reference`` does not compete.
    """

    label: str
    short: str
    runs: tuple[Run, ...]
    reference: bool

    @property
    def first(self) -> Run:
        """The run whose task order per-task figures follow."""
        return self.runs[0]

    @property
    def order_free(self) -> bool:
        """Whether the method gives the same result in any order of the tasks."""
        return all(run.order_free for run in self.runs)

    def metric(self, scenario: str, name: str) -> Stat | None:
        """Summarise one metric over the runs."""
        return summarise(run.metrics.get(scenario, {}).get(name) for run in self.runs)

    def curve(self, scenario: str) -> list[tuple[int, Stat]]:
        """Return (tasks learned, mean accuracy over the tasks seen so far) per evaluation."""
        at: dict[int, list[float]] = {}
        for run in self.runs:
            for learned, row in zip(run.learned, run.R.get(scenario, []), strict=False):
                seen = [value for value in row if value is not None]
                if seen:
                    at.setdefault(learned, []).append(fmean(seen))
        curve = ((n, summarise(at[n])) for n in sorted(at) if len(at[n]) == len(self.runs))
        return [(n, stat) for n, stat in curve if stat is not None]

    def by_task(self, kind: Literal["final", "forgetting"], scenario: str) -> dict[str, float]:
        """Return the mean over runs by task name, in the first run's order; unknown left out."""
        per_run = [getattr(run, kind)(scenario) for run in self.runs]
        stats = {
            task.name: summarise(r.get(task.name) for r in per_run) for task in self.first.tasks
        }
        return {name: stat.mean for name, stat in stats.items() if stat is not None}


def group(runs: Sequence[Run]) -> list[Group]:
    """Group repeats and rank the groups: best final mean first, references last.

    Raises `UsageError` if there is no run, if the runs were measured on different streams, or
    if the same run is given twice.
    """
    if not runs:
        raise UsageError("expected at least one run folder, got none; nothing was written.")
    runs = sorted(runs, key=lambda run: (run.setup, order_rank(run), run.run_seed, run.folder))
    _check_comparable(runs)
    setups: dict[str, list[Run]] = {}
    for run in runs:
        setups.setdefault(run.setup, []).append(run)
    differing = _differing_settings([members[0] for members in setups.values()])
    alone = len({members[0].title for key, members in setups.items() if differing[key]}) == 1
    groups = []
    for setup, members in setups.items():
        first, settings = members[0], differing[setup]
        label = f"{first.title} ({settings})" if settings else first.title
        short = settings if alone and settings else label
        # results of earlier versions do not say what is a reference
        reference = first.reference or first.method == JOINT
        groups.append(Group(label, short, tuple(members), reference))
    return sorted(groups, key=_rank)


def drawn(groups: Sequence[Group]) -> list[Group]:
    """Return the groups whose curves and tasks are drawn, in their order.

    The best ones, the best of each method of `LANDMARKS`, and the references.
    """
    ranked = [g for g in groups if not g.reference]
    best = {g.first.method: id(g) for g in reversed(ranked)}
    kept = {id(g) for g in ranked[:MOST]} | {best.get(method) for method in LANDMARKS}
    return [g for g in groups if g.reference or id(g) in kept]


def repeat_of(run: Run) -> Repeat:
    """Return what tells a run from the others of its group; runs of two groups pair by it."""
    return tuple(task.name for task in run.tasks), run.run_seed


def order_rank(run: Run) -> float:
    """Return what sorts runs by order: the default one first, then by seed."""
    return -math.inf if run.order_seed is None else run.order_seed


def _rank(group: Group) -> tuple[bool, float, str]:
    score = group.metric(group.first.scenario, "final_mean")
    return group.reference, -score.mean if score else math.inf, group.label


def _check_comparable(runs: Sequence[Run]) -> None:
    """Refuse runs of different streams, and repeats that are no repeats.

    Orders that are cut after some tasks hold different tasks; a task that two runs share
    must be the same in both.
    """
    first = runs[0]
    tasks: dict[str, tuple[str, str, int, int, int]] = {}
    seen: dict[tuple[str, str, int], Run] = {}
    for run in runs:
        for field in ("stream", "scenario", "protocol"):
            if getattr(run, field) != getattr(first, field):
                raise UsageError(
                    f"runs in one report must share the {field}: {first.folder} has "
                    f"{getattr(first, field)}, {run.folder} has {getattr(run, field)}; nothing "
                    "was written. Make one report for each."
                )
        known = all(tasks.setdefault(t.name, t.counts) == t.counts for t in run.tasks)
        if len(run.tasks) != len(first.tasks) or not known:
            raise UsageError(
                f"runs in one report must share their tasks: those of {first.folder} and "
                f"{run.folder} differ in number, classes or samples; nothing was written. "
                "Make one report for each."
            )
        key = (run.setup, " ".join(task.name for task in run.tasks), run.run_seed)
        if key in seen:
            raise UsageError(
                f"{seen[key].folder} and {run.folder} are the same run (method, configuration, "
                "order and seed), which would count twice in means and deviations; nothing was "
                "written. Name one of them."
            )
        seen[key] = run


def varied(runs: Sequence[Run]) -> list[str]:
    """Return the settings in which runs of one title differ, in alphabetical order."""
    keys: set[str] = set()
    for title in {run.title for run in runs}:
        settings = [run.settings for run in runs if run.title == title]
        named = {key for own in settings for key in own}
        keys |= {k for k in named if any(own.get(k) != settings[0].get(k) for own in settings)}
    return sorted(keys)


def _differing_settings(runs: Sequence[Run]) -> dict[str, str]:
    """Say by setup in which settings it differs from others of its title.

    The value that most of them share is left out: the rows of an ablation are named by what each
    changes, those of a grid by all that varies.
    """
    differing = {}
    for title in {run.title for run in runs}:
        namesakes = [run for run in runs if run.title == title]
        usual = {key: _usual([r.settings.get(key) for r in namesakes]) for key in varied(namesakes)}
        for run in namesakes:
            settings = ((key, run.settings.get(key)) for key in usual)
            texts = [_setting(run.method, k, v) for k, v in settings if [v] != usual[k]]
            differing[run.setup] = ", ".join(texts)
    return differing


def _usual(values: Sequence[object]) -> list[object]:
    """Return the value that is there most often, in a list; an empty one when several are."""
    counts = [values.count(value) for value in values]
    usual = [value for value, count in zip(values, counts, strict=True) if count == max(counts)]
    return usual[:1] if all(value == usual[0] for value in usual) else []


def _setting(method: str, key: str, value: object) -> str:
    if method == "bmc" and key in WITHOUT and value == 0:
        return WITHOUT[key]
    shown = f"{value:g}" if isinstance(value, float) else value
    return f"{SIGNS.get(key, key.replace('_', ' '))} {shown}"
