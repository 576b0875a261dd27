"""One finished run, read from its ``results.json`` and ``timing.json`` and checked."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from autods.core.files import hash_file, read_json
from autods.core.seals import CHANGED
from autods.errors import UsageError
from autods.features.encoder_names import remark_on
from bmc.runs.samples import SAMPLES, Answers, check_hash, read_answers, read_samples
from bmc.train.phases import OUTSIDE_LEARNING

if TYPE_CHECKING:
    from collections.abc import Mapping

# runs that differ in these only are repeats: in seeds, and in when they were measured
SEEDS = frozenset({"seed", "run_seed", "order_seed", "evaluate_every"})


class TaskInfo(BaseModel):
    """One task of the run's stream; ``train``, ``test`` and ``dev`` count samples.

    Results of earlier versions know neither ``dev``, ``label_set`` nor ``class_names``.
    """

    name: str
    dataset: str
    classes: int
    train: int
    test: int
    dev: int | None = None
    label_set: str = ""
    class_names: list[str] = []

    @property
    def counts(self) -> tuple[str, str, int, int, int]:
        """What two runs of a task agree in, whatever their versions."""
        return self.name, self.dataset, self.classes, self.train, self.test


class Costs(BaseModel):
    """What a run cost; ``seconds`` (per phase, and ``total``) and peaks may be unknown."""

    model_config = ConfigDict(allow_inf_nan=False)

    communication_bytes: int
    memory_bytes: int
    total_bytes: int
    cost_accuracy: float | None
    steps: int
    seconds: dict[str, float] = {}
    relative_time: float | None = None  # set by `related`
    peak_host_bytes: int | None = None
    peak_device_bytes: int | None = None
    broadcast_bytes: int = 0
    central_bytes: int | None = None  # of the training data that must travel; 0 if messages do

    @property
    def distributed_bytes(self) -> int | None:
        """The total cost where each task's data are elsewhere: they travel, unless messages do."""
        return None if self.central_bytes is None else self.total_bytes + self.central_bytes

    @property
    def learning_seconds(self) -> float | None:
        """Wall time without evaluation, and without reading and writing."""
        total = self.seconds.get("total")
        left_out = (self.seconds.get(phase, 0.0) for phase in OUTSIDE_LEARNING)
        return None if total is None else total - sum(left_out)


