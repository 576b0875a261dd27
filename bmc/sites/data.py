"""The data of tasks where they are: opened under the names of a plan, numbered as the plan does."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from autods.errors import FeatureMismatch, UsageError
from bmc.sites.headers import Plan, PlannedTask
from bmc.sites.plan import empty_tasks
from bmc.train.data import Split, TaskTensors, to_tensors

if TYPE_CHECKING:
    from autods.manifest.catalogue import Catalogue
    from autods.manifest.schema import StreamItem
    from autods.streams.stream import Stream


def open_tasks(
    plan: Plan,
    numbers: Iterable[int],
    root: Path | None,
    catalogue: Catalogue | None = None,
    dataset: str | None = None,
) -> Stream:
    """Open the data of some tasks of a plan: classes are found by their names.

    ``dataset`` is what the dataset is called here, if it has another name.

    Raises
    ------
    UnknownName
        When a class of the plan is not one of the dataset's.
    FeatureMismatch
        When the features have another width.
    FeaturesMissing, UsageError
        As of `autods.open_stream`.
    """
    from autods.manifest.schema import StreamSpec
    from autods.streams.open import open_stream

    items = [_item(plan, plan.tasks[number], dataset) for number in numbers]
    spec = StreamSpec(name=plan.stream, datasets=items, synthetic=plan.synthetic)
    stream = open_stream(
        spec, root, plan.encoder, scenario=plan.scenario, protocol=plan.protocol,
        normalize=plan.normalize, catalogue=catalogue,
    )  # fmt: skip
    if stream.dim != plan.dim:
        raise FeatureMismatch(
            f"expected features of {plan.dim} dimensions, as the base says, got {stream.dim}; "
            "nothing was done. Extract them with the encoder of the base."
        )
    return stream


def _item(plan: Plan, task: PlannedTask, dataset: str | None) -> StreamItem:
    from autods.manifest.schema import StreamItem

    if plan.synthetic is not None:
        if dataset not in (None, task.dataset):
            raise UsageError(
                f"--dataset: expected {task.dataset}, whose data are generated under this name "
                f"everywhere, got '{dataset}'; nothing was done."
            )
        return StreamItem(dataset=task.dataset)
    return StreamItem(
        dataset=dataset or task.dataset, task=task.label_set, classes=task.classes, name=task.name
    )


def tensors_of(
    plan: Plan, numbers: Sequence[int], stream: Stream, device: torch.device
) -> list[TaskTensors]:
    """Return all tasks of a plan; those of a stream with their samples, others without.

    ``numbers`` are those of the stream's tasks in the plan.
    """
    tasks = empty_tasks(plan, device)
    for number, own, opened in zip(numbers, stream.tasks, to_tensors(stream, device), strict=True):
        place = {name: k for k, name in enumerate(plan.tasks[number].classes)}
        lut = torch.tensor([place[name] for name in own.class_names], device=device)
        planned = tasks[number]
        train, dev, test = (
            Split(split.features, lut[split.labels - opened.start] + planned.start)
            for split in (opened.train, opened.dev, opened.test)
        )
        tasks[number] = replace(planned, train=train, dev=dev, test=test, texts=opened.texts)
    return tasks


def encoder_of(stream: Stream) -> dict[str, Any]:
    """Return the provenance of what made the features of a stream."""
    known = stream.provenance
    said = known["encoder"] if "encoder" in known else {"generated": known["parameters"]}
    return dict(json.loads(json.dumps(said)))  # as it is after it has travelled


def differing(one: Mapping[str, Any], two: Mapping[str, Any]) -> str | None:
    """Say in which fact two provenances differ that features depend on; ``None``: in none."""
    from autods.streams.checks import differing_facts

    if facts := differing_facts(one, two):
        key = facts[0]
        return f"{key} is {one.get(key)!r:.60} and {two.get(key)!r:.60}"
    return None


def left_out(plan: Plan, task: PlannedTask, root: Path | None, dataset: str | None) -> list[str]:
    """Return a line about the classes of a dataset, as it is here, that no task of the plan has."""
    from autods.core.root import DataRoot
    from autods.features.sets import open_features

    if plan.encoder is None:
        return []
    info = open_features(DataRoot.open(root), plan.encoder, dataset or task.dataset).info
    alike = [t for t in plan.tasks if (t.dataset, t.label_set) == (task.dataset, task.label_set)]
    planned = {name for other in alike for name in other.classes}
    here = info.class_names[task.label_set or info.default_task]
    others = [name for name in here if name not in planned]
    shown = ", ".join(others[:5]) + (", ..." if len(others) > 5 else "")
    return [f"classes that the base does not have were left out: {shown}"] if others else []
