"""iCaRL: exemplars, distillation, nearest mean of exemplars (arXiv 1611.07725).

phi is the output of the second block, of length 1. The paper's m = K / t is rounded for each
class so that the whole memory is used; with less memory than classes, some have no exemplar and
are never predicted. The optimiser is AdamW, as of all methods here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from autods.core.transfer import queued
from bmc.config import Config
from bmc.methods.base import METHODS
from bmc.methods.experience_replay import Remembering
from bmc.train.data import Split, TaskTensors
from bmc.train.replay import Rows
from bmc.train.rows import together
from bmc.train.seeds import generator

BLOCK = 8192  # rows whose phi is computed at once
NEVER = -2.0  # below every cosine


class Exemplars(Rows):
    """Exemplars class by class, in the order in which they were chosen."""

    prefix = "exemplars"

    def renew(self, features: Tensor, labels: Tensor) -> None:
        """Hold these samples [n, d], [n] and no others."""
        self._stored = len(labels)
        self.write(torch.arange(len(labels), device=labels.device), features, labels)


@METHODS.register("icarl")
class ICaRL(Remembering):
    """Herded exemplars join each task, old outputs are distilled; nearest mean of exemplars."""

    name = "icarl"
    title = "iCaRL"
    source = "Rebuffi et al., CVPR 2017, arXiv 1611.07725"
    equation = """
        L = Σ_c BCE(f_c(x), t_c),  t_c = σ(f_c^before(x)) of former classes, else the label
        exemplars of a class by herding:  p_k = argmin_x ‖ mean φ − (φ(x) + Σ_{j<k} φ(p_j)) / k ‖
        class of x:  argmin_c ‖ φ(x) − mean φ of the exemplars of c ‖,  all of length 1
    """
    memory: Exemplars

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        self.known = 0  # classes before the task that is learned
        self.teacher = self.new_net(n_classes, "initial weights")  # the network of before
        draws = generator(config.seed, "exemplars")
        self._turn = torch.randperm(n_classes, generator=draws)  # whose m is rounded up first
        self._means: Tensor | None = None

    def new_memory(
        self, capacity: int, dim: int, device: torch.device, n_outputs: int
    ) -> Exemplars:
        """Return an empty set of exemplars."""
        return Exemplars(capacity, dim, device, n_outputs)

    def learn(self, group: Sequence[TaskTensors]) -> None:
        """Train on the task's data and the exemplars, then choose exemplars of the task."""
        self.known = group[0].start
        self.teacher.load_state_dict(self.net.state_dict())
        super().learn([replace(task, train=self._joined(task.train)) for task in group])
        with self.watch.phase("memory", self.device):
            self._renew(group)
            self._means = self._mean_of_exemplars()

    def end_group(self, group: Sequence[TaskTensors]) -> None:
        """Do nothing: `learn` chooses exemplars, of the task without those that joined it."""

    def _exemplars(self) -> tuple[Tensor, Tensor]:
        return self.memory.features[: len(self.memory)], self.memory.labels[: len(self.memory)]

    def _joined(self, data: Split) -> Split:
        """Return the data of a task followed by all exemplars."""
        features, labels = self._exemplars()
        return Split(
            together([data.features, features.to(data.features.device, data.features.dtype)]),
            torch.cat([data.labels, labels]),
        )

    def loss(self, x: Tensor, labels: Tensor, keep: Tensor, *drawn: Tensor) -> Tensor:
        """Return the binary cross-entropy of Algorithm 3, summed over classes, [1].

        Targets are the sigmoid outputs of the former network for classes known before (of
        exemplars too), and the labels for the others.
        """
        logits, _ = self.net(x, keep)
        targets = functional.one_hot(labels, logits.shape[-1]).float()
        targets[..., : self.known] = self.teacher(x, classes=self.known)[0].sigmoid()
        losses = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        return losses.sum(dim=-1).mean(dim=-1)

    def _phi(self, features: Tensor) -> Tensor:
        """Return phi of rows [n, d], of length 1: float32 [n, width]."""
        layer = self.net.phi_widths[-1]
        parts = [self.net.phi(self.inputs(x))[:, -layer:] for x in torch.split(features, BLOCK)]
        return functional.normalize(torch.cat(parts), dim=1)

    def _renew(self, group: Sequence[TaskTensors]) -> None:
        """Cut the exemplars of each class to its first m, and choose those of new classes."""
        m = quotas(self._turn[: self.seen], self.config.memory)
        stored, former = self._exemplars()
        first = torch.searchsorted(former, former)  # where the class of each exemplar begins
        rank = torch.arange(len(former), device=self.device) - first
        kept = rank < queued(m, self.device)[former]
        features, labels = [stored[kept]], [former[kept]]
        for task in group:
            own = task.train.labels.to(task.train.features.device)
            for c in range(task.start, task.stop):
                x = task.train.features[own == c]
                chosen = herding(self._phi(x), int(m[c])) if len(x) else own[:0]
                features.append(x[chosen.to(x.device)].to(stored))
                labels.append(torch.full((len(chosen),), c, device=self.device))
        self.memory.renew(torch.cat(features), torch.cat(labels))

    def _mean_of_exemplars(self) -> Tensor:
        """Return the mean phi of each class's exemplars, of length 1: float32 [seen, width]."""
        features, labels = self._exemplars()
        members = functional.one_hot(labels, self.seen).float()
        # the number of exemplars cancels
        return functional.normalize(members.T @ self._phi(features), dim=1)

    def scores(self, features: Tensor) -> Tensor:
        """Return the cosine of phi and the means, float32 [n, seen].

        Of vectors of length 1 the nearest is the one of the largest cosine.
        """
        if self._means is None:
            self._means = self._mean_of_exemplars()
        scores = self._phi(features) @ self._means.T
        return scores.masked_fill((self._means == 0).all(dim=1), NEVER)

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Load network and exemplars."""
        super().load_state(state)
        self._means = None


def quotas(turn: Tensor, memory: int) -> Tensor:
    """Return how many exemplars each class may have, in all ``memory``: int64 [t].

    memory / t, rounded up for the classes that come first in ``turn``. It never grows for a
    class when others join, so what was cut off is never missed.
    """
    rank = turn.argsort().argsort()
    return ((memory - rank - 1) // len(turn) + 1).clamp(min=0)


def herding(phi: Tensor, m: int) -> Tensor:
    """Choose exemplars greedily by Algorithm 4: int64 [at most m], in the order chosen.

    Of the samples of one class, phi [n, width], each is the one that brings the mean of the
    chosen nearest to the mean of all; none is taken twice.
    """
    mean, total = phi.mean(dim=0), torch.zeros_like(phi[0])
    # |total + phi - k mean|^2, less what is the same for all samples
    own = phi.square().sum(dim=1)
    chosen = torch.empty(min(m, len(phi)), dtype=torch.int64, device=phi.device)
    for k in range(len(chosen)):
        best = torch.argmin(own + 2 * (phi @ (total - (k + 1) * mean)), dim=0, keepdim=True)
        chosen[k : k + 1] = best
        total = total + phi.index_select(0, best)[0]
        own.index_fill_(0, best, torch.inf)
    return chosen
