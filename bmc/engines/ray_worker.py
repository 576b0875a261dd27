"""What runs on the machines of a Ray cluster: a few experts trained from bytes, buffers as bytes.

All that travels is safetensors: the base model, the data of a task, and the buffers. Nothing of
Ray is imported here.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from autods.core.version import __version__
from autods.errors import ClusterError
from bmc.engines.apart import Answer, Setting, train_apart
from bmc.train.data import Split, TaskTensors


@dataclass(frozen=True)
class Place:
    """A task without its data."""

    index: int
    name: str
    dataset: str
    start: int
    stop: int
    part: int = 0


def versions() -> dict[str, str]:
    """Return the versions, here, of the programs that decide the bits."""
    return {"autods": __version__, "bmc": __version__, "torch": torch.__version__}


def task_bytes(task: TaskTensors) -> bytes:
    """Return the training and dev samples of a task, or a part, as one safetensors file."""
    from safetensors.torch import save

    tensors = {}
    for name, split in (("train", task.train), ("dev", task.dev)):
        tensors[f"{name}.features"] = split.features[:].contiguous()
        tensors[f"{name}.labels"] = split.labels.int()
    if task.sent is not None:
        tensors["sent"] = task.sent
    return save(tensors)


def train_part(
    setting: Setting,
    expected: Mapping[str, str],
    device: str,
    places: Sequence[Place],
    base: bytes,
    *tasks: bytes,
) -> Answer:
    """Train one expert for each task, given by its place and its `task_bytes`.

    The `versions` where the run was started are ``expected`` here, too; `ClusterError` if they
    differ. The device is ``cpu`` or ``cuda``; ``base`` is what `bmc.engines.base.model_bytes`
    returns.
    """
    from safetensors.torch import load

    _check(expected)
    where = torch.device(device)
    group = [_opened(place, data, where) for place, data in zip(places, tasks, strict=True)]
    return train_apart(setting, load(base), group, where)


def _opened(place: Place, data: bytes, device: torch.device) -> TaskTensors:
    from safetensors.torch import load

    tensors = load(data)
    train, dev = (
        Split(tensors[f"{name}.features"].to(device), tensors[f"{name}.labels"].long().to(device))
        for name in ("train", "dev")
    )
    nothing = Split(dev.features[:0], dev.labels[:0])
    sent = tensors["sent"].to(device) if place.part else None
    return TaskTensors(
        place.index, place.name, place.dataset, place.start, place.stop, train, dev, nothing,
        part=place.part, sent=sent,
    )  # fmt: skip


def _check(expected: Mapping[str, str]) -> None:
    for name, own in versions().items():
        if own != expected[name]:
            raise ClusterError(
                f"expected {name} {expected[name]} on {platform.node()}, as where the run was "
                f"started, got {own}: its experts could differ. None was trained on it; install "
                "the same versions on all machines of the cluster."
            )
