"""Trackers: where the numbers of a run go while it trains, beside its own folder.

A tracker has four methods, `begin`, `scalars`, `file` and `end`. A tracker that fails is
reported once; the run continues. ``--tracker`` names any of `TRACKERS`; their packages are
imported when a run begins.
"""

from __future__ import annotations

import json
import math
import os
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

from autods.core.extras import require
from autods.core.files import read_json, write_json
from autods.errors import UsageError

Status = Literal["finished", "failed", "interrupted"]
PROJECT = "bmc-stream"  # how runs are filed where a tracker has projects or experiments


class Tracker(Protocol):
    """Follows runs, one after the other."""

    def begin(self, folder: Path, identity: Mapping[str, Any]) -> None:
        """Begin the run of a folder, or go on with it; ``identity`` is all that determines it."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log numbers by name, measured after ``step`` learned tasks."""

    def file(self, path: Path) -> None:
        """Store a file of the run."""

    def end(self, status: Status) -> None:
        """End the run."""


class TensorBoard:
    """Writes events to the folder ``tensorboard`` of a run; files lie beside it already."""

    @staticmethod
    def packages() -> Sequence[str]:
        """Return what must be installed."""
        return ("tensorboard",)

    def begin(self, folder: Path, identity: Mapping[str, Any]) -> None:
        """Open the events and write the identity as text."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"))
        text = json.dumps(identity, indent=2, default=str).replace("\n", "\n    ")
        self._writer.add_text("run", f"    {text}")  # indented by four: markdown leaves it alone

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write the numbers at once, so that they can be watched."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def file(self, path: Path) -> None:
        """Leave the file in the run folder, where the events are too."""

    def end(self, status: Status) -> None:
        """Close the events."""
        self._writer.close()


class WeightsAndBiases:
    """Runs of the project ``bmc-stream`` (or ``WANDB_PROJECT``) of Weights & Biases.

    ``WANDB_MODE=offline`` and its other variables are respected. Local files are in the run folder.
    """

    @staticmethod
    def packages() -> Sequence[str]:
        """Return what must be installed."""
        return ("wandb",)

    def begin(self, folder: Path, identity: Mapping[str, Any]) -> None:
        """Begin a run, or continue the one that the folder names."""
        import wandb

        self._folder = folder
        settings = wandb.Settings(
            login_timeout=60, init_timeout=30,  # seconds; nobody, or no host, may answer
            silent=True, console="off", disable_git=True, disable_code=True,
        )  # fmt: skip
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT), name=folder.name, dir=str(folder),
            id=_remembered(folder, "wandb", lambda: uuid.uuid4().hex), resume="allow",
            config=dict(identity), settings=settings,
        )  # fmt: skip

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log the numbers of one step."""
        self._run.log(dict(values), step=step)

    def file(self, path: Path) -> None:
        """Save the file with the run."""
        self._run.save(str(path), base_path=str(self._folder), policy="now")

    def end(self, status: Status) -> None:
        """Finish the run; one that was not finished is marked as failed."""
        self._run.finish(exit_code=0 if status == "finished" else 1)


