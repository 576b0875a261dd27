"""Measure a base on the test data that are here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from autods.core.cores import intra_op_threads
from autods.core.output import some_of
from autods.errors import FeatureMismatch, UsageError
from bmc.methods.net_method import NetMethod
from bmc.runs import evaluate as runs_evaluate
from bmc.sites.data import differing, encoder_of, left_out, open_tasks, tensors_of
from bmc.sites.model import Base, open_base, open_whole
from bmc.sites.plan import number_of

if TYPE_CHECKING:
    from autods.manifest.catalogue import Catalogue


@dataclass(frozen=True)
class Measured:
    """Accuracies of a base.

    Attributes
    ----------
    rows
        For each task measured: ``task``, ``samples``, and as fractions ``class_il`` (among all
        classes learned), ``task_il`` (among those of its task), ``dataset_id``.
    means
        Their means over tasks.
    """

    rows: list[dict[str, Any]]
    means: dict[str, float]
    notes: list[str]


@intra_op_threads(1)  # as a run: the last bits of sums depend on it
def measure(
    base_path: Path,
    stream: str | None = None,
    *,
    dataset: str | None = None,
    task: str | None = None,
    root: Path | None = None,
    catalogue: Catalogue | None = None,
    device: torch.device | None = None,
) -> Measured:
    """Measure a base on its learned tasks whose test data are here.

    The accuracies are those of a run's last evaluation over the same tasks, bit for bit.

    Parameters
    ----------
    stream
        The datasets to measure, named as `autods.open_stream` does; default: all that the base
        has learned.
    dataset
        Instead of ``stream``: the one dataset to measure, as it is called here.
    task
        Name of its task in the base; default: the dataset's.

    Raises
    ------
    SiteFileDamaged
        When the base is not as it was written.
    FeatureMismatch
        When the features are of another encoder.
    UnknownName, UsageError, FeaturesMissing
        When the base has no such task or has learned none of the datasets, the data have not its
        classes, or features are missing.
    """
    device = device or torch.device("cpu")
    base = open_base(base_path, device)
    if not base.learned:
        raise UsageError(
            f"{base_path} has learned no task yet; nothing was measured. Consolidate the messages "
            "of sites first."
        )
    # a network predicts by itself; what else does needs what the centre keeps
    if not isinstance(base.method, NetMethod):
        base = open_whole(base_path, device)[0]
    if (name := task or dataset) is None:
        numbers, notes = _chosen(base, stream, root, catalogue)
    else:
        numbers, notes = [_learned(base, name, stream)], []
    opened = open_tasks(base.plan, numbers, root, catalogue, dataset)
    if dataset is not None:
        notes += left_out(base.plan, base.plan.tasks[numbers[0]], root, dataset)
    known = base.file.header.encoder
    if known is not None and (fact := differing(known, encoder_of(opened))) is not None:
        raise FeatureMismatch(
            f"expected features of the encoder that the sites use, got another one: {fact}; "
            "nothing was measured. Extract them with that one."
        )
    tasks = tensors_of(base.plan, numbers, opened, device)
    row = runs_evaluate.evaluate(base.method, tasks)
    split = base.method.config.evaluate_on
    columns = {"class_il": row.class_il, "task_il": row.task_il, "dataset_id": row.dataset_id}
    rows: list[dict[str, Any]] = [
        {"task": tasks[k].name, "samples": len(getattr(tasks[k], split))}
        | {name: float(column[k]) for name, column in columns.items()}
        for k in numbers
    ]
    rows = [one for one in rows if not math.isnan(one["class_il"])]
    means = {name: sum(one[name] for one in rows) / len(rows) for name in columns}
    return Measured(rows, means, notes)


def _learned(base: Base, name: str, stream: str | None) -> int:
    """Return the number of a task by its name, or that of its dataset; it must be learned."""
    if stream is not None:
        raise UsageError(
            f"expected a stream or one dataset, got --stream {stream} and '{name}'; nothing was "
            "measured. Leave one out."
        )
    number = number_of(base.plan, name)
    if number >= base.learned:
        raise UsageError(
            f"{base.file.path} has not learned task '{base.plan.tasks[number].name}' yet; nothing "
            "was measured. Measure a later base."
        )
    return number


def _chosen(
    base: Base, stream: str | None, root: Path | None, catalogue: Catalogue | None
) -> tuple[list[int], list[str]]:
    """Return the numbers of the tasks to measure, and a line about each that is left out."""
    from autods.streams.resolve import resolve

    plan = base.plan
    wanted = {task.dataset for task in plan.tasks}
    notes = []
    if stream is not None:
        spec = resolve(stream, root, plan.encoder, catalogue=catalogue).spec
        named = {item.dataset for item in spec.datasets}
        if others := sorted(named - wanted):
            notes.append(f"in no task of the base: {some_of(others, 5)}")
        wanted &= named
    chosen = [k for k, task in enumerate(plan.tasks) if task.dataset in wanted]
    late = [plan.tasks[k].name for k in chosen if k >= base.learned]
    if late:
        notes.append(f"not learned yet: {', '.join(late[:5])}{', ...' if len(late) > 5 else ''}")
    chosen = [k for k in chosen if k < base.learned]
    if not chosen:
        raise UsageError(
            f"--stream {stream}: expected datasets that {base.file.path} has learned, got none of "
            "them; nothing was measured."
        )
    return chosen, notes
