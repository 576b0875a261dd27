"""One run from stream to results: learn group by group, evaluate, checkpoint, resume."""

from __future__ import annotations

import platform
from bisect import bisect_right
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autods.core.cores import intra_op_threads, usable_cores
from autods.core.files import locked
from autods.core.progress import Progress, Silent
from autods.streams.stream import Stream, Task
from bmc.config import Config
from bmc.engines import Engine, LocalEngine
from bmc.engines.base import use_precision
from bmc.methods import METHODS, Method
from bmc.methods.fit import check_fitting
from bmc.runs import metrics
from bmc.runs.divergence import RunDiverged, check_finite, guarded, scores_diverged
from bmc.runs.evaluate import Row, evaluate, measure_ahead
from bmc.runs.folder import RunFolder, RunState, plain
from bmc.runs.grid import measured_after
from bmc.runs.identity import effective, identity_of, on_device
from bmc.runs.trackers import Tracker, tracked
from bmc.runs.within import within
from bmc.train import costs
from bmc.train.data import TaskTensors, check_samples, to_tensors
from bmc.train.phases import EVALUATE, LEARN, LOAD, OTHER, START, WRITE, Stopwatch, writing_is_due

LOCK_SECONDS = 2.0  # a run is long: say at once that it is busy
AHEAD = (
    "task-il accuracy on each task: untrained, of the network with its initial weights (b of "
    "forward transfer); before, at the last evaluation before the task was learned"
)
COUNTERS = ("steps", "seen", "communication_bytes", "broadcast_bytes")  # of a method
MATRICES = {"class-il": "class_il", "task-il": "task_il", "dataset-id": "dataset_id"}


def run(
    stream: Stream,
    method_name: str,
    config: Config,
    folder: Path,
    *,
    device: torch.device | None = None,
    engine: Engine | None = None,
    threads: int = 1,
    resume: bool = False,
    report: Progress | None = None,
    tracker: Tracker | None = None,
    watch: Stopwatch | None = None,
) -> Path:
    """Train one method on a stream and write its run folder.

    A finished run is kept, an interrupted one continues after its last finished group and
    ends with the same results, both only with ``resume``. The default device is the CPU. Results
    do not depend on the engine that trains experts, and a run may be resumed with another one.
    It computes with ``threads`` threads, on which the last bits of sums depend; more than one wait
    for each other in every product, and are slow beside other programs.
    ``report`` receives progress in tasks; a tracker follows the run unless it is finished.
    ``watch`` is one that a command started when it began, so that what it did before counts.

    Raises
    ------
    RunExists, RunMismatch
        See `bmc.runs.folder.RunFolder.begin`.
    CheckpointError
        When a checkpoint cannot be written, or the present one is damaged.
    Busy
        When another process works on this run.
    ClusterError
        When the engine's cluster cannot do the work; the last checkpoint is kept.
    RunDiverged
        When weights, statistics or scores are no longer finite; the folder is marked.
    UsageError
        When the method cannot learn this stream, or of `bmc.train.data.check_samples`.
    """
    watch = watch or Stopwatch(START)
    device = device or torch.device("cpu")
    report = report or Silent()
    config = on_device(method_name, effective(method_name, config, stream), device)
    method_class = METHODS.get(method_name)
    target = RunFolder(folder)
    check_samples(stream, config.evaluate_on)
    check_fitting([method_name], stream, config, {})
    with locked(folder / "run", timeout=LOCK_SECONDS), intra_op_threads(threads):
        identity = identity_of(stream, method_name, config, device)
        target.begin(identity, resume)
        if target.results.exists():
            return folder
        if (known := target.divergence()) is not None:
            raise RunDiverged(known)
        with tracked(tracker, folder, identity) as follower:
            method = method_class(stream.dim, stream.n_classes, config, device)
            state = _restored(target, method, device)
            watch.add(state.seconds)
            method.watch = watch
            method.engine = engine or LocalEngine()
            _announce(method, stream, state.done)
            costs.reset_peak(device)
            use_precision(config)
            with watch.phase(LOAD, device):
                tasks = to_tensors(stream, device)
            watch.continue_as(OTHER)
            try:
                _learn_all(method, tasks, state, target, report, follower)
            except RunDiverged as error:
                report.finish()
                target.mark_diverged(str(error), state.done)
                raise
            with watch.phase(WRITE):
                results = _results(stream, method, state)
                target.save_matrices(results)
            target.finish(results, _timing(method, target.checkpoint.stat().st_size))
            _follow_end(follower, target, results)
    return folder


