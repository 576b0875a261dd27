"""Learning without forgetting (arXiv 1606.09282) on one head, class-incremental.

The paper's tasks have heads of their own. Here the task's loss is that of fine-tuning, over all
classes that compete, or with ``competition`` = task over the new ones alone; the distillation
covers the classes known before the task. The paper trains the added outputs alone first; that
warm-up is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bmc.config import Config, option
from bmc.methods.base import METHODS
from bmc.methods.net_method import NetMethod
from bmc.network.passes import Parts, evaluate
from bmc.train.data import TaskTensors
from bmc.train.losses import task_loss


def distillation(teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of softened probabilities, -sum_i y'_i log y^'_i: [K], the mean over rows.

    y' = y^(1/T) / sum y^(1/T) is the softmax of logits [K, B, C] / T. As in the paper, no
    factor T^2.
    """
    target = torch.softmax(teacher / temperature, dim=-1)
    return -(target * torch.log_softmax(student / temperature, dim=-1)).sum(dim=-1).mean(dim=-1)


@METHODS.register("lwf")
class LearningWithoutForgetting(NetMethod):
    """The network from before a task teaches its answers on the task's own samples."""

    name = "lwf"
    title = "LwF"
    source = "Li and Hoiem, ECCV 2016, arXiv 1606.09282"
    equation = """
        L = L_T + α L_old,   L_old = −Σ_i p_i^before log p_i
        p = softmax(f(x) / T) over former classes
    """

    @dataclass(frozen=True)
    class Options(NetMethod.Options):
        alpha: float = option(
            0.5, "Weight of the distillation from the model before a task.", at_least=0
        )
        temperature: float = option(2.0, "Temperature of the distillation.", above=0)
        competition: str = option(
            "seen",
            "Classes that compete in the task's loss: seen, or those of the task.",
            one_of=("seen", "task"),
        )

    options: Options

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        self._known = 0
        self._teacher: Parts | None = None

    def begin_group(self, group: Sequence[TaskTensors]) -> None:
        """Keep the network as it is, with the classes known so far."""
        self._known = group[0].start
        weights = self.net.weights.data[:, : self.net.size(self._known)].clone()
        self._teacher = self.net.views(weights, self.net.statistics.clone())

    def loss(self, x: Tensor, labels: Tensor, keep: Tensor, *drawn: Tensor) -> Tensor:
        """L_new + alpha L_old; there is no L_old at the first task."""
        logits, _ = self.net(x, keep[:, : x.shape[1]])
        apart = self.options.competition == "task"
        first, stop = (self._known, self.seen) if apart else (0, self.outputs)
        loss = task_loss(logits[..., first:stop], labels - first)
        if self._known == 0 or self._teacher is None:
            return loss
        taught, _ = evaluate(self._teacher, x, self.net.precision)
        old = distillation(taught, logits[..., : self._known], self.options.temperature)
        return loss + self.options.alpha * old

    def end_group(self, group: Sequence[TaskTensors]) -> None:
        """Drop the teacher: the next one is the network as it stands."""
        self._teacher = None
