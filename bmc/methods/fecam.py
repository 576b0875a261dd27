"""FeCAM (arXiv 2309.14062): Mahalanobis distance to class means, by shrunk correlations.

Tukey's transform is left out, as the paper does for features with negative values.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from autods.core.transfer import queued
from bmc.config import Config, option
from bmc.methods.base import METHODS
from bmc.methods.regularised import Regularised
from bmc.methods.slda import DeepSLDA, discriminants
from bmc.train.data import TaskTensors
from bmc.train.packed import COUNTS, MEANS, Kept, Packing, from_upper_triangle, upper_triangle

ROOTS = Packing(torch.float16, torch.float32)
TOGETHER = 4096  # rows of H that features are multiplied with at once
GAMMAS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
GAMMA = "Gamma of the covariance shrinkage; 0: chosen on withheld training samples."


def shrunk_correlation(covariance: Tensor, gamma: float) -> Tensor:
    """Shrink a covariance [d, d] and scale it to correlations.

    S = Sigma + gamma V1 I + gamma V2 (1 - I), V1 the mean variance and V2 the mean covariance
    of two features; then S(i, j) / sqrt(S(i, i) S(j, j)).
    """
    V1, V2 = _means_of(covariance.diagonal(), covariance.sum())
    shrunk = covariance + gamma * V2
    shrunk.diagonal().add_(gamma * (V1 - V2))
    deviation = shrunk.diagonal().sqrt()
    return shrunk / (deviation[:, None] * deviation)


def _means_of(variances: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
    """Return V1 and V2 [...] of covariances of this diagonal [..., d] and sum of all numbers."""
    d = variances.shape[-1]
    V1 = variances.mean(dim=-1).clamp(min=1e-12)  # a class of one sample has no variance
    return V1, (total - variances.sum(dim=-1)) / max(1, d * (d - 1))


def inverse_factors(roots: Tensor, gamma: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return q [d], H [m + 1, d] and signs [m + 1] of diag(q) - H^T diag(signs) H.

    That is the inverse of `shrunk_correlation` of Sigma = F^T F, given by its ``roots`` F [m, d];
    stacks of them [..., m, d] give stacks. S = a I + F^T F + b 1 1^T has at most m + 1 directions
    that differ, a = gamma (V1 - V2) and b = gamma V2, so its inverse follows from a matrix of that
    size (Woodbury): m is mostly far smaller than d. Its part of F is positive and has a Cholesky
    factor; the row of b, which may be negative, is eliminated last. With m = d = 768 a CPU takes a
    third of the time of an eigendecomposition, which a GPU computes matrix by matrix.
    """
    variances, sums = roots.square().sum(dim=-2), roots.sum(dim=-1)  # [..., d], [..., m]
    V1, V2 = _means_of(variances, sums.square().sum(dim=-1))
    a, b = gamma * (V1 - V2), gamma * V2  # [...]
    middle = roots @ roots.mT
    middle.diagonal(dim1=-2, dim2=-1).add_(a[..., None])
    both = torch.cat([roots, sums[..., None]], dim=-1)
    both = torch.linalg.solve_triangular(torch.linalg.cholesky(middle), both, upper=False)
    P, h = both[..., :-1], both[..., -1:]  # [..., m, d], [..., m, 1]
    size = b.abs()
    left = torch.where(b < 0, -a, a) + size * (roots.shape[-1] - h.square().sum(dim=(-2, -1)))
    own = (1 - h.mT @ P) * (size / left.abs()).sqrt()[..., None, None]  # [..., 1, d]
    deviation = (variances + (gamma * V1)[..., None]).sqrt()
    H = torch.cat([P, own], dim=-2) * (deviation / a[..., None].sqrt())[..., None, :]
    signs = torch.cat([torch.ones_like(sums), left.sign()[..., None]], dim=-1)
    return deviation.square() / a[..., None], H, signs


def contrasts(x: Tensor) -> Tensor:
    """Return n - 1 rows [n - 1, d] of the scatter that rows x [n, d] have around their mean.

    Row k is the mean of the first k rows less the one after them, at the scale at which the rows
    are independent (Helmert's contrasts).
    """
    k = torch.arange(1, len(x), dtype=x.dtype, device=x.device)[:, None]
    sums = x.cumsum(dim=0)[:-1]
    return (sums - k * x[1:]) / (k * (k + 1)).sqrt()


