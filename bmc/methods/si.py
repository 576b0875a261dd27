"""Synaptic intelligence (arXiv 1703.04200).

Where the noise of batches makes a task's path integral negative, it counts as 0: a negative
importance would reward distance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bmc.config import Config, option
from bmc.methods.base import METHODS
from bmc.methods.penalty import PenaltyMethod
from bmc.train.copies import StackedCopies
from bmc.train.data import TaskTensors


@METHODS.register("si")
class SynapticIntelligence(PenaltyMethod):
    """Parameters are held in proportion to how much they lowered the loss of former tasks."""

    name = "si"
    title = "SI"
    source = "Zenke, Poole and Ganguli, ICML 2017, arXiv 1703.04200"
    equation = """
        L = L_T + c Σ_i Ω_i (θ_i − θ*_i)²
        in a task:     ω_i ← ω_i − (∂L_T/∂θ_i) · (change of θ_i)
        after a task:  Ω_i ← Ω_i + max(0, ω_i) / (Δ_i² + ξ),  Δ_i the change of θ_i over the task
    """

    @dataclass(frozen=True)
    class Options(PenaltyMethod.Options):
        c: float = option(100.0, "Weight of the penalty.", at_least=0)
        xi: float = option(1.0, "Damping of the importances.", above=0)

    options: Options

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        self._path = self.importance[:, :0]

    @property
    def strength(self) -> float:
        """The penalty is c * sum Omega (theta - theta~)^2."""
        return 2 * self.options.c

    def begin_group(self, group: Sequence[TaskTensors]) -> None:
        """Anchor the weights and start the path integral of this task."""
        super().begin_group(group)
        self._path = torch.zeros_like(self._anchor)

    def observe(
        self, update: StackedCopies, x: Tensor, labels: Tensor, keep: Tensor, *drawn: Tensor
    ) -> None:
        """Make an update; omega -= gradient of the task's loss alone * the parameters' change."""
        gradient = update.gradient(self.loss(x, labels, keep, *drawn))
        of_task, before = gradient.clone(), self.net.weights.data.clone()
        self.add_penalty(gradient)
        update.apply()
        self._path.addcmul_(of_task, self.net.weights.data - before, value=-1)

    def renewed(self, group: Sequence[TaskTensors]) -> Tensor:
        """Omega += omega / (Delta^2 + xi), Delta the parameters' change over the task."""
        size = self._path.shape[1]
        moved = self.net.weights.data[:, :size] - self._anchor
        importance = self.importance.clone()
        importance[:, :size] += self._path.clamp(min=0) / (moved**2 + self.options.xi)
        return importance
