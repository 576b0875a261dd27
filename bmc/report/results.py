"""Finished runs as ``results.json`` and ``timing.json`` describe them: read, check, look up."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from autods.errors import UsageError

BASE_OF_TIME = "finetune"  # the method whose time is 100 %
SEEDS = frozenset({"seed", "run_seed", "order_seed"})  # runs that differ in these only are repeats


class TaskInfo(BaseModel):
    """One task of the run's stream; ``train`` and ``test`` count samples."""

    name: str
    dataset: str
    classes: int
    train: int
    test: int


class Costs(BaseModel):
    """What a run cost; times and peaks (``timing.json``) may be unknown.

    Attributes
    ----------
    seconds
        Wall time per phase, and ``total``.
    relative_time
        Learning time over that of fine-tuning; set when runs are read together.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    communication_bytes: int
    memory_bytes: int
    total_bytes: int
    cost_accuracy: float | None
    steps: int
    seconds: dict[str, float] = {}
    relative_time: float | None = None
    peak_host_bytes: int | None = None
    peak_device_bytes: int | None = None

    @property
    def learning_seconds(self) -> float | None:
        """Wall time without evaluation, which methods do at different numbers of tasks."""
        total = self.seconds.get("total")
        return None if total is None else total - self.seconds.get("evaluate", 0.0)


class Run(BaseModel):
    """One finished run.

    Attributes
    ----------
    learned
        Number of tasks learned at each of the S evaluations, increasing.
    R
        By scenario, accuracy matrix [S, T] of fractions; ``None`` where not learned yet.
    metrics
        By scenario, the run's own metrics (fractions or ``None``) by name.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    format: Literal[1]
    method: str
    title: str
    stream: str
    scenario: str
    protocol: str
    order_seed: int | None
    run_seed: int
    tasks: list[TaskInfo]
    learned: list[int]
    R: dict[str, list[list[float | None]]]
    metrics: dict[str, dict[str, float | None]]
    costs: Costs
    config: dict[str, Any]
    provenance: dict[str, Any]
    versions: dict[str, Any]
    device: str = ""
    folder: str = ""

    @model_validator(mode="after")
    def _check(self) -> Run:
        names = {task.name for task in self.tasks}
        if not names or len(names) != len(self.tasks):
            raise ValueError("tasks must be given, each under its own name")
        increasing = all(a < b for a, b in zip(self.learned, self.learned[1:], strict=False))
        if not self.learned or not increasing or self.learned[-1] > len(self.tasks):
            raise ValueError(f"learned must increase up to at most {len(self.tasks)} tasks")
        if self.scenario not in self.R:
            raise ValueError(f"R holds no accuracies for the run's own scenario {self.scenario}")
        for name, rows in self.R.items():
            if len(rows) != len(self.learned) or any(len(r) != len(self.tasks) for r in rows):
                raise ValueError(
                    f"R of {name} must have {len(self.learned)} rows of {len(self.tasks)} numbers"
                )
            if any(value is not None and not 0 <= value <= 1 for row in rows for value in row):
                raise ValueError(f"R of {name} must hold fractions between 0 and 1")
        return self

    @property
    def setup(self) -> str:
        """The method and its configuration without seeds: equal for repeats."""
        plain = {k: v for k, v in self.config.items() if k not in SEEDS}
        return f"{self.method} {json.dumps(plain, sort_keys=True, default=str)}"

    @property
    def order(self) -> str:
        """The order of the tasks in words."""
        return "default order" if self.order_seed is None else f"order seed {self.order_seed}"

    def final(self, scenario: str) -> dict[str, float | None]:
        """Return accuracy by task name after the last evaluation."""
        if scenario not in self.R:
            return {}
        return {t.name: v for t, v in zip(self.tasks, self.R[scenario][-1], strict=True)}

    def forgetting(self, scenario: str) -> dict[str, float | None]:
        """Return by task name its best accuracy before the last evaluation minus its last.

        Negative when the task improved; ``None`` for tasks measured only once. The mean
        over tasks is the forgetting of Chaudhry et al. 2018 (arXiv 1801.10112, eq. 3).
        """
        *before, last = self.R.get(scenario) or [[None] * len(self.tasks)]
        result: dict[str, float | None] = {}
        for j, task in enumerate(self.tasks):
            past = [row[j] for row in before]
            best = max((value for value in past if value is not None), default=None)
            end = last[j]
            result[task.name] = None if best is None or end is None else best - end
        return result


def load_runs(folders: Sequence[Path]) -> list[Run]:
    """Read finished runs, each folder once, and set their times in relation.

    The relative time of a run is its learning time over that of the fine-tuning run with
    the same order, seed, epochs and device; unknown where no such run is among them.

    Raises
    ------
    UsageError
        When a folder holds no finished run, or its results cannot be understood.
    """
    runs = [_load(folder) for folder in dict.fromkeys(path.resolve() for path in folders)]
    base = {_pace(run): run.costs.learning_seconds for run in runs if run.method == BASE_OF_TIME}
    timed = []
    for run in runs:
        own, other = run.costs.learning_seconds, base.get(_pace(run))
        relative = own / other if own is not None and other else None
        costs = run.costs.model_copy(update={"relative_time": relative})
        timed.append(run.model_copy(update={"costs": costs}))
    return timed


def _pace(run: Run) -> tuple[object, ...]:
    """Return what two runs must share for their times to be compared."""
    names = tuple(task.name for task in run.tasks)
    return run.stream, names, run.run_seed, run.config.get("epochs"), run.device


def _load(folder: Path) -> Run:
    path = folder / "results.json"
    if not path.is_file():
        raise UsageError(
            f"expected a finished run in {folder}, but it has no results.json; nothing was "
            "written. Finish the run with --resume, or name another folder."
        )
    fields, timing = _read_object(path), {}
    if (folder / "timing.json").is_file():
        timing = _read_object(folder / "timing.json")
    try:
        costs = {**fields.get("costs", {}), **timing}
        return Run.model_validate({**fields, "costs": costs, "folder": folder.name})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "as a whole"
        raise UsageError(
            f"{path}{' or timing.json' if timing else ''}, field {where}: {first['msg']}; "
            "nothing was written. "
            "Was it written by another version? Run the method again."
        ) from None


def _read_object(path: Path) -> dict[str, Any]:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        reason = str(error)
    else:
        if isinstance(fields, dict):
            return fields
        reason = f"it holds a {type(fields).__name__}"
    raise UsageError(
        f"expected a JSON object in {path}, but: {reason}; nothing was written. "
        "Run the method again."
    )
