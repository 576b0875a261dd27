"""What runs on the machines of a Ray cluster: a few experts trained from bytes, buffers as bytes.

All that travels is safetensors: the base model, the data of a task, and the buffers. Nothing of
Ray is imported here.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from autods.core.version import __version__
from autods.errors import ClusterError
from bmc.config import Config
from bmc.engines.base import use_precision
from bmc.engines.local import train_experts
from bmc.network.mlp import ResidualMLP
from bmc.train import costs
from bmc.train.data import Split, TaskTensors


@dataclass(frozen=True)
class Setting:
    """What the experts of one group have in common."""

    versions: dict[str, str]  # of the programs that decide the bits, where the run was started
    config: Config
    dim: int  # of the features
    n_classes: int  # of the whole stream
    widest: int  # outputs of each expert's head
    device: str  # "cpu" or "cuda"


@dataclass(frozen=True)
class Place:
    """A task without its data."""

    index: int
    name: str
    dataset: str
    start: int
    stop: int
    part: int = 0


@dataclass(frozen=True)
class Answer:
    """What a worker sends for the experts that it trained; the peaks are of its process so far."""

    buffers: list[bytes]  # one per expert, by `bmc.train.memory.Samples.to_bytes`
    steps: list[int]  # updates that each made
    peak_host_bytes: int
    peak_device_bytes: int


def versions() -> dict[str, str]:
    """Return the versions, here, of the programs that decide the bits."""
    return {"autods": __version__, "bmc": __version__, "torch": torch.__version__}


def task_bytes(task: TaskTensors) -> bytes:
    """Return the training and dev samples of a task, or a part, as one safetensors file."""
    from safetensors.torch import save

    tensors = {}
    for name, split in (("train", task.train), ("dev", task.dev)):
        tensors[f"{name}.features"] = split.features.contiguous()
        tensors[f"{name}.labels"] = split.labels.int()
    if task.sent is not None:
        tensors["sent"] = task.sent
    return save(tensors)


def train_part(setting: Setting, places: Sequence[Place], base: bytes, *tasks: bytes) -> Answer:
    """Train one expert for each task, given by its place and its `task_bytes`.

    One thread: the bits do not depend on it, and a machine has as many workers as cores.
    ``base`` is what `bmc.engines.base.model_bytes` returns. Raises `ClusterError` if this machine
    has other versions.
    """
    from safetensors.torch import load

    _check(setting.versions)
    device = torch.device(setting.device)
    torch.set_num_threads(1)
    use_precision(setting.config)
    costs.reset_peak(device)
    net = ResidualMLP(setting.dim, setting.n_classes, **setting.config.network())
    net.load_state_dict(load(base))
    net.to(device).eval()
    group = [_opened(place, data, device) for place, data in zip(places, tasks, strict=True)]
    buffers, steps = train_experts(net, group, setting.config, setting.widest)
    return Answer(
        [buffer.to_bytes() for buffer in buffers],
        steps,
        costs.peak_host_bytes(),
        costs.peak_device_bytes(device),
    )


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


def _check(expected: dict[str, str]) -> None:
    for name, own in versions().items():
        if own != expected[name]:
            raise ClusterError(
                f"expected {name} {expected[name]} on {platform.node()}, as where the run was "
                f"started, got {own}: its experts could differ. None was trained on it; install "
                "the same versions on all machines of the cluster."
            )
