"""`synthetic`: a seeded stream with the shape of Stream71. No image and no download.

71 tasks and 2,866 classes with the published counts (scaled); how the features are made is in
`autods.streams.synthetic_features`.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from functools import partial
from typing import Any

from autods.core.splits import SPLITS
from autods.core.version import __version__
from autods.errors import UsageError
from autods.manifest.stream import StreamItem
from autods.streams.difficulty import difficulty_of
from autods.streams.feature_set import StoredFeatureSet
from autods.streams.resolve import Request, check_names
from autods.streams.stream import Stream, Task
from autods.streams.synthetic_features import DEFAULT_SCALE, SyntheticFeatures, published_shape
from autods.streams.tasks import Order, ordered


def synthetic_stream(
    *,
    scale: float = DEFAULT_SCALE,
    seed: int = 0,
    tasks: int | None = None,
    classes: int | None = None,
    per_class: int | None = None,
    dim: int = 512,
    difficulty: str = "plain",
    order: Order = "paper",
    scenario: str = "class-il",
    normalize: str = "l2",
) -> Stream:
    """Return a generated stream with the shape of Stream71; features are made when asked for.

    Parameters
    ----------
    scale
        Samples per published sample, above 0. Every class keeps at least 9 train, 1 dev and
        3 test samples, every task 90, 10 and 30. At 1, float16 features of 512 dimensions
        take 7.7 GB; `SyntheticFeatures.blocks` yields them piece by piece.
    seed
        Fixes all numbers; not the order of tasks.
    tasks
        Keep only the first tasks of the order; ``None``: all 71.
    classes
        Classes over all 71 tasks, 142 to 2,866, spread in proportion, at least 2 a task; a
        smaller stream keeps the first classes of every task as they are. ``None``: 2,866.
    per_class
        Train samples of every class, at least 1, whatever ``scale`` is; dev has a tenth and test
        a quarter of them, at least 1. ``None``: by ``scale``.
    dim
        Width d of the features.
    difficulty
        ``plain``: classes are mixtures of up to three Gaussians, of equal size. ``hard``: heavy
        tails, modes as far apart as classes, wrong labels in train, unequal classes; see
        `autods.streams.difficulty.Difficulty`.
    order
        ``paper``: as published; an integer: tasks permuted by that seed (PCG64); or names of
        all tasks in the order wanted. It never changes a task's features.
    scenario
        ``class-il`` or ``task-il``; labels are global in both.
    normalize
        ``l2``: rows of length 1; ``none``: lengths around 9, about that of raw CLIP embeddings.

    Raises
    ------
    UnknownName, UsageError
        When an option is not one of those that exist or lies outside its range.

    Notes
    -----
    Calibrated at the default size, 10 epochs for networks, mean over tasks in per cent:

    ==============  =========  =========  ==========
    seeds 0, 1, 2   class-il   task-il    dataset-id
    ==============  =========  =========  ==========
    nearest mean    64 ... 67  81 ... 82  75 ... 78
    joint MLP       70 ... 71  82 ... 83  82 ... 83
    Deep SLDA       75 ... 76  86         84 ... 86
    fine-tuning     1          25         1
    ==============  =========  =========  ==========
    """
    _check(scale=scale, seed=seed, tasks=tasks, classes=classes, per_class=per_class, dim=dim)
    check_names(scenario=scenario, normalisation=normalize)
    source = SyntheticFeatures(
        seed=seed,
        scale=scale,
        classes=published_shape().classes if classes is None else classes,
        per_class=per_class,
        dim=dim,
        normalize=normalize,
        difficulty=difficulty_of(difficulty),
    )
    names = [dataset.name for dataset in source.shape.datasets]
    chosen = ordered(names, names, order)[:tasks]
    made = _tasks(source, chosen)
    return Stream(
        name="synthetic",
        scenario=scenario,
        tasks=made,
        normalize=normalize,
        provenance=_provenance(source, made, order),
    )


def generate(request: Request) -> Stream:
    """Generate the stream of a request, with the order and the tasks of its definition."""
    names = [item.dataset for item in request.spec.datasets]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(
            f"task '{twice}' is in the stream twice; nothing was generated. Name it once."
        )
    places = ordered(names, names, request.order)
    chosen = [names[place] for place in places][: request.max_tasks]
    published = [dataset.name for dataset in published_shape().datasets]
    sizes = request.spec.synthetic.model_dump(exclude_none=True) if request.spec.synthetic else {}
    stream = synthetic_stream(
        **sizes,
        tasks=len(chosen),
        order=[*chosen, *(name for name in published if name not in chosen)],
        scenario=request.scenario,
        normalize=request.normalize,
    )
    seed = request.order if isinstance(request.order, int) else None
    provenance = {**stream.provenance, "order_seed": seed}
    return replace(stream, name=request.spec.name, provenance=provenance)


def _tasks(source: SyntheticFeatures, chosen: list[int]) -> list[Task]:
    """Give every class its global number, in the order of the stream."""
    tasks: list[Task] = []
    offset = 0
    for index, number in enumerate(chosen):
        name, count = source.shape.datasets[number].name, source.class_counts[number]
        train, dev, test = (
            StoredFeatureSet(
                partial(source.features, number, split),
                offset + source.labels(number, split),
                source.dim,
            )
            for split in SPLITS
        )
        names = [f"{name} {c}" for c in range(count)]
        tasks.append(
            Task(
                name=name,
                dataset=name,
                index=index,
                class_names=names,
                class_offset=offset,
                train=train,
                dev=dev,
                test=test,
                item=StreamItem(dataset=name),
            )
        )
        offset += count
    return tasks


def _check(scale: float, **numbers: int | None) -> None:
    shape = published_shape()
    n_tasks = len(shape.datasets)
    for option, low, high in (
        ("seed", 0, None),
        ("tasks", 1, n_tasks),
        ("classes", 2 * n_tasks, shape.classes),
        ("per_class", 1, None),
        ("dim", 2, None),
    ):
        value = numbers[option]
        if value is not None and (value < low or (high is not None and value > high)):
            expected = f"at least {low}" if high is None else f"{low} to {high}"
            raise UsageError(
                f"{option}: expected {expected}, got {value}; nothing was generated. "
                f"Correct --{option}."
            )
    if not (math.isfinite(scale) and scale > 0):
        raise UsageError(
            f"scale: expected a number above 0 (1 is the published size), got {scale}; nothing "
            "was generated. Correct --scale."
        )


def _provenance(source: SyntheticFeatures, tasks: list[Task], order: Order) -> dict[str, Any]:
    """Describe where the numbers come from; ``fingerprint`` changes when they do."""
    parameters = source.parameters()
    names = [task.name for task in tasks]
    text = json.dumps({**parameters, "tasks": names}, sort_keys=True)
    return {
        "stream": "synthetic",
        "protocol": "clean",  # every sample is generated once: there is nothing to clean
        "parameters": parameters,
        "seed": source.seed,
        "normalize": source.normalize,
        "order": names,
        "order_seed": order if isinstance(order, int) else None,
        "counts": {split: sum(len(getattr(task, split)) for task in tasks) for split in SPLITS},
        "stand_ins": [d.name for d in source.shape.datasets if d.stand_in and d.name in names],
        "version": __version__,
        "fingerprint": hashlib.sha256(text.encode()).hexdigest(),
    }