@METHODS.register("fecam-shared")
class SharedFeCAM(DeepSLDA):
    """FeCAM with one covariance for all classes; closed form, no rehearsal.

    The covariance is the within-class one of `DeepSLDA`, which does not depend on the order of
    tasks, so the distance is linear in the feature up to a term equal for all classes. As
    published: ``balanced=false``, ``shrinkage=1`` (10 for some encoders).
    """

    name = "fecam-shared"
    title = "FeCAM (shared)"
    source = "Goswami et al., NeurIPS 2023, arXiv 2309.14062"
    equation = """
        as FeCAM with one N for all classes, of the within-class covariance S of Deep SLDA
    """

    grid: ClassVar[tuple[float, ...]] = GAMMAS
    unknown = 1.0

    @dataclass(frozen=True)
    class Options(DeepSLDA.Options):
        shrinkage: float = option(0.0, GAMMA, at_least=0)

    options: Options

    def solve_for(self, strength: float) -> tuple[Tensor, Tensor]:
        """Compute the discriminants of means of length 1 by the shrunk correlation."""
        mu = functional.normalize(self.means[: self.seen], dim=1)
        return discriminants(mu, shrunk_correlation(self.covariance(), strength))

    def scores(self, features: Tensor) -> Tensor:
        """Return minus half the distance plus a term of the sample, float32 [n, seen]."""
        return super().scores(self.unit(features))


