"""The losses of Batch Model Consolidation, with the equations of the paper's poster."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def task_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy L_T, one value per stacked copy.

    Parameters
    ----------
    logits
        float32 [K, B, C]; classes that do not exist for a copy are -inf.
    labels
        int64 [K, B].

    Returns
    -------
    float32 [K], the mean over the batch.
    """
    k, b, c = logits.shape
    losses = functional.cross_entropy(
        logits.reshape(k * b, c), labels.reshape(k * b), reduction="none"
    )
    return losses.view(k, b).mean(dim=1)


def feature_distance(teacher: Sequence[Tensor], student: Sequence[Tensor]) -> Tensor:
    """Intermediate-feature distillation L_bd(teacher, student).

    ``sum_i || stopgrad(phi_i^teacher) - phi_i^student ||_2`` over the layers i, as the
    poster writes it: the plain (not squared) Euclidean norm of each sample.

    Parameters
    ----------
    teacher, student
        One tensor [K, B, width_i] per layer.

    Returns
    -------
    float32 [K], the mean over the batch.
    """
    total = torch.zeros((), device=student[0].device)
    for phi_t, phi_s in zip(teacher, student, strict=True):
        total = total + torch.linalg.vector_norm(phi_t.detach() - phi_s, dim=-1)  # [K, B]
    return total.mean(dim=-1)


def expert_loss(task: Tensor, stability: Tensor, lam: float) -> Tensor:
    """L_exp = L_T(expert(x), y) + lambda L_bd(base(x), expert(x)); all [K]."""
    return task + lam * stability


def base_loss(task: Tensor, distillation: Tensor, alpha: float, beta: float) -> Tensor:
    """L_base = alpha L_T(base'(x), y) + beta L_bmc(base', D); all [K]."""
    return alpha * task + beta * distillation
