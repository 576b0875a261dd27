"""FeCAM (arXiv 2309.14062): Mahalanobis distance to class means, by shrunk correlations.

Tukey's transform is left out, as the paper does for features with negative values.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from bmc.config import Config
from bmc.data import TaskTensors
from bmc.methods.base import METHODS, Method
from bmc.methods.slda import DeepSLDA

BLOCK = 8192  # rows merged at once; bounds the float64 copies


def shrunk_correlation(covariance: Tensor, gamma: float) -> Tensor:
    """Shrink a covariance [d, d] and scale it to correlations.

    S = Sigma + gamma V1 I + gamma V2 (1 - I), V1 the mean variance and V2 the mean covariance
    of two features; then S(i, j) / sqrt(S(i, i) S(j, j)).
    """
    d = len(covariance)
    diagonal = covariance.diagonal()
    V1 = diagonal.mean().clamp(min=1e-12)  # a class of one sample has no variance
    V2 = (covariance.sum() - diagonal.sum()) / max(1, d * (d - 1))
    shrunk = covariance + gamma * V2
    shrunk.diagonal().add_(gamma * (V1 - V2))
    deviation = shrunk.diagonal().sqrt()
    return shrunk / (deviation[:, None] * deviation)


@METHODS.register("fecam-shared")
class SharedFeCAM(DeepSLDA):
    """FeCAM with one covariance for all classes; closed form, no rehearsal.

    The covariance is the pooled within-class one of `DeepSLDA`, which does not depend on the
    order of tasks, so the distance is linear in the feature up to a term equal for all classes.
    """

    name = "fecam-shared"
    title = "FeCAM (shared)"

    def _solve(self) -> tuple[Tensor, Tensor]:
        """W = P mu and b = -mu.w / 2, P the inverse correlation, mu of length 1."""
        if self._weight is None or self._bias is None:
            covariance = self.scatter / (self.counts.sum() - self.seen).clamp(min=1)
            shrunk = shrunk_correlation(covariance, self.config.fecam_shrinkage)
            mu = functional.normalize(self.means[: self.seen], dim=1)
            weight = torch.cholesky_solve(mu.T, torch.linalg.cholesky(shrunk))  # [d, seen]
            self._weight = weight.float()
            self._bias = (-0.5 * (mu * weight.T).sum(dim=1)).float()
        return self._weight, self._bias

    def scores(self, features: Tensor) -> Tensor:
        """Return minus half the distance plus a term of the sample, float32 [n, seen]."""
        return super().scores(functional.normalize(features.to(self.device).float(), dim=1))


@METHODS.register("fecam")
class FeCAM(Method):
    """FeCAM with a covariance of its own for each class; closed form, no rehearsal.

    Attributes
    ----------
    counts, means
        float64 [C] and [C, d]: samples and mean feature of each class.
    scatter
        float32 [C, d, d], scatter of each class; float32 since there are C of them.
    """

    name = "fecam"
    title = "FeCAM"

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        self.counts = torch.zeros(n_classes, dtype=torch.float64, device=device)
        self.means = torch.zeros(n_classes, dim, dtype=torch.float64, device=device)
        self.scatter = torch.zeros(n_classes, dim, dim, device=device)

    def learn(self, group: Sequence[TaskTensors]) -> None:
        """Merge the statistics of the group's training data, class by class."""
        with self.watch.phase("train", self.device):
            for task in group:
                for label in torch.unique(task.train.labels).tolist():
                    index = (task.train.labels == label).nonzero()[:, 0]
                    for rows in torch.split(index.to(task.train.features.device), BLOCK):
                        self._merge(task.train.features[rows].to(self.device).double(), label)
        self.seen = group[-1].stop

    def _merge(self, x: Tensor, label: int) -> None:
        """Merge rows x [n, d] of one class (Chan's formula)."""
        mean = x.mean(dim=0)
        centred = x - mean
        shift = mean - self.means[label]
        total = self.counts[label] + len(x)
        between = (self.counts[label] * len(x) / total) * torch.outer(shift, shift)
        self.scatter[label] += (centred.T @ centred + between).float()
        self.means[label] += shift * (len(x) / total)
        self.counts[label] = total

    def scores(self, features: Tensor) -> Tensor:
        """Return minus the squared Mahalanobis distance, float32 [n, seen]."""
        z = functional.normalize(features.to(self.device).float(), dim=1)
        means = functional.normalize(self.means[: self.seen], dim=1).float()
        scores = z.new_empty(len(z), self.seen)
        for c in range(self.seen):
            # factors are not kept: they would double the memory for a sixth of the time
            covariance = self.scatter[c] / (self.counts[c] - 1).clamp(min=1).float()
            shrunk = shrunk_correlation(covariance, self.config.fecam_shrinkage)
            factor = torch.linalg.cholesky(shrunk)
            away = torch.linalg.solve_triangular(factor, (z - means[c]).T, upper=False)  # [d, n]
            scores[:, c] = -away.square().sum(dim=0)
        return scores

    def memory_bytes(self) -> int:
        """Bytes of counts and means (float64) and of one scatter per class (float32)."""
        return self.seen * (8 * (self.dim + 1) + 4 * self.dim * self.dim)

    def state(self) -> dict[str, Tensor]:
        """Return the statistics, the scatters of the seen classes only."""
        return {
            "counts": self.counts,
            "means": self.means,
            "scatter": self.scatter[: self.seen],
        }

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Load the statistics."""
        self.counts = state["counts"].to(self.device)
        self.means = state["means"].to(self.device)
        self.scatter[: len(state["scatter"])] = state["scatter"].to(self.device)
