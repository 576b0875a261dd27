"""One finished run as its ``results.json`` describes it: read, check, look up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from autods.errors import UsageError

SEEDS = frozenset({"seed", "run_seed", "order_seed"})  # runs that differ in these only are repeats


class TaskInfo(BaseModel):
    """One task of the run's stream; ``train`` and ``test`` count samples."""

    name: str
    dataset: str
    classes: int
    train: int
    test: int


class Costs(BaseModel):
    """What a run cost, in bytes and seconds."""

    model_config = ConfigDict(allow_inf_nan=False)

    communication_bytes: int
    memory_bytes: int
    total_bytes: int
    cost_accuracy: float | None
    seconds: dict[str, float]
    relative_time: float | None
    peak_host_bytes: int | None
    peak_device_bytes: int | None
    steps: int

    @model_validator(mode="after")
    def _check(self) -> Costs:
        if "total" not in self.seconds:
            raise ValueError("seconds holds no 'total'")
        return self


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


def load(folder: Path) -> Run:
    """Read the results of one run folder.

    Raises
    ------
    UsageError
        When the folder holds no finished run, or its results cannot be understood.
    """
    path = folder / "results.json"
    if not path.is_file():
        raise UsageError(
            f"expected a finished run in {folder}, but it has no results.json; nothing was "
            "written. Finish the run with --resume, or name another folder."
        )
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        return Run.model_validate({**fields, "folder": folder.resolve().name})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "as a whole"
        raise UsageError(
            f"{path}, field {where}: {first['msg']}; nothing was written. "
            "Was it written by another version? Run the method again."
        ) from None
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"expected the results of a run in {path}, but it is not such JSON ({error}); nothing "
            "was written. Run the method again."
        ) from None
