"""Deep SLDA: streaming linear discriminant analysis (arXiv 1909.01520) on frozen features.

The within-class scatter is kept in batch form (Chan's merge), so the result does
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
from bmc.methods.closed_form import shrunk_covariance
from bmc.methods.regularised import Regularised
from bmc.train.data import TaskTensors
from bmc.train.packed import COUNTS, COVARIANCE, MEANS, Kept, rounding


@METHODS.register("slda")
class DeepSLDA(Regularised):
    """Class means and one shared covariance; closed form, no rehearsal.

    As published, every sample weighs the same in the covariance (``balanced=false``) and the
    shrinkage is fixed, at 0.0001 of an identity that is not scaled to the mean variance.

    Attributes
    ----------
    counts, means
        float64 [C] and [C, d]: samples and mean feature of each class.
    scatter
        float64 [d, d], within-class scatter, pooled or with 1 / (n_c - 1) as the weight of class c.
    """

    name = "slda"
    title = "Deep SLDA"
    order_free = True
    source = "Hayes and Kanan, CVPR Workshops 2020, arXiv 1909.01520"
    equation = """
        A = Σ_c a_c Σ_{i in c} (x_i − μ_c)(x_i − μ_c)ᵀ,   a_c = 1/(n_c − 1), or 1 (as published)
        S = A / C,  or A / (n − C)
        Λ = ((1 − ε) S + ε s I)⁻¹,  s the mean variance;  ε given, or chosen on withheld samples
        score of class c: w_c·x + b_c,   w_c = Λ μ_c,   b_c = −μ_c·w_c / 2
    """

    grid: ClassVar[tuple[float, ...]] = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
    unknown = 0.1
    kept: ClassVar[Kept] = Regularised.kept | {
        "counts": COUNTS, "means": MEANS, "scatter": COVARIANCE
    }  # fmt: skip

    @dataclass(frozen=True)
    class Options(Regularised.Options):
        shrinkage: float = option(
            0.0,
            "Share of the identity in the covariance; 0: chosen on withheld training samples.",
            at_least=0,
            at_most=1,
        )
        balanced: bool = option(True, "Every class weighs the same, not every sample.")

    options: Options

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        self.counts = torch.zeros(n_classes, dtype=torch.float64, device=device)
        self.means = torch.zeros(n_classes, dim, dtype=torch.float64, device=device)
        self.scatter = torch.zeros(dim, dim, dtype=torch.float64, device=device)

    def given(self) -> float:
        """Return the share of the identity; 0: it is chosen."""
        return self.options.shrinkage

    def add(self, task: TaskTensors) -> None:
        """Merge the statistics of a task's training data (Chan's formula)."""
        classes = slice(task.start, task.stop)
        weights = torch.ones_like(self.sizes[classes])
        if self.options.balanced:
            # a class stays within one task, so all of its samples are counted
            weights = 1 / (self.sizes[classes] - 1).clamp(min=1)
        for x, labels in self.blocks(task):
            # a product, not index_add_: sums in a fixed order on CUDA too
            members = functional.one_hot(labels, task.n_classes).double()  # [n, c]
            counts = members.sum(dim=0)
            means = members.T @ x / counts.clamp(min=1)[:, None]
            centred = (x - means[labels]) * weights[labels].sqrt()[:, None]
            known = self.counts[classes]  # a view: it changes with self.counts below
            total = (known + counts).clamp(min=1)
            shift = means - self.means[classes]  # between what was known of a class and what came
            between = weights * known * counts / total
            self.scatter += centred.T @ centred + (shift * between[:, None]).T @ shift
            self.counts[classes] += counts
            self.means[classes] += shift * (counts / total)[:, None]

    def covariance(self) -> Tensor:
        """Return the within-class covariance, float64 [D, D]."""
        freedom = self.counts.sum() - self.seen
        if self.options.balanced:
            freedom = (self.sizes > 1).sum()  # a class of one sample has no scatter
        return self.scatter / freedom.clamp(min=1)

    def solve_for(self, strength: float) -> tuple[Tensor, Tensor]:
        """Compute the discriminants of the means by the covariance shrunk by ``strength``."""
        S = self.covariance()
        least = 4 * rounding(S, self.kept["scatter"])
        S = shrunk_covariance(S, strength, least)
        return discriminants(self.means[: self.seen], S)


def discriminants(means: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Return W = S^-1 mu, float32 [d, C], and b = -mu.w / 2, [C], by Cholesky."""
    weight = torch.cholesky_solve(means.T, torch.linalg.cholesky(covariance))
    return weight.float(), (-0.5 * (means * weight.T).sum(dim=1)).float()