def _announce(method: Method, stream: Stream, done: int) -> None:
    """Tell the engine which experts are to come."""
    if method.has_experts and done < len(stream.tasks):
        rows = [len(task.train) for task in stream.tasks[done:]]
        method.engine.expect(rows, method.group_size(len(stream.tasks)), method.config)


def _restored(target: RunFolder, method: Method, device: torch.device) -> RunState:
    """Restore a method from the checkpoint, if there is one."""
    checkpoint = target.load(device)
    if checkpoint is None:
        return RunState()
    tensors, state = checkpoint
    method.load_state(tensors)
    for name in COUNTERS:
        setattr(method, name, state.counters[name])
    return state


def _learn_all(
    method: Method,
    tasks: list[TaskTensors],
    state: RunState,
    target: RunFolder,
    report: Progress,
    follower: Tracker,
) -> None:
    groups = method.group_ends(len(tasks))
    ends = measured_after(method.config.evaluate_every, groups)
    watch = method.watch
    report.start(method.title, len(tasks), "tasks", done=state.done)
    for stop in groups[bisect_right(groups, state.done) :]:
        first = state.done
        group = tasks[first:stop]
        if method.config.measure_ahead and state.done == (state.learned or [0])[-1]:
            with watch.phase(EVALUATE, method.device):
                following = next(end for end in ends if end > first)
                _look_ahead(method, tasks, tasks[first:following], state)
        with watch.phase(LEARN, method.device), within(report, group):
            begun = method.steps
            guarded(method, group, partial(method.learn, group))
        means = {}
        if stop in ends:
            with watch.phase(EVALUATE, method.device), within(report, group, measuring=True):
                row = guarded(method, group, partial(evaluate, method, tasks))
                if not row.finite:
                    raise scores_diverged(method, tasks[:stop], group, begun)
                state.done = stop
                means = _record(row, state)
            if stop == len(tasks):
                with watch.phase(WRITE):
                    target.save_samples(row.right, row.answers)
        state.counters = {name: getattr(method, name) for name in COUNTERS}
        with watch.phase(WRITE, method.device):
            tensors = guarded(method, group, method.state)
            check_finite(method, group, tensors, begun)
            state.done = stop
            state.seconds = watch.whole()
            if stop == len(tasks) or writing_is_due(state.seconds):
                target.save(tensors, state)
        report.advance(len(group))
        report.detail("")
        if means:
            follower.scalars(state.done, means)
    report.finish()


def _record(row: Row, state: RunState) -> dict[str, float]:
    """Add a row to the matrices; return its means over tasks, as far as any was measured."""
    state.learned.append(state.done)
    means = {}
    for name, attribute in MATRICES.items():
        accuracies = getattr(row, attribute)
        state.rows.setdefault(name, []).append(plain(accuracies))
        if not np.isnan(accuracies).all():
            means[f"mean accuracy/{name}"] = float(np.nanmean(accuracies))
    return means


def _look_ahead(
    method: Method, tasks: list[TaskTensors], following: list[TaskTensors], state: RunState
) -> None:
    """Record accuracies on the tasks up to the next evaluation; before any training, on all."""
    first = following[0].index
    row = measure_ahead(method, following if first else tasks)
    if row is None:
        return
    if first == 0:
        state.ahead = {"untrained": plain(row), "before": [None] * len(tasks)}
    else:
        state.ahead["before"][first : first + len(following)] = plain(row)