@METHODS.register("fecam")
class FeCAM(Regularised):
    """FeCAM with a covariance of its own for each class; closed form, no rehearsal.

    As published, gamma is fixed: ``shrinkage=1`` (10 for some encoders).

    Attributes
    ----------
    counts, means
        float64 [C] and [C, d]: samples and mean feature of each class.
    roots
        One float32 [m, d] for each class, m <= d: rows whose scatter is that of the class,
        its centred samples while they are fewer than d, else an upper triangle.
    """

    name = "fecam"
    title = "FeCAM"
    order_free = True
    source = "Goswami et al., NeurIPS 2023, arXiv 2309.14062"
    equation = """
        z = x / ‖x‖,  μ_c = class mean / its length
        Σ'_c = Σ_c + γ V₁ I + γ V₂ (1 − I),   N(i, j) = Σ'(i, j) / sqrt(Σ'(i, i) Σ'(j, j))
        class of x:  argmin_c  (z − μ_c)ᵀ N_c⁻¹ (z − μ_c)
    """

    grid: ClassVar[tuple[float, ...]] = GAMMAS
    unknown = 1.0
    kept: ClassVar[Kept] = Regularised.kept | {"counts": COUNTS, "means": MEANS}

    @dataclass(frozen=True)
    class Options(Regularised.Options):
        shrinkage: float = option(0.0, GAMMA, at_least=0)

    options: Options

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        self.counts = torch.zeros(n_classes, dtype=torch.float64, device=device)
        self.means = torch.zeros(n_classes, dim, dtype=torch.float64, device=device)
        self.roots = [torch.zeros(0, dim, device=device) for _ in range(n_classes)]

    def add(self, task: TaskTensors) -> None:
        """Merge the statistics of a task's training data, class by class."""
        for label in torch.unique(task.train.labels).tolist():
            rows = (task.train.labels == label).nonzero()[:, 0]
            for x, _ in self.blocks(task, rows):
                self._merge(x, label)

    def _merge(self, x: Tensor, label: int) -> None:
        """Merge rows x [n, d] of one class (Chan's formula).

        There are never more roots than samples, nor than dimensions.
        """
        mean = x.mean(dim=0)
        shift = mean - self.means[label]
        total = self.counts[label] + len(x)
        between = (self.counts[label] * len(x) / total).sqrt() * shift
        parts = [self.roots[label].double()]
        if self.counts[label] > 0:
            parts += [contrasts(x), between[None]]
        else:
            parts.append(x - mean)
        roots = torch.cat(parts)
        if len(roots) >= self.dim:  # R^T R = roots^T roots
            roots = torch.linalg.qr(roots, mode="r").R
        self.roots[label] = roots.float()
        self.means[label] += shift * (len(x) / total)
        self.counts[label] = total

    def given(self) -> float:
        """Return gamma; 0: it is chosen."""
        return self.options.shrinkage

    def solve_for(self, strength: float) -> tuple[Tensor, ...]:
        """Compute what the distances need of each class, at once of those with as many roots.

        Returns q [C, d], q mu [C, d] and mu q mu [C]; of all classes in one table H [R, d], H mu
        [R] and signs [R]; and the rows of each class in it, int64 [C]. All are float32.
        """
        means = functional.normalize(self.means[: self.seen], dim=1)
        degrees = (self.counts - 1).clamp(min=1).sqrt()
        linear: dict[int, tuple[Tensor, ...]] = {}
        of_table: dict[int, tuple[Tensor, ...]] = {}
        for classes in self._alike():
            roots = torch.stack([self.roots[c].double() / degrees[c] for c in classes])
            q, H, signs = inverse_factors(roots, strength)
            mu = torch.stack([means[c] for c in classes])  # [b, d]
            at_means = (H @ mu[..., None])[..., 0]
            sums = (q * mu * mu).sum(dim=-1)
            columns = (q.float(), (q * mu).float(), sums.float())
            linear |= dict(zip(classes, zip(*columns, strict=True), strict=True))
            columns = (H.float(), at_means.float(), signs.float())
            of_table |= dict(zip(classes, zip(*columns, strict=True), strict=True))
        tables = [of_table[c] for c in range(self.seen)]
        rows = torch.tensor([len(signs) for _, _, signs in tables])
        of_class = [
            torch.stack(column)
            for column in zip(*(linear[c] for c in range(self.seen)), strict=True)
        ]
        return (*of_class, *(torch.cat(column) for column in zip(*tables, strict=True)), rows)

    def _alike(self) -> Iterator[list[int]]:
        """Yield the seen classes, those with equally many roots together, in blocks."""
        by_rows: defaultdict[int, list[int]] = defaultdict(list)
        for c, roots in enumerate(self.roots[: self.seen]):
            by_rows[len(roots)].append(c)
        for rows, classes in by_rows.items():
            size = max(1, TOGETHER // (rows + 1))
            for first in range(0, len(classes), size):
                yield classes[first : first + size]

    def scores(self, features: Tensor) -> Tensor:
        """Return minus the squared Mahalanobis distance, float32 [n, seen].

        It is q (z - mu)^2 - signs (H z - H mu)^2, by products over many classes at once.
        """
        q, centres, constants, H, at_means, signs, rows = self.head()
        z = self.unit(features)
        scores: Tensor = 2 * z @ centres.T - z.square() @ q.T - constants
        last = 0
        for classes in torch.split(torch.arange(self.seen), self._together(rows)):
            first, last = last, last + int(rows[classes].sum())
            away = (z @ H[first:last].T - at_means[first:last]).square()
            owner = torch.repeat_interleave(classes - classes[0], rows[classes])
            owner = queued(owner, z.device)
            members = functional.one_hot(owner, len(classes)).float() * signs[first:last, None]
            scores[:, classes[0] : classes[-1] + 1] += away @ members
        return scores

    @staticmethod
    def _together(rows: Tensor) -> int:
        """Return how many classes are compared at once, so that memory stays bounded."""
        return max(1, TOGETHER // int(rows.max()))

    def state(self) -> dict[str, Tensor]:
        """Return the statistics, and the numbers of all roots one after the other in float16.

        Of a class with as many roots as dimensions they are the upper triangle.
        """
        roots = self.roots[: self.seen]
        lengths = torch.tensor([len(rows) for rows in roots], dtype=torch.int32)
        whole = [upper_triangle(r) if len(r) == self.dim else r.flatten() for r in roots]
        numbers = torch.cat([torch.zeros(0, device=self.device), *whole])
        return super().state() | {"lengths": lengths} | ROOTS.pack("roots", numbers, self.seen)

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Load the statistics."""
        super().load_state(state)
        lengths, d = state["lengths"].tolist(), self.dim
        spans = [d * (d + 1) // 2 if rows == d else rows * d for rows in lengths]
        numbers = ROOTS.unpack("roots", state, self.n_classes).to(self.device)
        for c, (rows, own) in enumerate(zip(lengths, torch.split(numbers, spans), strict=True)):
            self.roots[c] = (
                from_upper_triangle(own, symmetric=False) if rows == d else own.view(rows, d)
            )