class MLflow:
    """Runs of the experiment ``bmc-stream`` (or ``MLFLOW_EXPERIMENT_NAME``) of MLflow.

    They are stored at ``MLFLOW_TRACKING_URI``, else in a database ``mlflow.db`` in the current
    folder, where ``mlflow ui`` finds them.
    """

    states: Mapping[str, str] = {
        "finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED",
    }  # fmt: skip

    @staticmethod
    def packages() -> Sequence[str]:
        """Return what must be installed; a database needs more than mlflow-skinny brings."""
        place = os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:"
        return ("mlflow", "sqlalchemy", "alembic") if place.startswith("sqlite:") else ("mlflow",)

    def begin(self, folder: Path, identity: Mapping[str, Any]) -> None:
        """Begin a run, or continue the one that the folder names."""
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self._client = MlflowClient()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        known = self._client.get_experiment_by_name(name)
        experiment = known.experiment_id if known else self._client.create_experiment(name)

        def made() -> str:
            created = self._client.create_run(experiment, run_name=folder.name)
            params = [
                Param(re.sub(r"[^\w\-. :/]", "_", key), str(value)[:500])  # letters MLflow takes
                for key, value in _flatten(identity).items()
            ]
            for first in range(0, len(params), 100):  # as many as MLflow takes at once
                self._client.log_batch(created.info.run_id, params=params[first : first + 100])
            return str(created.info.run_id)

        self._run = _remembered(folder, "mlflow", made)
        self._client.update_run(self._run, status="RUNNING")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log the numbers of one step."""
        import time

        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, step) for name, value in values.items()]
        self._client.log_batch(self._run, metrics=metrics)

    def file(self, path: Path) -> None:
        """Keep a copy of the file with the run."""
        self._client.log_artifact(self._run, str(path))

    def end(self, status: Status) -> None:
        """Record how the run ended."""
        self._client.set_terminated(self._run, self.states[status])


TRACKERS: Mapping[str, type[TensorBoard] | type[WeightsAndBiases] | type[MLflow]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "mlflow": MLflow,
}


class Trackers:
    """Several trackers as one. A tracker that fails is left out from then on.

    ``warn`` receives one line about it, by its name in ``named``.
    """

    def __init__(self, named: Mapping[str, Tracker], warn: Callable[[str], None]) -> None:
        self._named = dict(named)
        self._warn = warn

    def begin(self, folder: Path, identity: Mapping[str, Any]) -> None:
        """Begin a run everywhere."""
        self._each(lambda tracker: tracker.begin(folder, identity))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Pass numbers on, without those that are undefined (NaN)."""
        known = {name: value for name, value in values.items() if not math.isnan(value)}
        self._each(lambda tracker: tracker.scalars(step, known))

    def file(self, path: Path) -> None:
        """Pass a file on."""
        self._each(lambda tracker: tracker.file(path))

    def end(self, status: Status) -> None:
        """End the run everywhere."""
        self._each(lambda tracker: tracker.end(status))

    def _each(self, call: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._named.items()):
            try:
                call(tracker)
            except Exception as error:  # whatever a tracker raises, the run goes on
                del self._named[name]
                reason = " ".join(str(error).split()) or type(error).__name__
                self._warn(
                    f"Tracker {name} failed and is left out from here on: {reason[:300]} The run "
                    "goes on; its own folder has all results."
                )


def trackers_of(text: str, warn: Callable[[str], None]) -> Trackers:
    """Return the trackers of a comma-separated list of names, which may be empty.

    Refuses unknown names, and trackers whose package is not installed.
    """
    from autods.core.registry import unknown

    names = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    for name in names:
        if name not in TRACKERS:
            raise unknown("tracker", name, TRACKERS)
        require(f"--tracker {name}", *TRACKERS[name].packages())
    return Trackers({name: TRACKERS[name]() for name in names}, warn)


@contextmanager
def tracked(
    tracker: Tracker | None, folder: Path, identity: Mapping[str, Any]
) -> Iterator[Tracker]:
    """Begin a run with a tracker (``None``: with none) and end it as the body ends."""
    tracker = tracker if tracker is not None else Trackers({}, print)
    tracker.begin(folder, identity)
    status: Status = "interrupted"
    try:
        yield tracker
        status = "finished"
    except Exception:  # noted, and raised again
        status = "failed"
        raise
    finally:
        tracker.end(status)


def _remembered(folder: Path, name: str, make: Callable[[], str]) -> str:
    """Return the identifier of a folder's run, made once and kept in ``trackers.json``."""
    path = folder / "trackers.json"
    try:
        known: dict[str, str] = dict(read_json(path)) if path.exists() else {}
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"{path}: expected the identifiers of a run's trackers, but {error}; nothing was run. "
            "Delete this file: the run gets new identifiers."
        ) from None
    if name not in known:
        known[name] = make()
        write_json(path, known)
    return known[name]


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested mapping with dotted names."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        nested = isinstance(value, Mapping) and value
        flat |= _flatten(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
    return flat
