"""What an engine is: it trains the experts of a group somewhere, and counts the bytes sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch

from bmc.config import Config
from bmc.network.mlp import ResidualMLP
from bmc.train.data import TaskTensors
from bmc.train.memory import Samples


@dataclass(frozen=True)
class Trained:
    """What the experts of a group gave.

    Attributes
    ----------
    buffers
        One per task or part of one, in their order.
    steps
        Updates that each expert made.
    communication_bytes
        Length of the serialised buffers (`Samples.to_bytes`): each is sent once.
    broadcast_bytes
        Length of the serialised base model (`model_bytes`), once for each expert.
    """

    buffers: list[Samples]
    steps: list[int]
    communication_bytes: int
    broadcast_bytes: int


class Engine(Protocol):
    """Trains the experts of groups. All engines give the same bits on the CPU."""

    name: ClassVar[str]

    @property
    def workers(self) -> int:
        """Number of processes that train at once, at most; 1 may be that of the run."""

    def expect(self, rows: Sequence[int], together: int, config: Config) -> None:
        """Prepare in the background for experts on so many training samples each.

        ``together`` of them train at a time.
        """

    def train(self, base: ResidualMLP, tasks: Sequence[TaskTensors], config: Config) -> Trained:
        """Train one expert per task from the base model, which is not changed."""

    def peaks(self) -> dict[str, int]:
        """Return the peak memory of processes other than this one, in bytes by name."""


def model_bytes(base: ResidualMLP) -> bytes:
    """Return a base model as one safetensors file: what each expert receives."""
    from safetensors.torch import save

    return save({name: t.detach().contiguous() for name, t in base.state_dict().items()})


def use_precision(config: Config) -> None:
    """Set how this process computes float32 products.

    tf32 is a mode of CUDA's; elsewhere it changes nothing.
    """
    torch.set_float32_matmul_precision("high" if config.precision == "tf32" else "highest")
