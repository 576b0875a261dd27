"""Averaged gradient episodic memory, A-GEM and A-GEM-R (arXiv 1812.00420).

What is projected is the gradient; AdamW then scales its coordinates, so the step itself keeps the
constraint only about. Current and replayed samples are passed through the network apart, as
published: their gradients must not mix in the batch statistics.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bmc.config import Config
from bmc.methods.base import METHODS
from bmc.methods.experience_replay import Replay
from bmc.train.copies import StackedCopies
from bmc.train.losses import task_loss
from bmc.train.memory import Reservoir, TaskMemory


@METHODS.register("agem")
class AveragedGEM(Replay):
    """No update may raise the loss on samples of former tasks; a memory all tasks share evenly."""

    name = "agem"
    title = "A-GEM"
    source = "Chaudhry et al., ICLR 2019, arXiv 1812.00420"
    equation = """
        g = ∇ L_T(batch),  g_ref = ∇ L_T(samples of M)
        g ← g − (g·g_ref / g_ref·g_ref) g_ref     where g·g_ref < 0
    """

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        self.memory = TaskMemory(config.memory, dim, device)

    def observe(self, update: StackedCopies, x: Tensor, labels: Tensor, keep: Tensor) -> None:
        """Make one update along the projected gradient."""
        own, old = (slice(self.config.batch_size), slice(self.config.batch_size, x.shape[1]))
        reference = None
        if x.shape[1] > self.config.batch_size:
            logits, _ = self.net(x[:, old], keep[:, old])
            reference = update.gradient(task_loss(logits, labels[:, old])).clone()
        logits, _ = self.net(x[:, own], keep[:, own])
        gradient = update.gradient(task_loss(logits, labels[:, own]))
        if reference is not None:
            project(gradient, reference)
        update.apply()


@METHODS.register("agem-r")
class AveragedGEMReservoir(AveragedGEM):
    """A-GEM with a reservoir of all former samples as its memory."""

    name = "agem-r"
    title = "A-GEM-R"
    source = (
        "A-GEM (arXiv 1812.00420) with the reservoir of Chaudhry et al. 2019 (arXiv 1902.10486)"
    )
    equation = """
        as A-GEM; M is a uniform sample of all former samples
    """

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        self.memory = Reservoir(config.memory, dim, device)


def project(gradient: Tensor, reference: Tensor) -> None:
    """Make a gradient g [1, P] the nearest one with g.g_ref >= 0, in place.

    g - (g.g_ref / g_ref.g_ref) g_ref where g.g_ref < 0 (arXiv 1812.00420).
    """
    dot = (gradient * reference).sum()
    share = dot / reference.square().sum()
    gradient.sub_(torch.where(dot < 0, share, 0.0) * reference)
