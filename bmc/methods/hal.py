"""Hindsight anchor learning, HAL (arXiv 2002.08165), on top of experience replay.

Anchors are points of the feature space, one per class, made when its task ends; mean embeddings
are kept per class too. An anchor starts at a training sample of its class and climbs, by steps of
one hundredth of its length, what fine-tuning on the memory of former tasks makes it lose (of the
first task's, which has no former ones, only the distance to the mean embedding counts). The
tentative update is AdamW's. Of the paper's bilevel step the first order is kept: the predictions
before the update are held fixed, and those after it are differentiated at the tentative weights.
Each update draws ``replay_batch`` of the anchors, so that it costs the same in a long stream, and
passes them through the network with the batch and the replayed samples, for the same batch
statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from autods.core.transfer import queued
from bmc.config import Config, option
from bmc.methods.base import METHODS
from bmc.methods.experience_replay import ExperienceReplay
from bmc.methods.hal_anchors import climb, one_of_each
from bmc.network.mlp import ResidualMLP
from bmc.train.copies import StackedCopies
from bmc.train.data import Split, TaskTensors, take
from bmc.train.losses import task_loss
from bmc.train.seeds import generator


@METHODS.register("hal")
class HindsightAnchors(ExperienceReplay):
    """Experience replay whose updates must not move the predictions at one anchor per class.

    Attributes
    ----------
    anchors
        float16 [n_classes, d], as features are stored; those of former tasks' classes are made.
    """

    name = "hal"
    title = "HAL"
    source = "Chaudhry et al., AAAI 2021, arXiv 2002.08165"
    equation = """
        θ̃ = θ after a tentative update by L_T(batch ∪ samples of M)
        L = L_T(batch ∪ samples of M) + λ mean_c ‖ f_θ(e_c) − f_θ̃(e_c) ‖²
        anchors: e_c ← ascent on  L_T(f_forgetful(e), c) − L_T(f(e), c) − γ ‖ φ(e) − mean φ_c ‖²
    """

    @dataclass(frozen=True)
    class Options(ExperienceReplay.Options):
        lam: float = option(0.1, "Weight of the loss at anchors, lambda.", at_least=0)
        beta: float = option(0.5, "Decay of the running mean embedding of a class.", at_least=0)
        gamma: float = option(
            0.1, "Weight of the mean embedding when anchors are made.", at_least=0
        )
        steps: int = option(100, "Gradient steps that make an anchor.", at_least=1)

    options: Options

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        self.extra_rows = 2 * config.replay_batch
        self.anchors = torch.zeros(n_classes, dim, dtype=torch.float16, device=device)
        self._made = 0
        self._start = 0
        self._means = torch.empty(0)  # of the task's classes: mean embeddings [c, width]
        self._met = torch.empty(0)  # [c], whether a class has one

    def begin_group(self, group: Sequence[TaskTensors]) -> None:
        """Start the draws and the mean embeddings of this task's classes."""
        super().begin_group(group)
        self._start, c = group[0].start, group[-1].stop - group[0].start
        self._means = torch.zeros(c, self.net.width, device=self.device)
        self._met = torch.zeros(c, dtype=torch.bool, device=self.device)

    def draw(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Draw replayed samples [n, 1, R] and anchors [n, 1, R]; none of either where none are."""
        n, count = len(rows), self.config.replay_batch
        replayed = self.replayed(n, count)
        shape = (n, 1, count if self._made else 0)
        return rows, replayed, torch.randint(max(self._made, 1), shape, generator=self.draws)

    def gather(self, data: Split, rows: Tensor, *drawn: Tensor) -> tuple[Tensor, ...]:
        """Add replayed samples, then anchors, to each batch of the task's own."""
        replayed, own = drawn
        features, labels = super().gather(data, rows, replayed)
        anchors = take(self.anchors, own, self.device).to(features.dtype)
        # an anchor's number is its class
        numbers = torch.cat([labels, queued(own, self.device)], dim=2)
        return torch.cat([features, anchors], dim=2), numbers

    def observe(
        self, update: StackedCopies, x: Tensor, labels: Tensor, keep: Tensor, *drawn: Tensor
    ) -> None:
        """Make one update that also lowers what a tentative update changes at the anchors."""
        b, n = self.config.batch_size, x.shape[1]
        n -= self.config.replay_batch if self._made else 0  # rows before the anchors
        logits, phi = self.net(x, keep[:, : x.shape[1]])
        self._follow(phi[2][0, :b].detach(), labels[0, :b])
        gradient = update.gradient(task_loss(logits[:, :n], labels[:, :n]))
        if self._made:
            own, before = gradient.clone(), logits[:, n:].detach()
            weights, statistics = self.net.weights.data, self.net.statistics
            home = weights.clone(), statistics.clone()
            weights.copy_(update.tentative())
            after = self.net(x, keep)[0][:, n:]
            update.gradient(self.options.lam * anchor_loss(before, after)).add_(own)
            weights.copy_(home[0])
            statistics.copy_(home[1])
        update.apply()

    def _follow(self, phi: Tensor, labels: Tensor) -> None:
        """Move the mean embeddings of a batch's classes: beta m + (1 - beta) mean of the batch."""
        numbers = torch.arange(len(self._means), device=self.device) + self._start
        members = (labels[:, None] == numbers).float()  # [B, c]
        counts = members.sum(dim=0)
        means = members.T @ phi / counts.clamp(min=1)[:, None]
        beta = torch.where(self._met, self.options.beta, 0.0)
        weight = torch.where(counts > 0, 1 - beta, 0.0)
        self._means.lerp_(means, weight[:, None])
        self._met.logical_or_(counts > 0)

    def end_group(self, group: Sequence[TaskTensors]) -> None:
        """Make the anchors of the task's classes, then offer its samples to the memory."""
        size = self.net.size(self.outputs)
        forgetful, now = self._hindsight(group[0].index), self.net
        parts = [net.views(net.weights.data[:, :size]) for net in (forgetful, now)]
        for task in group:
            draws = generator(self.config.seed, "anchors", task.index)
            rows = one_of_each(task.train.labels.cpu() - task.start, task.n_classes, draws)
            anchors = climb(
                parts[0], parts[1],
                self.inputs(take(task.train.features, rows, self.device)),
                torch.arange(task.start, task.stop, device=self.device),
                self._means[task.start - self._start : task.stop - self._start],
                self.options.gamma, self.options.steps,
            )  # fmt: skip
            self.anchors[task.start : task.stop] = (anchors / self.config.feature_norm).half()
        self._made = group[-1].stop
        super().end_group(group)

    def _hindsight(self, index: int) -> ResidualMLP:
        """Return a copy of the network after one pass over the memory of former tasks."""
        net = ResidualMLP(self.dim, self.n_classes, **self.config.network()).to(self.device)
        net.load_state_dict(self.net.state_dict())
        net.eval()
        if n := len(self.memory):
            keys = ("hindsight", index), ("hindsight dropout", index)
            tables = self.memory.features, self.memory.labels
            self.fit(net, tables, self.passes(n, 1, *keys), classes=self.outputs)
        return net

    def state(self) -> dict[str, Tensor]:
        """Return network, memory and anchors."""
        return super().state() | {"anchors": self.anchors[: self._made]}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Load network, memory and anchors."""
        super().load_state(state)
        self._made = len(state["anchors"])
        self.anchors[: self._made] = state["anchors"].to(self.device)


def anchor_loss(before: Tensor, after: Tensor) -> Tensor:
    """Mean over anchors of the squared distance of predictions [1, n, C]: [1]."""
    return (after - before).square().sum(dim=2).mean(dim=1)
