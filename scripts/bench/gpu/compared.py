"""What a method computes on a device, beside what it computes elsewhere or in another way.

The tests marked `cuda` use this too. Tasks and networks are small; every method takes part.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from unittest import mock

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from autods.streams.stream import Stream, Task
from autods.streams.synthetic import synthetic_stream
from bmc.config import Config
from bmc.engines.base import use_precision
from bmc.engines.local import train_experts
from bmc.methods import METHODS, config_for
from bmc.runs.evaluate import evaluate
from bmc.train import copies, data
from bmc.train.data import Split, TaskTensors, to_tensors

CPU = torch.device("cpu")
# these draw numbers on the device, and CUDA draws others than the CPU
DRAWN_ON_DEVICE = {"slca"}
# by name of an option, whichever method has it
OPTIONS = {
    "projections": 64, "memory_epochs": 2, "distillation_epochs": 1, "iterations": 4, "passes": 1,
    "consolidation_epochs": 2, "consolidation_batch": 32, "draws": 32, "experts": 2, "buffer": 24,
    "steps": 2, "neighbours": 3, "trained_from": 10,
}  # fmt: skip
SHARED = {
    "epochs": 2, "hidden": 32, "inner": 32, "width": 32, "batch_size": 24, "replay_batch": 8,
    "memory": 60,
}  # fmt: skip


@dataclass(frozen=True)
class Way:
    """How a method is trained: what may change the numbers only a little, or not at all."""

    device: torch.device
    capture: bool = False
    precision: str = "float32"
    dropout: float = 0.0
    on_host: bool = False  # the table of features, which would fit on the device
    feature_norm: float = 10.0


def stream() -> Stream:
    """Return three small tasks, with means of two rows in place of embedded class names."""
    made = synthetic_stream(tasks=3, classes=704, dim=64, scale=1e-4)
    tasks = [replace(task, class_embedding_source=partial(_texts, task)) for task in made.tasks]
    return replace(made, tasks=tasks)


def _texts(task: Task, templates: str) -> npt.NDArray[np.float32]:
    labels, features = task.train.labels, task.train.features.astype(np.float32)
    classes = task.class_offset + np.arange(len(task.class_names))
    return np.stack([features[labels == c][:2].mean(axis=0) for c in classes])


def trained_names() -> list[str]:
    """Return the methods whose updates may be captured."""
    return [name for name in METHODS.names() if METHODS.get(name).reads("capture")]


def config_of(name: str, way: Way) -> Config:
    """Return the configuration of a method."""
    shared = Config(
        **SHARED, capture=way.capture, precision=way.precision, dropout=way.dropout,
        feature_norm=way.feature_norm,
    )  # fmt: skip
    known = METHODS.get(name).Options.names()
    return config_for(
        name, shared, {name: {option: OPTIONS[option] for option in OPTIONS if option in known}}
    )


@contextmanager
def _set(way: Way) -> Iterator[None]:
    """Let the process compute in a way; an update that cannot be captured is an error here."""
    use_precision(Config(precision=way.precision))
    with (
        mock.patch.object(data, "RESIDENT", 0.0 if way.on_host else data.RESIDENT),
        mock.patch.object(copies, "WORTH", 0),  # however short a training is
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("error", "an update could not be captured")
        try:
            yield
        finally:
            use_precision(Config(precision="float32"))


def scores(name: str, way: Way, made: Stream) -> Tensor:
    """Train a method over a stream; return the scores of all test rows, float64 on the CPU."""
    config = config_of(name, way)
    with _set(way):
        tasks = to_tensors(made, way.device)
        method = METHODS.get(name)(made.dim, made.n_classes, config, way.device)
        first = 0
        for stop in method.group_ends(len(tasks)):
            method.learn(tasks[first:stop])
            first = stop
        evaluate(method, tasks)
        method.state()
        return method.scores(torch.cat([task.test.features for task in tasks])).double().cpu()


def distance(given: Tensor, expected: Tensor) -> float:
    """Return the largest difference of two sets of scores, as a share of the largest score."""
    differing = given != expected  # infinite scores of unseen classes are equal
    if not differing.any():
        return 0.0
    largest = expected[torch.isfinite(expected) & (expected.abs() < 1e20)].abs().max()
    return float((given - expected)[differing].abs().max() / largest)


def agreement(given: Tensor, expected: Tensor) -> float:
    """Return the share of rows for which two sets of scores predict the same class."""
    return float((given.argmax(1) == expected.argmax(1)).double().mean())


def bank_distance(device: torch.device, **options: object) -> tuple[float, bool]:
    """Train five experts of unequal length alone and stacked; copies leave the stack on the way.

    Returns how far their phi are apart, and whether they made as many updates.
    """
    made = synthetic_stream(tasks=5, classes=704, dim=64, scale=1e-4)
    lengths = (40, 57, 39, 65, 43)
    tasks = [cut_to(task, n) for task, n in zip(to_tensors(made, device), lengths, strict=True)]
    config = replace(config_of("bmc", Way(device, dropout=0.3)), epochs=8)
    own = METHODS.get("bmc").Options.names()
    mine = {key: value for key, value in options.items() if key in own}
    shared = {key: value for key, value in options.items() if key not in own}
    config = config_for("bmc", replace(config, **shared), {"bmc": mine})  # type: ignore[arg-type]  # values of any field
    with _set(Way(device, precision=config.precision)):
        net = METHODS.get("bmc")(made.dim, made.n_classes, config, device).net  # type: ignore[attr-defined]  # BMC has one
        alone, stacked = (train_experts(net, tasks, config, stack=k) for k in (1, 5))
    pairs = zip(stacked[0], alone[0], strict=True)
    far = [distance(one.phi.double().cpu(), other.phi.double().cpu()) for one, other in pairs]
    return max(far), alone[1] == stacked[1]


def cut_to(task: TaskTensors, n: int) -> TaskTensors:
    """Return a task with its first n training rows only."""
    train = Split(task.train.features[:n], task.train.labels[:n])
    return replace(task, train=train)
