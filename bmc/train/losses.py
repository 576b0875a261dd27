"""The losses of Batch Model Consolidation, as on the paper's poster, and one that others share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

TINY = 1e-12  # a distance below which features count as equal


def sample_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each sample, float32 [K, B], of logits [K, B, C] and labels [K, B].

    Logits of classes that a copy lacks are so low that their exponentials are 0.
    """
    losses = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    return losses.view(labels.shape)


def task_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy L_T [K], the mean over the batch; see `sample_losses`."""
    return sample_losses(logits, labels).mean(dim=1)


def feature_distance(teacher: Sequence[Tensor], student: Sequence[Tensor]) -> Tensor:
    """Intermediate-feature distillation L_bd(teacher, student).

    ``sum_i || stopgrad(phi_i^teacher) - phi_i^student ||_2`` over the layers i, [K, B, width_i]
    each, as the poster writes it: the plain (not squared) Euclidean norm of each sample, and
    its mean over the batch: float32 [K].
    """
    distance: Tensor = _Distance.apply(len(student), *teacher, *student)
    return distance


def among(logits: Tensor, first: Tensor, stop: Tensor) -> Tensor:
    """Take classes outside ``first ... stop - 1`` out of the competition: [K, B, C].

    The bounds, int64 [K, 1], are those of each copy's batch.
    """
    numbers = torch.arange(logits.shape[-1], device=logits.device)
    outside = (numbers < first) | (numbers >= stop)  # [K, C]
    return logits.masked_fill(outside[:, None], -torch.inf)


def stored_phi(phi: Tensor, kind: str, width: int) -> Tensor:
    """Return the columns of phi [..., sum of widths] that a kind of distillation compares.

    ``norm``: those of all layers; ``squared``: of the last block, of ``width``.
    """
    return phi if kind == "norm" else phi[..., -width:]


def distillation_loss(
    kind: str, stored: Tensor, student: Sequence[Tensor], keep: Tensor, dropout: float
) -> Tensor:
    """Distance of a student's features to stored ones, float32 [K].

    ``norm``: `feature_distance` over all layers, as the poster's L_bd. ``squared``: the mean
    squared error of the last block's output after dropout, which is what the published code
    has and leaves out of its losses.

    Parameters
    ----------
    stored
        What `stored_phi` returned for the teacher, [K, B, width].
    student
        The phi of `ResidualMLP`, in training.
    keep
        bool [K, B or more, dropout_width], as the student's pass was given.
    """
    if kind == "norm":
        widths = [layer.shape[-1] for layer in student]
        return feature_distance(torch.split(stored.float(), widths, dim=-1), student)
    last = student[-1]
    kept = keep[:, : last.shape[1], -last.shape[2] :]
    return (stored.float() - last * kept / (1 - dropout)).square().mean(dim=(-2, -1))


class _Distance(torch.autograd.Function):
    """The norms of teacher - student by row, added up over layers, averaged over the batch."""

    @staticmethod
    def forward(ctx: Any, layers: int, *phi: Tensor) -> Tensor:
        pairs = zip(phi[:layers], phi[layers:], strict=True)
        differences = [student - teacher for teacher, student in pairs]
        norms = [torch.linalg.vector_norm(d, dim=-1) for d in differences]  # [K, B]
        ctx.save_for_backward(*differences, *norms)
        return torch.stack(norms).sum(dim=0).mean(dim=-1)

    @staticmethod
    def backward(ctx: Any, d_distance: Tensor) -> tuple[Tensor | None, ...]:
        layers = len(ctx.saved_tensors) // 2
        differences, norms = ctx.saved_tensors[:layers], ctx.saved_tensors[layers:]
        each = (d_distance / norms[0].shape[-1])[:, None]
        # of equal features the difference is zero, and so is the gradient
        grads = [
            d.mul_((each / norm.clamp(min=TINY))[..., None])
            for d, norm in zip(differences, norms, strict=True)
        ]
        return (None, *([None] * layers), *grads)


def expert_loss(task: Tensor, stability: Tensor, lam: float) -> Tensor:
    """L_exp = L_T(expert(x), y) + lambda L_bd(base(x), expert(x)); all [K]."""
    return task + lam * stability


def base_loss(task: Tensor, distillation: Tensor, alpha: float, beta: float) -> Tensor:
    """L_base = alpha L_T(base'(x), y) + beta L_bmc(base', D); all [K]."""
    return alpha * task + beta * distillation


def contrastive(outputs: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Supervised contrastive loss (arXiv 2004.11362, equation 2) of rows [n, c]: a scalar.

    The mean over rows i that share their label with other rows p of the mean over these of
    -log(exp(z_i z_p / T) / sum_{a != i} exp(z_i z_a / T)), z of length 1.
    """
    z = functional.normalize(outputs, dim=1)
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    likeness = (z @ z.T / temperature).masked_fill(itself, -torch.inf)
    shares = torch.log_softmax(likeness, dim=1).masked_fill(itself, 0.0)
    alike = (labels[:, None] == labels) & ~itself
    counts = alike.sum(dim=1)
    each = -(shares * alike).sum(dim=1) / counts.clamp(min=1)
    return each.sum() / (counts > 0).sum().clamp(min=1)
