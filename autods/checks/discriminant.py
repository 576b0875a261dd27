"""Linear discriminant analysis from sums over rows: one covariance for all classes, shrunk.

Towards a multiple of the identity, as Ledoit and Wolf (2004) do; classes weigh the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve

SHRINKAGES = (0.03, 0.1, 0.3, 0.6)  # that are tried
TINY = 1e-9  # added to variances, so that equal rows can be solved for

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Head:
    """Scores ``x @ weights + bias``; classes without a row have the bias -inf."""

    weights: Floats  # [d, C]
    bias: Floats  # [C]

    def scores(self, x: Floats) -> Floats:
        """Score rows [n, d]: [n, C]."""
        return np.asarray(x @ self.weights + self.bias, np.float32)


@dataclass(eq=False)
class Moments:
    """Sums over rows of C classes.

    Attributes
    ----------
    products
        Of rows with themselves, float64 [d, d].
    sums
        Of rows by class, float64 [C, d].
    counts
        int64 [C].
    """

    products: npt.NDArray[np.float64]
    sums: npt.NDArray[np.float64]
    counts: Rows

    @classmethod
    def empty(cls, classes: int, dim: int) -> Moments:
        """Return the sums over no rows."""
        return cls(np.zeros((dim, dim)), np.zeros((classes, dim)), np.zeros(classes, np.int64))

    def add(self, x: Floats, labels: Rows) -> None:
        """Enter rows [n, d] with their classes [n]."""
        if not len(x):
            return
        self.products += x.T @ x
        order = np.argsort(labels, kind="stable")
        present, first = np.unique(labels[order], return_index=True)
        self.sums[present] += np.add.reduceat(x[order], first, axis=0)
        self.counts += np.bincount(labels, minlength=len(self.counts))

    def __iadd__(self, other: Moments) -> Moments:
        self.products += other.products
        self.sums += other.sums
        self.counts += other.counts
        return self

    def __sub__(self, other: Moments) -> Moments:
        return Moments(
            self.products - other.products, self.sums - other.sums, self.counts - other.counts
        )

    def head(self, shrinkage: float) -> Head:
        """Solve for the discriminant; ``shrinkage`` from 0 to 1."""
        dim, means = len(self.products), self.sums / np.maximum(self.counts, 1)[:, None]
        free = max(1, int(self.counts.sum()) - int((self.counts > 0).sum()))
        within = (self.products - means.T @ self.sums) / free
        scale = float(np.trace(within)) / dim
        within *= 1 - shrinkage
        within[np.diag_indices(dim)] += shrinkage * scale + TINY
        weights = cho_solve(cho_factor(within), means.T)  # [d, C]
        bias = -0.5 * np.einsum("cd,dc->c", means, weights)
        bias[self.counts == 0] = -np.inf
        return Head(weights.astype(np.float32), bias.astype(np.float32))
