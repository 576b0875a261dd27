"""Weight aligning, WA (arXiv 1911.07053): replay with distillation, then a head of equal norms.

The paper trains on a task and all stored samples together; here every batch of the task is joined
by one of the memory, as in experience replay, and classes share the memory evenly, as there. The
paper scales the new classes' logits, so their biases are scaled with their weights. It clips the
head's weights at 0 while they train, so that norms say more of logits: without that it reaches
36 % on the tuning datasets, with it 55 %, and replay from the same memory 65 %. With many small
tasks the share of the distillation, former classes among all, leaves little to learn new ones by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bmc.config import Config, option
from bmc.methods.base import METHODS
from bmc.methods.experience_replay import ExperienceReplay, balance_of_memory
from bmc.methods.lwf import distillation
from bmc.network.passes import Parts, evaluate
from bmc.train.copies import StackedCopies
from bmc.train.data import TaskTensors
from bmc.train.losses import task_loss

TINY = 1e-12  # a norm below which weights count as zero


@METHODS.register("wa")
class WeightAligning(ExperienceReplay):
    """Replay and distillation; after a task new classes get the mean norm of former ones."""

    name = "wa"
    title = "WA"
    source = "Zhao et al., CVPR 2020, arXiv 1911.07053"
    equation = """
        L = (1 − λ) L_T + λ L_KD,   λ = former classes / classes,   on batch ∪ samples of M
        L_KD = −Σ_i p_i^before log p_i,   p = softmax(f(x) / T) over former classes
        after the task:  W_new ← γ W_new,   γ = mean ‖w_former‖ / mean ‖w_new‖
    """

    @dataclass(frozen=True)
    class Options(ExperienceReplay.Options):
        memory_balance: str = balance_of_memory("classes")
        temperature: float = option(2.0, "Temperature of the distillation.", above=0)
        clip: bool = option(True, "Keep the head's weights at or above 0 while they train.")

    options: Options

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        self._known = 0  # classes before the task that is learned
        self._teacher: Parts | None = None

    def begin_group(self, group: Sequence[TaskTensors]) -> None:
        """Keep the network as it is, with the classes known so far, as the teacher."""
        super().begin_group(group)
        self._known = group[0].start
        weights = self.net.weights.data[:, : self.net.size(self._known)].clone()
        self._teacher = self.net.views(weights, self.net.statistics.clone())

    def observe(
        self, update: StackedCopies, x: Tensor, labels: Tensor, keep: Tensor, *drawn: Tensor
    ) -> None:
        """Make one update, and clip the head where that is asked for."""
        super().observe(update, x, labels, keep, *drawn)
        if self.options.clip:
            self.net.parts().head.clamp_(min=0)

    def loss(self, x: Tensor, labels: Tensor, keep: Tensor, *drawn: Tensor) -> Tensor:
        """Return (1 - lambda) L_T + lambda L_KD, [1], of current and replayed samples alike."""
        logits, _ = self.net(x, keep[:, : x.shape[1]])
        loss = task_loss(logits, labels)
        if self._known == 0 or self._teacher is None:
            return loss
        taught, _ = evaluate(self._teacher, x, self.net.precision)
        share = self._known / self.seen
        old = distillation(taught, logits[..., : self._known], self.options.temperature)
        return (1 - share) * loss + share * old

    def end_group(self, group: Sequence[TaskTensors]) -> None:
        """Align the new classes' weights, then offer the task's samples to the memory."""
        self._teacher = None
        if self._known:
            parts = self.net.parts()
            align(parts.head[0, : self.seen], parts.head_bias[0, 0, : self.seen], self._known)
        super().end_group(group)


def align(head: Tensor, bias: Tensor, known: int) -> None:
    """Scale the weights [C, w] and biases [C] of the classes after the first ``known``, in place.

    The factor is the mean norm of the known classes' weights over that of the others'.
    """
    norms = head.norm(dim=1)
    factor = norms[:known].mean() / norms[known:].mean().clamp(min=TINY)
    head[known:] *= factor
    bias[known:] *= factor
