"""Slow learner with classifier alignment, SLCA (arXiv 2303.05118): no samples are kept.

The paper fine-tunes a pretrained backbone slowly. Here the backbone is frozen and the network on
its features begins untrained, so its trunk is slow from the second task on; what batch
normalisation remembers is part of it and moves as slowly. As in the paper only the task's classes
compete in training, and Gaussians are of the features as they were when a class was learned: the
trunk's later drift is not mended. That drift costs more here than slow learning gains (on the
tuning datasets 55 % with a frozen trunk, 54 with a thousandth of the rate, 45 with a hundredth, 18
with a tenth; diagonal covariances, 64 draws), so by default the trunk learns the first task alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from bmc.config import Config, option
from bmc.methods.base import METHODS
from bmc.methods.gaussians import COVARIANCES, ClassGaussians
from bmc.methods.net_method import NetMethod
from bmc.train.copies import StackedCopies
from bmc.train.data import TaskTensors, take, training_data
from bmc.train.losses import task_loss
from bmc.train.rows import Features
from bmc.train.seeds import derive

BLOCK = 8192  # rows whose features are computed at once
ROUND = 16  # features drawn of each class at once
TINY = 1e-12


@METHODS.register("slca")
class SlowLearner(NetMethod):
    """A slow trunk; the head is retrained on features drawn from a Gaussian of each class.

    Attributes
    ----------
    gaussians
        Of the features of each seen class, as they were when its task ended.
    """

    name = "slca"
    title = "SLCA"
    source = "Zhang et al., ICCV 2023, arXiv 2303.05118"
    equation = """
        L = L_T(batch; only the task's classes compete),   rate of the trunk: η · rate of the head
        after the task, head alone:  φ ~ N(μ_c, Σ_c) of all classes c,
        L = −log softmax( l / (τ ‖l‖) )_c,   l = W φ + b
    """

    @dataclass(frozen=True)
    class Options(NetMethod.Options):
        slow: float = option(
            0.0, "Learning rate of the trunk as a share of the head's, after the first task.",
            at_least=0, at_most=1,
        )  # fmt: skip
        covariance: str = option(
            "shared", "Of a class's features: full, diagonal, or one shared by all classes.",
            one_of=COVARIANCES,
        )  # fmt: skip
        draws: int = option(256, "Features drawn of each class after a task.", at_least=1)
        alignment_batch: int = option(128, "Drawn features per update of the head.", at_least=1)
        alignment_rate: float = option(0.005, "AdamW learning rate of the alignment.", above=0)
        temperature: float = option(0.1, "Temperature of normalised logits.", above=0)

    options: Options

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        covariance = self.options.covariance
        self.gaussians = ClassGaussians(self.net.width, covariance, self.device)
        self._start, self._slow = 0, 1.0

    def begin_group(self, group: Sequence[TaskTensors]) -> None:
        """Note the task's first class; all but the first task are learned slowly."""
        self._start = group[0].start
        self._slow = self.options.slow if self._start else 1.0

    def loss(self, x: Tensor, labels: Tensor, keep: Tensor, *drawn: Tensor) -> Tensor:
        """Return the cross-entropy among the task's classes alone, [1]."""
        logits, _ = self.net(x, keep)
        return task_loss(logits[..., self._start : self.seen], labels - self._start)

    def observe(
        self, update: StackedCopies, x: Tensor, labels: Tensor, keep: Tensor, *drawn: Tensor
    ) -> None:
        """Make one update in which the trunk goes a share of its way.

        AdamW's step, weight decay included, is proportional to its rate, so this equals an
        AdamW with a smaller rate for the trunk.
        """
        slow = self.net.weights.data[:, : self.net.trunk], self.net.statistics
        before = [tensor.clone() for tensor in slow]
        super().observe(update, x, labels, keep, *drawn)
        for tensor, home in zip(slow, before, strict=True):
            tensor.lerp_(home, 1 - self._slow)

    def end_group(self, group: Sequence[TaskTensors]) -> None:
        """Keep a Gaussian of each new class, then align the head with those of all classes."""
        data = training_data(group)
        phi = self.features(data.features)
        labels = data.labels.to(self.device)
        self.gaussians.add([phi[labels == c] for c in range(self._start, self.seen)])
        self._align(group[0].index)

    def features(self, features: Features) -> Tensor:
        """Return what the head reads of stored rows [n, d]: float32 [n, w]."""
        blocks = torch.split(torch.arange(len(features)), BLOCK)
        rows = [self.inputs(take(features, block, self.device)) for block in blocks]
        return torch.cat([self.net.phi(x)[:, -self.net.width :] for x in rows])

    def _batches(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        for first in range(0, self.options.draws, ROUND):
            count = min(ROUND, self.options.draws - first)
            phi, labels = self.gaussians.draw(count, generator)
            order = torch.randperm(len(labels), generator=generator, device=self.device)
            for rows in torch.split(order, self.options.alignment_batch):
                yield phi[rows], labels[rows]

    def _align(self, index: int) -> None:
        """Retrain the head of the seen classes on drawn features."""
        parts = self.net.parts()
        head, bias = parts.head[0, : self.seen], parts.head_bias[0, 0, : self.seen]
        weights = [tensor.clone().requires_grad_() for tensor in (head, bias)]
        optimiser = torch.optim.AdamW(
            weights, self.options.alignment_rate, weight_decay=self.config.weight_decay, fused=True
        )
        seed = derive(self.config.seed, "alignment", index)
        for phi, labels in self._batches(torch.Generator(self.device).manual_seed(seed)):
            optimiser.zero_grad()
            logits = normalised(phi @ weights[0].T + weights[1], self.options.temperature)
            torch.autograd.backward(functional.cross_entropy(logits, labels))
            optimiser.step()
            self.steps += 1
        head.copy_(weights[0].detach())
        bias.copy_(weights[1].detach())

    def state(self) -> dict[str, Tensor]:
        """Return network and Gaussians."""
        return super().state() | self.gaussians.state()

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Load network and Gaussians."""
        super().load_state(state)
        self.gaussians.load_state(state)


def normalised(logits: Tensor, temperature: float) -> Tensor:
    """Scale each row of logits [n, C] to length 1 / temperature."""
    return functional.normalize(logits, dim=1, eps=TINY) / temperature