def _follow_end(follower: Tracker, target: RunFolder, results: dict[str, Any]) -> None:
    """Hand a tracker the metrics and matrices.

    No JSON: a copy of ``results.json`` in a tracker's folder would be taken for a run.
    """
    for scenario, values in results["metrics"].items():
        known = {f"{scenario}/{k}": v for k, v in values.items() if v is not None}
        follower.scalars(results["learned"][-1], known)
    for path in sorted(target.path.glob("R_*.csv")):
        follower.file(path)


def _results(stream: Stream, method: Method, state: RunState) -> dict[str, Any]:
    sizes = [len(getattr(task, method.config.evaluate_on)) for task in stream.tasks]
    R = {name: np.array(rows, dtype=np.float64) for name, rows in state.rows.items()}
    measured = {
        name: metrics.summary(R[name], state.learned, sizes) for name in ("class-il", "task-il")
    }
    dataset_id = metrics.final_mean(R["dataset-id"])
    class_il = measured["class-il"]
    class_il["dataset_id"] = dataset_id
    class_il["within_dataset"] = metrics.within_dataset(class_il["final_mean"], dataset_id)
    ahead = {name: np.array(row, np.float64) for name, row in state.ahead.items()}
    if ahead:
        measured["task-il"]["fwt_gem"] = metrics.fwt_gem(ahead["before"], ahead["untrained"])
    identity = identity_of(stream, method.name, method.config, method.device)
    return identity | {
        "title": method.title,
        "order_free": method.order_free,
        "reference": method.reference,
        "protocol": stream.provenance["protocol"],
        "order_seed": stream.provenance["order_seed"],
        "run_seed": method.config.seed,
        "tasks": [_task(task) for task in stream.tasks],
        "learned": state.learned,
        "R": state.rows,
        "ahead": state.ahead and state.ahead | {"meaning": AHEAD},
        "metrics": {
            name: {k: None if np.isnan(v) else float(v) for k, v in values.items()}
            for name, values in measured.items()
        },
        "costs": _costs(stream, method, measured[stream.scenario]["final_mean"]),
        "records": method.records(),
    }


def _task(task: Task) -> dict[str, Any]:
    """Return what results say of a task: its names, and numbers of classes and samples."""
    return {
        "name": task.name,
        "dataset": task.dataset,
        "label_set": task.label_set,
        "class_names": task.class_names,
        "classes": len(task.class_names),
        "train": len(task.train),
        "test": len(task.test),
        "dev": len(task.dev),
    }


def _costs(stream: Stream, method: Method, final_mean: float) -> dict[str, Any]:
    memory, sent = method.memory_bytes(), method.communication_bytes
    total = memory + sent + method.broadcast_bytes
    travels = not (method.has_experts or method.distributed)
    rows = sum(len(task.train) for task in stream.tasks)
    return {
        "communication_bytes": sent,
        "broadcast_bytes": method.broadcast_bytes,
        "memory_bytes": memory,
        "total_bytes": total,
        "central_bytes": costs.samples_bytes(rows, stream.dim) if travels else 0,
        "cost_accuracy": costs.cost_accuracy(final_mean, total),
        "steps": method.steps,
    }


def _timing(method: Method, checkpoint_bytes: int) -> dict[str, Any]:
    seconds = method.watch.whole()
    return {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "engine": method.engine.name,
        "checkpoint_bytes": checkpoint_bytes,
        "seconds": {**seconds, "total": sum(seconds.values())},
        "peak_host_bytes": costs.peak_host_bytes(),
        "peak_device_bytes": costs.peak_device_bytes(method.device),
        **method.engine.peaks(),
        "machine": {
            "python": platform.python_version(),
            "cores": usable_cores(),
            "threads": torch.get_num_threads(),
            "workers": method.engine.workers if method.has_experts else 1,
        },
    }
