"""Finished runs read together, and what each says only beside others.

Relative time and intransigence need other runs, and metrics that depend on when a run was measured
are taken over the evaluations that all share: `related` adds them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bmc.report.finished import Run, read_run
from bmc.runs import metrics

BASE_OF_TIME = "finetune"  # the method whose time is 100 %
JOINT = "joint"  # the method whose final accuracies are the reference of intransigence


def load_runs(folders: Sequence[Path]) -> list[Run]:
    """Read finished runs, each folder once, with what `related` adds.

    Raises `UsageError` if a folder holds no finished run or its results cannot be understood.
    """
    runs = [read_run(folder) for folder in dict.fromkeys(p.resolve() for p in folders)]
    return [run for members in sections(runs).values() for run in related(members)]


def sections(runs: Sequence[Run]) -> dict[tuple[str, ...], list[Run]]:
    """Split runs by stream, scenario, protocol, number of tasks and encoder, sorted by these.

    The runs of a section fit in one table.
    """
    by_key: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        tasks = f"{len(run.tasks)} tasks"
        key = (run.stream, run.scenario, run.protocol, tasks, run.encoder or "")
        by_key.setdefault(key, []).append(run)
    return dict(sorted(by_key.items()))


def related(runs: Sequence[Run]) -> list[Run]:
    """Return the runs with what follows from reading them together, as far as it is known.

    ``costs.relative_time`` is the learning time over that of the fine-tuning run with the same
    order, seed, epochs and device; ``intransigence`` needs the joint run with the same order,
    seed and epochs. It and the metrics of `bmc.runs.metrics.ON_GRID` are taken over
    `shared_evaluations`, and unknown if the runs share only the last.
    """
    finetune = {
        (_course(run), run.device): run.costs.learning_seconds
        for run in runs
        if run.method == BASE_OF_TIME
    }
    joint = {_course(run): run for run in runs if run.method == JOINT}
    shared = shared_evaluations(runs)
    related_runs = []
    for run in runs:
        course = _course(run)
        seconds, base = run.costs.learning_seconds, finetune.get((course, run.device))
        relative = seconds / base if seconds is not None and base else None
        values = {}
        for scenario, alone in run.metrics.items():
            together = _on_grid(run, scenario, shared, joint.get(course))
            known = {k: None if math.isnan(v) else v for k, v in together.items()}
            values[scenario] = {**alone, **known}
        costs = run.costs.model_copy(update={"relative_time": relative})
        update = {"costs": costs, "metrics": values, "compared_at": shared}
        related_runs.append(run.model_copy(update=update))
    return related_runs


def shared_evaluations(runs: Sequence[Run]) -> list[int]:
    """Return after how many tasks all runs were measured; those measured once do not count."""
    learned = [set(run.learned) for run in runs if not run.measured_once]
    return sorted(set.intersection(*learned)) if learned else []


def shared_note(runs: Sequence[Run]) -> str:
    """Say over which evaluations the metrics that depend on them are, where runs differ."""
    shared = shared_evaluations(runs)
    if all(run.measured_once or run.learned == shared for run in runs):
        return ""
    what = "average incremental and forgetting"
    if len(shared) < 2:
        return f"{what}: left out, the runs were measured after different tasks"
    shown = ", ".join(map(str, shared if len(shared) <= 6 else [*shared[:4], "...", shared[-1]]))
    return f"{what}: over the {len(shared)} evaluations that all have, after {shown} tasks"


def _course(run: Run) -> tuple[object, ...]:
    """Return what two runs must share for one to be measured by the other."""
    names = tuple(task.name for task in run.tasks)
    return run.stream, names, run.run_seed, run.config.get("epochs"), run.config.get("evaluate_on")


def _matrix(run: Run, scenario: str) -> npt.NDArray[np.float64]:
    return np.array(run.R.get(scenario, []), dtype=np.float64)


def _on_grid(run: Run, scenario: str, shared: Sequence[int], joint: Run | None) -> dict[str, float]:
    """Return the metrics that depend on the evaluation grid, over the shared rows; NaN: unknown."""
    values = dict.fromkeys((*metrics.ON_GRID, "intransigence"), math.nan)
    kept = [k for k, learned in enumerate(run.learned) if learned in shared]
    if run.learned != shared and "fwt_gem" in run.metrics[scenario]:
        values["fwt_gem"] = math.nan
    R = _matrix(run, scenario)
    if not len(R) or (len(kept) < 2 and len(run.tasks) > 1):
        return values
    R, learned = R[kept], [run.learned[k] for k in kept]
    sizes = [size or 0 for size in run.test_sizes().values()]
    summary = metrics.summary(R, learned, sizes)
    values |= {name: summary[name] for name in metrics.ON_GRID}
    if joint is not None and run.method != JOINT and scenario in joint.R:
        last = _matrix(joint, scenario)[-1]
        values["intransigence"] = metrics.intransigence(R, learned, last)
    return values
