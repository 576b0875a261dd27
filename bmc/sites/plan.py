"""The plan of a base, made from names of classes where no data are, and what follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from pydantic import ValidationError

from autods.core.registry import unknown
from autods.errors import UnknownName, UsageError
from bmc.config import Config
from bmc.methods import METHODS, Method
from bmc.methods.overrides import config_for
from bmc.runs.identity import effective, on_device
from bmc.sites.errors import SiteFileDamaged
from bmc.sites.headers import Plan, PlannedTask
from bmc.train.data import Split, TaskTensors

if TYPE_CHECKING:
    from autods.manifest.schema import StreamItem
    from autods.streams.resolve import Request
    from autods.streams.stream import Stream
    from bmc.runs.choice import StreamChoice


def make_plan(
    choice: StreamChoice, order: str | int, method: str, config: Config, dim: int | None
) -> Plan:
    """Return the plan that `bmc-stream run` would follow with these options.

    Class names come from features under the root, an index or a manifest, or from the ``classes``
    of the stream's file; ``dim`` from features, or as given.

    Raises
    ------
    UnknownName, UsageError
        When a name is unknown, the method cannot learn across sites, or class names or the
        width of the features are not known.
    """
    across = [name for name in METHODS.names() if METHODS.get(name).across_sites]
    if not METHODS.get(method).across_sites:
        raise UsageError(
            f"--method {method}: expected one that learns from messages of sites, "
            f"{' or '.join(across)}; nothing was written."
        )
    try:
        plan = _planned(choice.request(order), method, dim)
    except ValidationError as error:  # what no reader of the base would take
        raise _unfit(error) from None
    config = effective(method, config, _empty_stream(plan))
    return plan.model_copy(update={"config": config.as_dict()})


def _planned(request: Request, method: str, dim: int | None) -> Plan:
    """Return the plan of a stream; its configuration is still to come."""
    synthetic = request.spec.synthetic
    if synthetic is None:
        request.named_encoder()
    tasks = _generated(request) if synthetic is not None else _known(request)
    return Plan.model_validate(
        {
            "method": method,
            "config": {},
            "stream": request.spec.name,
            "scenario": request.scenario,
            "protocol": request.protocol,
            "normalize": request.normalize,
            "encoder": None if synthetic is not None else request.encoder,
            "synthetic": synthetic,
            "dim": _width(request, dim),
            "tasks": tasks,
        }
    )


def _unfit(error: ValidationError) -> UsageError:
    """Say which part of a plan no reader would take."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"])) or "its tasks"
    what = first["msg"].removeprefix("Value error, ")
    got = "" if isinstance(first["input"], dict) else f", got {first['input']!r:.60}"
    return UsageError(
        f"the base cannot be made: {where}: {what}{got}; nothing was written. Correct the stream "
        "or the option that says so."
    )


def _generated(request: Request) -> list[PlannedTask]:
    from autods.streams.synthetic import generate

    return [
        PlannedTask(name=task.name, dataset=task.dataset, classes=task.class_names)
        for task in generate(request).tasks
    ]


def _known(request: Request) -> list[PlannedTask]:
    """Return the tasks of a stream of datasets, in its order."""
    from autods.streams.tasks import ordered

    tasks = [task for item in request.spec.datasets for task in _tasks_of(item, request)]
    shown = [t.dataset if t.label_set is None else f"{t.dataset}/{t.label_set}" for t in tasks]
    chosen = ordered([task.name for task in tasks], shown, request.order)
    return [tasks[number] for number in chosen][: request.max_tasks]


def _tasks_of(item: StreamItem, request: Request) -> list[PlannedTask]:
    """Return the tasks of one item, by what is known here of its dataset, or by its classes."""
    from autods.streams.table import tabulate

    spec = request.spec.model_copy(update={"datasets": [item], "order": "paper"})
    try:
        table = tabulate(replace(request, spec=spec, order="paper", max_tasks=None))
    except UnknownName:
        if item.classes is None:
            raise UsageError(
                f"the classes of '{item.dataset}' are not known here: expected a manifest or "
                "features of it, or `classes` in the stream's file; nothing was written. List "
                "their names there, in the order in which they are to be numbered."
            ) from None
        name = item.name or item.dataset
        return [PlannedTask(name=name, dataset=item.dataset, label_set=item.task,
                            classes=item.classes)]  # fmt: skip
    made = []
    for row, exact in zip(table.rows, table.spec.datasets, strict=True):
        if not row.class_names:
            raise UsageError(
                f"the class names of '{item.dataset}' are not known before its archives are here; "
                "nothing was written. Index it, or list them as `classes` in the stream's file."
            )
        made.append(
            PlannedTask(
                name=row.task, dataset=row.dataset, label_set=exact.task, classes=row.class_names
            )
        )
    return made


