"""Gradient episodic memory, GEM (arXiv 1706.08840).

One constraint per former task. So that an update costs the same in a long stream, it obeys those
of at most ``constraints`` former tasks, drawn anew for each update (all while there are
fewer), and the gradient of a former task is that of ``replay_batch`` samples of its memory and not
of all. The margin gamma is the least value of each multiplier, as in the published code, which
keeps the constraints; the paper adds it afterwards, which does not. What is projected is the
gradient; AdamW then scales its coordinates, so the step itself keeps the constraints only about.
Tasks are passed through the network apart, all former ones in one batched program; running
statistics move to the current batch and then to the mean of the former tasks'.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bmc.config import Config, option
from bmc.methods.base import METHODS
from bmc.methods.experience_replay import Replaying
from bmc.methods.gem_program import project
from bmc.network.mlp import ResidualMLP
from bmc.train.copies import StackedCopies
from bmc.train.data import Split, TaskTensors
from bmc.train.losses import task_loss
from bmc.train.replay import BalancedMemory


@METHODS.register("gem")
class GradientEpisodicMemory(Replaying):
    """No update may raise the loss on the memory of any of several former tasks."""

    name = "gem"
    title = "GEM"
    source = "Lopez-Paz and Ranzato, NeurIPS 2017, arXiv 1706.08840"
    equation = """
        g = ∇ L_T(batch),  rows of G: ∇ L_T(M_k) of former tasks k
        where some (G g)_k < 0:   g ← g + Gᵀ v
        v = argmin_v  ½ vᵀ G Gᵀ v + (G g)ᵀ v   subject to v ≥ γ
    """
    replays_alone = True
    memory: BalancedMemory

    @dataclass(frozen=True)
    class Options(Replaying.Options):
        margin: float = option(
            0.5, "Gamma, the least value of each constraint's multiplier.", at_least=0
        )
        constraints: int = option(
            10, "Former tasks that constrain an update, drawn anew for each.", at_least=1
        )

    options: Options

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        self._begin()

    @classmethod
    def sample_bytes(cls, dim: int, n_classes: int, config: Config) -> int:
        """Add the key and the task of a balanced memory."""
        return super().sample_bytes(dim, n_classes, config) + 8

    def new_memory(
        self, capacity: int, dim: int, device: torch.device, n_outputs: int
    ) -> BalancedMemory:
        """Return an empty memory that tasks share evenly."""
        return BalancedMemory(capacity, dim, device, n_outputs)

    def begin_group(self, group: Sequence[TaskTensors]) -> None:
        """Make room for the gradients of as many former tasks as constrain an update."""
        super().begin_group(group)
        self._begin()

    def _begin(self) -> None:
        self._places = self.memory.of_tasks()
        self._drawn = min(len(self._places[1]), self.options.constraints)
        self.extra_rows = self._drawn * self.config.replay_batch
        self._bank: ResidualMLP | None = None
        if self._drawn:
            self._bank = ResidualMLP(self.dim, self.n_classes, self._drawn, **self.config.network())
            self._bank.to(self.device).train()

    def draw(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Draw ``replay_batch`` samples of each drawn task for each batch, task by task."""
        if not self._drawn:
            return rows, torch.empty(len(rows), 1, 0, dtype=torch.int64)
        order, starts, counts = self._places
        n = len(rows)
        tasks = torch.rand(n, len(starts), generator=self.draws).argsort(dim=1)[:, : self._drawn]
        chance = torch.rand(n, self._drawn, self.config.replay_batch, generator=self.draws)
        within = (chance * counts[tasks][..., None]).long()
        return rows, order[starts[tasks][..., None] + within].view(n, 1, self.extra_rows)

    def gather(self, data: Split, rows: Tensor, *drawn: Tensor) -> tuple[Tensor, ...]:
        """Join each batch of the task's own with the drawn samples."""
        features, labels = super().gather(data, rows)
        return self.beside(features, labels, drawn[0])

    def observe(
        self, update: StackedCopies, x: Tensor, labels: Tensor, keep: Tensor, *drawn: Tensor
    ) -> None:
        """Make one update along the projected gradient."""
        b = self.config.batch_size
        logits, _ = self.net(x[:, :b], keep[:, :b])
        gradient = update.gradient(task_loss(logits, labels[:, :b]))
        if self._bank is not None:
            constraints = self._gradients(self._bank, x[:, b:], labels[:, b:], keep[:, b:])
            project(gradient, constraints, self.options.margin)
        update.apply()

    def _gradients(self, bank: ResidualMLP, x: Tensor, labels: Tensor, keep: Tensor) -> Tensor:
        """Return the gradient on each drawn task's samples, [k, P].

        The bank's k copies are the network: they share its row of weights.
        """
        k, net = self._drawn, self.net
        bank.weights.data = net.weights.data.expand(k, -1)
        bank.statistics.copy_(net.statistics.expand_as(bank.statistics))
        stacked = (tensor.reshape(k, self.config.replay_batch, -1) for tensor in (x, keep))
        logits, _ = bank(*stacked)
        bank.weights.grad = None
        torch.autograd.backward(task_loss(logits, labels.view(k, -1)).sum())
        net.statistics.copy_(bank.statistics.mean(dim=0, keepdim=True))
        assert bank.weights.grad is not None
        return bank.weights.grad