class Run(BaseModel):
    """One finished run.

    ``learned`` counts the tasks learned at each of S evaluations. By scenario, ``R`` holds the
    accuracies [S, T] (fractions, ``None`` where not learned yet), ``metrics`` fractions by name.
    ``order_free`` and ``reference`` are those of `bmc.methods.base.Method`.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    format: Literal[2]
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
    path: Path | None = Field(default=None, exclude=True)  # of the folder, for `samples`
    finished: datetime | None = Field(default=None, exclude=True)  # when it was written
    # sha256 of the files beside the results; runs of earlier versions have none
    files: dict[str, str] = Field(default_factory=dict, exclude=True)
    order_free: bool = False
    reference: bool = False
    # tasks learned at the evaluations that it is compared at; `related` sets it, None: all its own
    compared_at: list[int] | None = Field(default=None, exclude=True)

    def __repr__(self) -> str:
        final = self.metrics[self.scenario].get("final_mean")
        accuracy = "unknown" if final is None else f"{100 * final:.1f} %"
        return f"Run({self.method} on {self.stream}, {self.scenario} accuracy {accuracy})"

    __str__ = __repr__

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
    def settings(self) -> dict[str, Any]:
        """The configuration without seeds and grid: shared fields, the method's own options."""
        values = {**self.config, **(self.config.get("options") or {})}
        return {k: v for k, v in values.items() if k not in SEEDS and k != "options"}

    @property
    def setup(self) -> str:
        """The method and its settings: equal for repeats."""
        return f"{self.method} {json.dumps(self.settings, sort_keys=True, default=str)}"

    @property
    def measured_once(self) -> bool:
        """Whether several tasks were learned before the only evaluation, as by joint training."""
        return len(self.learned) == 1 and self.learned[0] > 1

    @property
    def encoder(self) -> str | None:
        """The encoder that made the features, if any did."""
        return self.provenance.get("encoder_name")

    @property
    def caution(self) -> str | None:
        """What a reader must know before trusting the numbers, or ``None``."""
        if self.config.get("evaluate_on") == "dev":
            return "Measured on development data, for tuning; not a result to be reported."
        if self.stream == "synthetic" or "parameters" in self.provenance:
            return "The features are generated by a seeded model; no image was seen."
        return remark_on(self.encoder or "") or None

    @property
    def order(self) -> str:
        """The order of the tasks in words."""
        return "default order" if self.order_seed is None else f"order seed {self.order_seed}"

    def final(self, scenario: str) -> dict[str, float | None]:
        """Return accuracy by task name after the last evaluation."""
        if scenario not in self.R:
            return {}
        return {t.name: v for t, v in zip(self.tasks, self.R[scenario][-1], strict=True)}

    def test_sizes(self) -> dict[str, int | None]:
        """Return by task name how many samples were measured; ``None`` where a run says not."""
        on_dev = self.config.get("evaluate_on") == "dev"
        return {task.name: task.dev if on_dev else task.test for task in self.tasks}

    def samples(self, scenario: str) -> dict[str, npt.NDArray[np.uint8]] | None:
        """Read which samples were right at the last evaluation: by task name, uint8 [n] of 0 and 1.

        The samples of a task are in the stored order of its split, which is the same for all
        methods and orders; a task without samples has an empty array. ``None`` for a run of a
        version that did not store them. Raises `UsageError` if the file is damaged, or does not
        agree with the results.
        """
        if self.path is None or scenario not in self.R:
            return None
        path = self.path / SAMPLES
        right = read_samples(path, scenario, self.test_sizes(), self.final(scenario))
        if right is not None and (written := self.files.get(SAMPLES)):
            check_hash(path, written)
        return right

    def answers(self) -> dict[str, Answers] | None:
        """Read what the class-il answers at the last evaluation were, by task name.

        Samples are those of `samples`. ``None`` for a run of a version that did not store them.
        Raises `UsageError` if the file is damaged, or does not agree with the results.
        """
        if self.path is None:
            return None
        path = self.path / SAMPLES
        classes = sum(task.classes for task in self.tasks)
        found = read_answers(path, self.test_sizes(), self.final("class-il"), classes)
        if found is not None and (written := self.files.get(SAMPLES)):
            check_hash(path, written)
        return found

    def forgetting(self, scenario: str) -> dict[str, float | None]:
        """Return by task name its best accuracy before the last evaluation minus its last.

        Negative when the task improved; ``None`` for tasks measured only once. The mean
        over tasks is the forgetting of Chaudhry et al. 2018 (arXiv 1801.10112, eq. 3), over the
        evaluations ``compared_at``.
        """
        *before, last = self.R.get(scenario) or [[None] * len(self.tasks)]
        if self.compared_at is not None:
            pairs = zip(before, self.learned, strict=False)
            before = [row for row, learned in pairs if learned in self.compared_at]
        drops: dict[str, float | None] = {}
        for task, end, *past in zip(self.tasks, last, *before, strict=True):
            best = max((value for value in past if value is not None), default=None)
            drops[task.name] = None if best is None or end is None else best - end
        return drops


def read_run(folder: Path) -> Run:
    """Read one finished run; errors as of `bmc.report.load.load_runs`."""
    path = folder / "results.json"
    if not path.is_file():
        raise UsageError(
            f"expected a finished run in {folder}, but it has no results.json; nothing was "
            "written. Finish the run with --resume, or name another folder."
        )
    fields = _read_object(path)
    timing_path = folder / "timing.json"
    timing = _read_object(timing_path) if timing_path.is_file() else {}
    try:
        costs = {**fields.get("costs", {}), **timing}
        place = {"folder": folder.name, "path": folder, "finished": _finished(path, timing)}
        run = Run.model_validate({**fields, **place, "costs": costs})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "as a whole"
        if where == "format":
            first["msg"] = f"expected 2, got {fields.get('format')}"
        raise UsageError(
            f"{path}{' or timing.json' if timing else ''}, field {where}: {first['msg']}; nothing "
            f"of it was used. Was it written by another version? {_again(folder)}"
        ) from None
    _check_matrices(run, folder)
    return run


def _check_matrices(run: Run, folder: Path) -> None:
    """Refuse a run beside which an accuracy matrix is not what was written."""
    for path in sorted(folder.glob("R_*.csv")):
        written = run.files.get(path.name)
        if written not in (None, hash_file(path, "sha256")):
            raise UsageError(
                f"{path}: {CHANGED}; nothing of it was used. Delete it: results.json beside "
                "it has its numbers."
            )


def _finished(path: Path, timing: Mapping[str, Any]) -> object:
    """Return when a run ended; earlier versions did not write it, but their file has a date."""
    return timing.get("finished") or datetime.fromtimestamp(path.stat().st_mtime, UTC)


def _read_object(path: Path) -> dict[str, Any]:
    try:
        fields = read_json(path)
    except ValueError as error:
        reason = str(error)
    else:
        if isinstance(fields, dict):
            return fields
        reason = f"it holds a {type(fields).__name__}"
    raise UsageError(
        f"expected a JSON object in {path}, but: {reason}; nothing of it was used. "
        f"{_again(path.parent)}"
    )


def _again(folder: Path) -> str:
    return f"Move {folder} away, then run the method again."
