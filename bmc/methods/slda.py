"""Deep SLDA: streaming linear discriminant analysis (arXiv 1909.01520) on frozen features.

The pooled within-class scatter is kept in batch form (Chan's merge), so the result does
not depend on the order of the samples, which the published recursion does not give.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from bmc.config import Config, option
from bmc.methods.base import METHODS
from bmc.methods.closed_form import ClosedForm
from bmc.train.data import TaskTensors
from bmc.train.packed import COUNTS, COVARIANCE, MEANS, Kept


@METHODS.register("slda")
class DeepSLDA(ClosedForm):
    """Class means and one shared covariance; closed form, no rehearsal.

    Attributes
    ----------
    counts, means
        float64 [C] and [C, d]: samples and mean feature of each class.
    scatter
        float64 [d, d], pooled within-class scatter.
    """

    name = "slda"
    title = "Deep SLDA"
    order_free = True
    source = "Hayes and Kanan, CVPR Workshops 2020, arXiv 1909.01520"
    equation = """
        Λ = ((1 − ε) S + ε s I)⁻¹,  S the pooled within-class covariance, s its mean variance
        score of class c: w_c·x + b_c,   w_c = Λ μ_c,   b_c = −μ_c·w_c / 2
    """

    kept: ClassVar[Kept] = {
        "counts": COUNTS, "means": MEANS, "scatter": COVARIANCE
    }  # fmt: skip

    @dataclass(frozen=True)
    class Options(ClosedForm.Options):
        shrinkage: float = option(
            0.1, "Share of the identity in the covariance.", above=0, at_most=1
        )

    options: Options

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        self.counts = torch.zeros(n_classes, dtype=torch.float64, device=device)
        self.means = torch.zeros(n_classes, dim, dtype=torch.float64, device=device)
        self.scatter = torch.zeros(dim, dim, dtype=torch.float64, device=device)

    def add(self, task: TaskTensors) -> None:
        """Merge the statistics of a task's training data (Chan's formula)."""
        classes = slice(task.start, task.stop)
        for x, labels in self.blocks(task):
            # a product, not index_add_: sums in a fixed order on CUDA too
            members = functional.one_hot(labels, task.n_classes).double()  # [n, c]
            counts = members.sum(dim=0)
            means = members.T @ x / counts.clamp(min=1)[:, None]
            centred = x - means[labels]
            known = self.counts[classes]  # a view: it changes with self.counts below
            total = (known + counts).clamp(min=1)
            shift = means - self.means[classes]  # between what was known of a class and what came
            weight = known * counts / total
            self.scatter += centred.T @ centred + (shift * weight[:, None]).T @ shift
            self.counts[classes] += counts
            self.means[classes] += shift * (counts / total)[:, None]

    def covariance(self) -> Tensor:
        """Return the pooled within-class covariance, float64 [D, D]."""
        return self.scatter / (self.counts.sum() - self.seen).clamp(min=1)

    def solve(self) -> tuple[Tensor, Tensor]:
        """Compute the discriminants of the means by the shrunk covariance."""
        e, S = self.options.shrinkage, self.covariance()
        # the identity is scaled to the mean variance, so e does not depend on units
        scale = S.diagonal().mean().clamp(min=1e-12)
        eye = torch.eye(self.dim, dtype=torch.float64, device=self.device)
        return discriminants(self.means[: self.seen], (1 - e) * S + e * scale * eye)


def discriminants(means: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Return W = S^-1 mu, float32 [d, C], and b = -mu.w / 2, [C], by Cholesky."""
    weight = torch.cholesky_solve(means.T, torch.linalg.cholesky(covariance))
    return weight.float(), (-0.5 * (means * weight.T).sum(dim=1)).float()
