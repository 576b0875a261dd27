"""What one run says only beside others: relative time, intransigence, averages that compare."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bmc.report.load import BASE_OF_TIME, Run, read_run
from bmc.runs import metrics

JOINT = "joint"  # the method whose final accuracies are a*
SHARED = "average_incremental_shared"


def load_runs(folders: Sequence[Path]) -> list[Run]:
    """Read finished runs, each folder once, and set them in relation; see `related`.

    Raises
    ------
    UsageError
        When a folder holds no finished run, or its results cannot be understood.
    """
    return related([read_run(folder) for folder in dict.fromkeys(p.resolve() for p in folders)])


def related(runs: Sequence[Run]) -> list[Run]:
    """Return the runs with what follows from reading them together.

    ``costs.relative_time`` is the learning time over that of the fine-tuning run with the same
    order, seed, epochs and device; ``intransigence`` needs the joint run with the same order,
    seed and epochs; ``average_incremental_shared`` is over `shared_evaluations`. What cannot be
    said stays unknown.
    """
    base = {_pace(run): run.costs.learning_seconds for run in runs if run.method == BASE_OF_TIME}
    joint = {_course(run): run for run in runs if run.method == JOINT}
    rows = shared_evaluations(runs)
    made = []
    for run in runs:
        own, other = run.costs.learning_seconds, base.get(_pace(run))
        relative = own / other if own is not None and other else None
        reference = joint.get(_course(run))
        values = {
            scenario: {
                **known,
                **_known(SHARED, _shared_average(run, scenario, rows)),
                **_known("intransigence", _intransigence(run, scenario, reference)),
            }
            for scenario, known in run.metrics.items()
        }
        costs = run.costs.model_copy(update={"relative_time": relative})
        made.append(run.model_copy(update={"costs": costs, "metrics": values}))
    return made


def shared_evaluations(runs: Sequence[Run]) -> list[int]:
    """Return after how many tasks all runs were measured; those measured once do not count."""
    often = [set(run.learned) for run in runs if not _once(run)]
    return sorted(set.intersection(*often)) if often else []


def shared_note(runs: Sequence[Run]) -> str:
    """Say which evaluations the average incremental accuracy is over, where methods differ."""
    often = [run for run in runs if not _once(run)]
    rows = shared_evaluations(runs)
    if not often or all(run.learned == rows for run in often):
        return ""
    if len(rows) < 2:
        return "average incremental: left out, the runs were measured after different tasks"
    shown = ", ".join(map(str, rows if len(rows) <= 6 else [*rows[:4], "...", rows[-1]]))
    return (
        f"average incremental: over the {len(rows)} evaluations that all have, after {shown} tasks"
    )


def _once(run: Run) -> bool:
    """Tell whether several tasks were learned at once and measured once, as joint training does."""
    return len(run.learned) == 1 and run.learned[0] > 1


def _course(run: Run) -> tuple[object, ...]:
    """Return what a run and the joint run that is its reference must share."""
    names = tuple(task.name for task in run.tasks)
    return run.stream, names, run.run_seed, run.config.get("epochs"), run.config.get("evaluate_on")


def _pace(run: Run) -> tuple[object, ...]:
    """Return what two runs must share for their times to be compared."""
    names = tuple(task.name for task in run.tasks)
    return run.stream, names, run.run_seed, run.config.get("epochs"), run.device


def _known(name: str, value: float) -> dict[str, float]:
    return {} if math.isnan(value) else {name: value}


def _matrix(run: Run, scenario: str) -> npt.NDArray[np.float64]:
    return np.array(run.R.get(scenario, []), dtype=np.float64)


def _shared_average(run: Run, scenario: str, rows: Sequence[int]) -> float:
    R = _matrix(run, scenario)
    sizes = [task.measured(run.config.get("evaluate_on")) for task in run.tasks]
    if not len(R) or _once(run) or None in sizes or (len(rows) < 2 and len(run.learned) > 1):
        return math.nan
    own = R[[k for k, learned in enumerate(run.learned) if learned in rows]]
    if np.isnan(own).all(axis=1).any():
        return math.nan
    return metrics.average_incremental_micro(own, rows, [size or 0 for size in sizes])


def _intransigence(run: Run, scenario: str, joint: Run | None) -> float:
    R = _matrix(run, scenario)
    if joint is None or run.method == JOINT or scenario not in joint.R or not len(R):
        return math.nan
    return metrics.intransigence(R, run.learned, _matrix(joint, scenario)[-1])