def _width(request: Request, given: int | None) -> int:
    """Return the width of the features: as generated, as stored here, or as given."""
    from autods.features.sets import list_features, open_features
    from autods.streams.synthetic import generate

    if request.spec.synthetic is not None:
        here: int | None = generate(request).dim
    else:
        encoder = request.named_encoder()
        names = {item.dataset for item in request.spec.datasets}
        stored = sorted(names & set(list_features(request.root, encoder)))
        here = open_features(request.root, encoder, stored[0]).dim if stored else None
    if here is not None and given not in (None, here):
        raise UsageError(
            f"--dim: expected {here}, the width of the features, got {given}; nothing was written."
        )
    width = here if given is None else given
    if width is None:
        raise UsageError(
            "--dim: expected the width of the features, of which none are here; nothing was "
            "written. Ask a site: `autods status` shows it."
        )
    return width


def _empty_stream(plan: Plan) -> Stream:
    """Return the stream of a plan without a sample."""
    from autods.streams.feature_set import FeatureSet
    from autods.streams.stream import Stream, Task

    nothing = FeatureSet(np.empty((0, plan.dim), np.float16), np.empty(0, np.int64))
    tasks = [
        Task(task.name, task.dataset, index, list(task.classes), start, nothing, nothing, nothing)
        for index, (task, start) in enumerate(zip(plan.tasks, plan.starts(), strict=False))
    ]
    return Stream(plan.stream, plan.scenario, tasks, plan.normalize, {})


def empty_tasks(plan: Plan, device: torch.device) -> list[TaskTensors]:
    """Return the tasks of a plan without a sample, as a method takes in messages about them."""
    features = torch.empty(0, plan.dim, dtype=torch.float16, device=device)
    nothing = Split(features, torch.empty(0, dtype=torch.int64, device=device))
    starts = plan.starts()
    return [
        TaskTensors(
            index, task.name, task.dataset, starts[index], starts[index + 1],
            nothing, nothing, nothing,
        )
        for index, task in enumerate(plan.tasks)
    ]  # fmt: skip


def config_of(plan: Plan) -> Config:
    """Return the configuration of a plan; raise `UsageError` if it is none."""
    values = dict(plan.config)
    options = values.pop("options", None)
    if set(values) != set(Config.names()) or not isinstance(options, dict):
        raise UsageError(f"expected a configuration of {plan.method}, got {', '.join(values)}")
    return config_for(plan.method, Config(**values), {plan.method: options})


def method_of(plan: Plan, device: torch.device) -> Method:
    """Return the method of a plan, which has learned nothing yet."""
    from bmc.engines.base import use_precision

    kind = METHODS.get(plan.method)
    if not kind.across_sites:
        raise SiteFileDamaged(
            f"expected a plan of a method that learns across sites, got {plan.method}; nothing "
            "was done. Make the base with `bmc-stream base`."
        )
    config = on_device(plan.method, config_of(plan), device)
    use_precision(config)
    return kind(plan.dim, plan.starts()[-1], config, device)


def number_of(plan: Plan, name: str) -> int:
    """Return the number of the task of this name, or of the only one of this dataset.

    Raises `UnknownName`, or `UsageError` for a dataset of several tasks.
    """
    for wanted in ("name", "dataset"):
        found = [k for k, task in enumerate(plan.tasks) if getattr(task, wanted) == name]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(plan.tasks[k].name for k in found[:6])
            raise UsageError(
                f"'{name}' has {len(found)} tasks: {names}{', ...' if len(found) > 6 else ''}; "
                "nothing was done. Name one with --task."
            )
    raise unknown("task of the base", name, [task.name for task in plan.tasks])


def group_of(method: Method, plan: Plan, learned: int) -> range:
    """Return the numbers of the tasks that are learned next; empty: all are."""
    ends: Sequence[int] = method.group_ends(len(plan.tasks))
    return range(learned, next((end for end in ends if end > learned), learned))
