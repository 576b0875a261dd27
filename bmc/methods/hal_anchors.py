"""Anchors of hindsight anchor learning: the points that future training would forget most.

How they are used is in `bmc.methods.hal`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from bmc.network.passes import Parts, evaluate

STEP = 0.01  # of the ascent, as a share of an anchor's length
TINY = 1e-12  # a length below which a gradient counts as zero


def climb(
    hindsight: Parts,
    parts: Parts,
    x: Tensor,
    labels: Tensor,
    means: Tensor,
    gamma: float,
    steps: int,
) -> Tensor:
    """Move points x [c, d] so many steps up the gradient of `objective`, and return them."""
    for _ in range(steps):
        x = x.detach().requires_grad_()
        value = objective(hindsight, parts, x, labels, means, gamma)
        gradient = torch.autograd.grad(value.sum(), x)[0]
        direction = functional.normalize(gradient, dim=1, eps=TINY)
        x = x.detach() + STEP * x.detach().norm(dim=1, keepdim=True) * direction
    return x.detach()


def objective(
    hindsight: Parts, parts: Parts, x: Tensor, labels: Tensor, means: Tensor, gamma: float
) -> Tensor:
    """Return what an anchor e maximises (arXiv 2002.08165), [c].

    l(f_M(e), y) - l(f(e), y) - gamma |phi(e) - mean|^2: what fine-tuning on the memory makes it
    lose, near the mean embedding of its class. ``hindsight`` is the network after that
    fine-tuning, f_M, ``parts`` the one before, f; x is e, float32 [c, d], what the network reads,
    labels int64 [c], means float32 [c, width] in the space of the last phi.
    """
    logits, phi = evaluate(parts, x[None], torch.float32)
    forgotten, _ = evaluate(hindsight, x[None], torch.float32)
    lost = functional.cross_entropy(forgotten[0], labels, reduction="none")
    lost = lost - functional.cross_entropy(logits[0], labels, reduction="none")
    return lost - gamma * (phi[-1][0] - means).square().sum(dim=1)


def one_of_each(labels: Tensor, n_classes: int, generator: torch.Generator) -> Tensor:
    """Choose one row of each class 0 ... n_classes - 1, int64 [n_classes]; labels on the CPU.

    A class without rows gets one of another class.
    """
    order = torch.randperm(len(labels), generator=generator)
    by_class = order[torch.argsort(labels[order], stable=True)]
    first = torch.searchsorted(labels[by_class], torch.arange(n_classes))
    return by_class[first.clamp(max=len(labels) - 1)]
