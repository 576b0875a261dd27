"""Averaged gradient episodic memory, A-GEM and A-GEM-R (arXiv 1812.00420).

What is projected is the gradient; AdamW then scales its coordinates, so the step itself keeps the
constraint only about. Current and replayed samples are passed through the network apart, as
published: their gradients must not mix in the batch statistics.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bmc.methods.base import METHODS
from bmc.methods.experience_replay import ExperienceReplay, balance_of_memory
from bmc.train.copies import StackedCopies
from bmc.train.losses import task_loss


@METHODS.register("agem")
class AveragedGEM(ExperienceReplay):
    """No update may raise the loss on samples of former tasks; a memory all tasks share evenly."""

    name = "agem"
    title = "A-GEM"
    source = "Chaudhry et al., ICLR 2019, arXiv 1812.00420"
    replays_alone = True
    equation = """
        g = ∇ L_T(batch),  g_ref = ∇ L_T(samples of M)
        g ← g − (g·g_ref / g_ref·g_ref) g_ref     where g·g_ref < 0
    """

    def observe(
        self, update: StackedCopies, x: Tensor, labels: Tensor, keep: Tensor, *drawn: Tensor
    ) -> None:
        """Make one update along the projected gradient."""

        def gradient_of(rows: slice) -> Tensor:
            logits, _ = self.net(x[:, rows], keep[:, rows])
            return update.gradient(task_loss(logits, labels[:, rows]))

        b, n = self.config.batch_size, x.shape[1]
        reference = gradient_of(slice(b, n)).clone() if n > b else None
        gradient = gradient_of(slice(b))
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

    @dataclass(frozen=True)
    class Options(AveragedGEM.Options):
        memory_balance: str = balance_of_memory("none")

    options: Options


def project(gradient: Tensor, reference: Tensor) -> None:
    """Make a gradient g [1, P] the nearest one with g.g_ref >= 0, in place.

    g - (g.g_ref / g_ref.g_ref) g_ref where g.g_ref < 0 (arXiv 1812.00420).
    """
    dot = (gradient * reference).sum()
    share = dot / reference.square().sum()
    gradient.sub_(torch.where(dot < 0, share, 0.0) * reference)
