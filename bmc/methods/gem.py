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

import numpy as np
import torch
from torch import Tensor

from bmc.config import Config, option
from bmc.methods.base import METHODS
from bmc.methods.experience_replay import Replaying
from bmc.methods.net_method import NetMethod
from bmc.network.mlp import ResidualMLP
from bmc.train.copies import StackedCopies
from bmc.train.data import Split, TaskTensors
from bmc.train.losses import task_loss
from bmc.train.memory import BalancedMemory

RIDGE = 1e-6  # share of the mean squared length that is added to the diagonal of the Gram matrix
TINY = 1e-30  # a squared length below which gradients count as zero


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
    shared = Replaying.shared - {"capture"}
    capturable = False  # the quadratic program is solved on the host
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

    def fetch(self, data: Split, rows: Tensor) -> tuple[Tensor, ...]:
        """Add ``replay_batch`` samples of each drawn task to each batch, task by task."""
        features, labels = NetMethod.fetch(self, data, rows)
        if not self._drawn:
            return features, labels
        order, starts, counts = self._places
        n = len(rows)
        tasks = torch.rand(n, len(starts), generator=self.draws).argsort(dim=1)[:, : self._drawn]
        chance = torch.rand(n, self._drawn, self.config.replay_batch, generator=self.draws)
        within = (chance * counts[tasks][..., None]).long()
        old = order[starts[tasks][..., None] + within].view(n, 1, self.extra_rows)
        return self.beside(features, labels, old.to(self.device, non_blocking=True))

    def observe(self, update: StackedCopies, x: Tensor, labels: Tensor, keep: Tensor) -> None:
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


def project(gradient: Tensor, constraints: Tensor, margin: float) -> None:
    """Make a gradient g [1, P] agree with all rows of G [k, P], in place.

    Unless G g >= 0 already, g becomes g + G^T v with the v of `multipliers`.
    """
    dots = constraints @ gradient[0]
    if bool((dots >= 0).all()):
        return
    gram = constraints @ constraints.T
    v = multipliers(gram.double().cpu().numpy(), dots.double().cpu().numpy(), margin)
    gradient.add_(torch.from_numpy(v).to(gradient) @ constraints)


def multipliers(gram: np.ndarray, dots: np.ndarray, margin: float) -> np.ndarray:
    """Solve the dual quadratic program of GEM (arXiv 1706.08840): v, float64 [k].

    min_v v^T G G^T v / 2 + (G g)^T v subject to v >= gamma, of float64 G G^T [k, k] and G g [k].
    With gamma = 0, g + G^T v is the vector nearest to g that no row of G speaks against.
    """
    from scipy.optimize import nnls

    k = len(dots)
    # with v = gamma + u the bound is u >= 0, and the linear term that of g + gamma sum_k g_k
    linear = dots + margin * gram.sum(axis=1)
    # u^T L L^T u / 2 + linear^T u is |L^T u + L^-1 linear|^2 / 2 up to a constant
    size = max(float(np.trace(gram)) / k, TINY)
    factor = np.linalg.cholesky(gram + RIDGE * size * np.eye(k))
    u: np.ndarray = nnls(factor.T, -np.linalg.solve(factor, linear))[0]
    return margin + u
