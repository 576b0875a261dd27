"""What methods on frozen features share: statistics that take in each task once, no network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from bmc.config import Config
from bmc.methods.base import Method
from bmc.train.data import TaskTensors
from bmc.train.movement import moved
from bmc.train.packed import Kept
from bmc.train.seeds import generator

BLOCK = 8192  # rows taken in at once; bounds the float64 copies
TINY = 1e-12  # a variance below which there is none


def random_projection(dim: int, width: int, config: Config, device: torch.device) -> Tensor:
    """Draw the fixed projection W ~ N(0, 1) of a run, float32 [dim, width], from its seed."""
    return torch.randn(dim, width, generator=generator(config.seed, "projection")).to(device)


def shrunk_covariance(covariance: Tensor, share: float, least: float | Tensor = 0.0) -> Tensor:
    """Return (1 - e) S + e s I of S [d, d], s the mean variance, so that e depends on no unit.

    At least ``least`` is added to the diagonal.
    """
    scale = covariance.diagonal().mean().clamp(min=TINY)
    shrunk = (1 - share) * covariance
    shrunk.diagonal().add_((share * scale).clamp(min=least))
    return shrunk


class ClosedForm(Method):
    """A method whose state is the tensors named in ``kept``, and whose head follows from them.

    After each group the statistics are rounded to what the state holds of them, so the bytes
    that are counted are those that predict, and a resumed run equals one that was not killed.
    """

    kept: ClassVar[Kept]  # and how each is stored
    _head: tuple[Tensor, ...] | None = None  # what `solve` returned for the statistics as they are

    def learn(self, group: Sequence[TaskTensors]) -> None:
        """Add the training data of each task."""
        with self.watch.phase("train", self.device):
            for task in group:
                self.receive(task)
            self.seen = group[-1].stop
            self.settle()

    def settle(self) -> None:
        """Round the statistics to what the state holds of them."""
        self.load_state(self.state())

    def receive(self, task: TaskTensors) -> None:
        """Take in a task, once; by default all of its training data."""
        self.add(task)

    def add(self, task: TaskTensors) -> None:
        """Add a task's training data to the statistics."""
        raise NotImplementedError

    def blocks(
        self, task: TaskTensors, rows: Tensor | None = None, size: int = BLOCK
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield lifted features [n, D], float64, and labels [n] from 0, of training rows."""
        rows = torch.arange(len(task.train)) if rows is None else rows
        for number, block in enumerate(torch.split(rows, size)):
            moved(number * size, len(rows), "samples")
            x = task.train.features[block.to(task.train.features.device)]
            labels = task.train.labels[block.to(task.train.labels.device)]
            yield self.lift(x).double(), labels.to(self.device) - task.start

    def lift(self, features: Tensor) -> Tensor:
        """Return what the statistics are of, float32 [n, D]; by default features [n, d]."""
        return features.to(self.device).float()

    def unit(self, features: Tensor) -> Tensor:
        """Scale rows [n, d] to length 1: float32 on the device."""
        return functional.normalize(features.to(self.device).float(), dim=1)

    def head(self) -> tuple[Tensor, ...]:
        """Return what `solve` makes of the statistics; it is computed once after they change.

        That is learning, whenever it happens: mostly when an evaluation first asks for scores.
        """
        if self._head is None:
            with self.watch.phase("head", self.device):
                self._head = self.solve()
        return self._head

    def solve(self) -> tuple[Tensor, ...]:
        """Compute the head from the statistics."""
        raise NotImplementedError

    def scores(self, features: Tensor) -> Tensor:
        """Return the linear discriminants W x + b of the head (W, b), float32 [n, seen]."""
        weight, bias = self.head()
        return self.lift(features) @ weight + bias

    def state(self) -> dict[str, Tensor]:
        """Return the statistics as they are stored, of the classes seen so far."""
        state: dict[str, Tensor] = {}
        for name, packing in self.kept.items():
            state |= packing.pack(name, getattr(self, name), self.seen)
        return state

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Load the statistics."""
        state = {name: tensor.to(self.device) for name, tensor in state.items()}
        for name, packing in self.kept.items():
            setattr(self, name, packing.unpack(name, state, self.n_classes))
        self._head = None
