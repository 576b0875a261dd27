"""Deep SLDA: streaming linear discriminant analysis (arXiv 1909.01520) on frozen features.

The pooled within-class scatter is kept in batch form (Chan's merge), so the result does
not depend on the order of the samples, which the published recursion does not give.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from bmc.config import Config, option
from bmc.methods.base import METHODS, Method
from bmc.train.data import TaskTensors

BLOCK = 8192  # rows merged at once; bounds the float64 copies


@METHODS.register("slda")
class DeepSLDA(Method):
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
    source = "Hayes and Kanan, CVPR Workshops 2020, arXiv 1909.01520"
    equation = """
        Λ = ((1 − ε) S + ε s I)⁻¹,  S the pooled within-class covariance, s its mean variance
        score of class c: w_c·x + b_c,   w_c = Λ μ_c,   b_c = −μ_c·w_c / 2
    """

    @dataclass(frozen=True)
    class Options(Method.Options):
        shrinkage: float = option(
            0.1, "Share of the identity in the covariance.", above=0, at_most=1
        )

    options: Options

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        self.counts = torch.zeros(n_classes, dtype=torch.float64, device=device)
        self.means = torch.zeros(n_classes, dim, dtype=torch.float64, device=device)
        self.scatter = torch.zeros(dim, dim, dtype=torch.float64, device=device)
        self._weight: Tensor | None = None
        self._bias: Tensor | None = None

    def learn(self, group: Sequence[TaskTensors]) -> None:
        """Merge the statistics of the group's training data, a block of rows at a time."""
        with self.watch.phase("train", self.device):
            self._merge_all(group)
        self.seen = group[-1].stop
        self._weight = self._bias = None

    def _merge_all(self, group: Sequence[TaskTensors]) -> None:
        for task in group:
            classes = slice(task.start, task.stop)
            for first in range(0, len(task.train), BLOCK):
                rows = slice(first, first + BLOCK)
                x = task.train.features[rows].to(self.device).double()  # [n, d]
                self._merge(x, task.train.labels[rows] - task.start, classes)

    def _merge(self, x: Tensor, labels: Tensor, classes: slice) -> None:
        # a product, not index_add_: sums in a fixed order on CUDA too
        members = functional.one_hot(labels, classes.stop - classes.start).double()  # [n, c]
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

    def _solve(self) -> tuple[Tensor, Tensor]:
        """W = ((1 - e) S + e s I)^-1 mu by Cholesky, s the mean variance; b = -mu.w / 2."""
        if self._weight is None or self._bias is None:
            e = self.options.shrinkage
            covariance = self.scatter / (self.counts.sum() - self.seen).clamp(min=1)
            # the identity is scaled to the mean variance, so e does not depend on units
            scale = covariance.diagonal().mean().clamp(min=1e-12)
            eye = torch.eye(self.dim, dtype=torch.float64, device=self.device)
            factor = torch.linalg.cholesky((1 - e) * covariance + e * scale * eye)
            mu = self.means[: self.seen]
            weight = torch.cholesky_solve(mu.T, factor)  # [d, seen]
            self._weight = weight.float()
            self._bias = (-0.5 * (mu * weight.T).sum(dim=1)).float()
        return self._weight, self._bias

    def scores(self, features: Tensor) -> Tensor:
        """Return the linear discriminants, float32 [n, seen]."""
        weight, bias = self._solve()
        return features.float() @ weight + bias

    def memory_bytes(self) -> int:
        """Bytes of means, counts and scatter, all float64."""
        return 8 * (self.seen * (self.dim + 1) + self.dim * self.dim)

    def state(self) -> dict[str, Tensor]:
        """Return the statistics."""
        return {"counts": self.counts, "means": self.means, "scatter": self.scatter}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Load the statistics."""
        self.counts = state["counts"].to(self.device)
        self.means = state["means"].to(self.device)
        self.scatter = state["scatter"].to(self.device)
        self._weight = self._bias = None
