"""What a process that trains experts apart from the run is told, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bmc.config import Config
from bmc.engines.base import use_precision
from bmc.engines.local import train_experts
from bmc.network.mlp import ResidualMLP
from bmc.train import costs
from bmc.train.data import TaskTensors


@dataclass(frozen=True)
class Setting:
    """What the experts of one group have in common."""

    config: Config
    dim: int  # of the features
    n_classes: int  # of the whole stream
    widest: int  # outputs of each expert's head
    threads: int  # of torch, in each process


@dataclass(frozen=True)
class Answer:
    """What a worker sends for the experts that it trained; the peaks are of its process so far."""

    buffers: list[bytes]  # one per expert, by `bmc.train.memory.Samples.to_bytes`
    steps: list[int]  # updates that each made
    peak_host_bytes: int
    peak_device_bytes: int


def train_apart(
    setting: Setting, base: Mapping[str, Tensor], tasks: Sequence[TaskTensors], device: torch.device
) -> Answer:
    """Train one expert for each task in this process, on a device where the tasks are.

    ``base`` is the state of the base model.
    """
    torch.set_num_threads(setting.threads)
    use_precision(setting.config)
    costs.reset_peak(device)
    net = ResidualMLP(setting.dim, setting.n_classes, **setting.config.network())
    net.load_state_dict(base)
    net.to(device).eval()
    buffers, steps = train_experts(net, tasks, setting.config, setting.widest)
    return Answer(
        [buffer.to_bytes() for buffer in buffers],
        steps,
        costs.peak_host_bytes() or 0,
        costs.peak_device_bytes(device),
    )
