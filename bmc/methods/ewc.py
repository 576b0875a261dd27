"""Online EWC (arXiv 1805.06370) on elastic weight consolidation (arXiv 1612.00796).

The Fisher information is the diagonal empirical one: mean squared gradients of the task's
log-likelihood at the labels as given, over its whole training data, in evaluation mode. It is
a mean as the loss is, so the penalty's weight does not depend on the size of a task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bmc.config import option
from bmc.methods.base import METHODS
from bmc.methods.penalty import PenaltyMethod
from bmc.network.gradients import cross_entropy
from bmc.train.data import TaskTensors


@METHODS.register("ewc")
class OnlineEWC(PenaltyMethod):
    """Parameters are held in proportion to the Fisher information of former tasks."""

    name = "ewc"
    title = "Online EWC"
    source = (
        "Schwarz et al., ICML 2018, arXiv 1805.06370; Kirkpatrick et al. 2017, arXiv 1612.00796"
    )
    equation = """
        L = L_T + λ/2 Σ_i F_i (θ_i − θ*_i)²
        after a task:  F ← γ F + mean_n (∂ log p(y_n | x_n) / ∂θ)²
    """

    @dataclass(frozen=True)
    class Options(PenaltyMethod.Options):
        lam: float = option(100.0, "Weight of the penalty, lambda.", at_least=0)
        gamma: float = option(1.0, "Decay of the Fisher information of former tasks.", at_least=0)

    options: Options

    @property
    def strength(self) -> float:
        """The penalty is lambda / 2 * sum F (theta - theta*)^2 (arXiv 1612.00796)."""
        return self.options.lam

    def renewed(self, group: Sequence[TaskTensors]) -> Tensor:
        """F = gamma F + F_t (arXiv 1805.06370), F_t the Fisher information of this task."""
        fisher = self.mean_gradients(group, self.outputs, cross_entropy, torch.square)
        return self.options.gamma * self.importance + fisher
