"""Mixup (arXiv 1710.09412): samples of a batch mixed with others of it, drawn on the host."""

from __future__ import annotations

import torch
from torch import Tensor

from autods.core.transfer import queued


def mixed(
    features: Tensor, labels: Tensor, least: float, draws: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Mix each sample of n batches with another of its batch.

    Each batch has one weight w, drawn uniformly from ``least`` to 1, and one random
    permutation of its samples: x becomes w x + (1 - w) x', and its loss is to be
    w L(x, y) + (1 - w) L(x, y'). Takes features [n, m, B, d] and labels [n, m, B].

    Returns
    -------
    tuple
        The mixed features, float32 [n, m, B, d]; the labels y' of the partners [n, m, B]; the
        weights w, float32 [n, m].
    """
    n, m, size = labels.shape
    weight = least + (1 - least) * torch.rand(n, m, generator=draws)
    partner = torch.rand(n, m, size, generator=draws).argsort(dim=-1)
    partner, weight = (queued(drawn, labels.device) for drawn in (partner, weight))
    x = features.float()
    other = torch.gather(x, 2, partner[..., None].expand_as(x))
    w = weight[..., None, None]
    return w * x + (1 - w) * other, torch.gather(labels, 2, partner), weight
