"""Memory aware synapses (arXiv 1711.09601), the global version.

How sensitive the outputs are is measured on the task's training data, whose labels are not
used, over the logits of the classes seen so far, in evaluation mode.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bmc.config import option
from bmc.methods.base import METHODS
from bmc.methods.penalty import PenaltyMethod
from bmc.network.gradients import squared_length
from bmc.train.data import TaskTensors


@METHODS.register("mas")
class MemoryAwareSynapses(PenaltyMethod):
    """Parameters are held in proportion to how much they move the network's outputs."""

    name = "mas"
    title = "MAS"
    source = "Aljundi et al., ECCV 2018, arXiv 1711.09601"
    equation = """
        L = L_T + λ Σ_i Ω_i (θ_i − θ*_i)²
        after a task:  Ω ← γ Ω + mean_n | ∂ ‖f(x_n)‖² / ∂θ |
    """

    @dataclass(frozen=True)
    class Options(PenaltyMethod.Options):
        lam: float = option(0.001, "Weight of the penalty, lambda.", at_least=0)
        gamma: float = option(1.0, "Decay of the importances of former tasks.", at_least=0)

    options: Options

    @property
    def strength(self) -> float:
        """The penalty is lambda * sum Omega (theta - theta*)^2."""
        return 2 * self.options.lam

    def renewed(self, group: Sequence[TaskTensors]) -> Tensor:
        """Omega = gamma Omega + mean_n |d ||F(x_n)||^2 / d theta|."""
        sensitivity = self.mean_gradients(group, self.seen, squared_length, torch.abs)
        return self.options.gamma * self.importance + sensitivity
