"""Three ways to tell classes by their features: nearest neighbours, a discriminant, a linear probe.

Rows have length 1. Each returns the class of every row asked, of C that are numbered from 0.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from autods.checks.discriminant import Floats, Moments, Rows

BLOCK = 1024  # rows scored at once
STEPS = 200  # of L-BFGS, at most


def nearest(x: Floats, y: Rows, asked: Floats, neighbours: int, classes: int) -> Rows:
    """Let the nearest rows by cosine vote, each with the same weight.

    Among classes with as many votes, the one of the lowest number wins, as in scikit-learn.

    Parameters
    ----------
    x, y
        Rows [n, d] with their classes [n].
    asked
        Rows [m, d].
    neighbours
        How many vote; all of them where there are fewer.

    Returns
    -------
    int64 [m]
    """
    k, out = min(neighbours, len(x)), np.empty(len(asked), np.int64)
    for start in range(0, len(asked), BLOCK):
        cosine = asked[start : start + BLOCK] @ x.T  # [b, n]
        near = y[np.argpartition(cosine, len(x) - k, axis=1)[:, len(x) - k :]]  # [b, k]
        votes = np.zeros((len(near), classes), np.int64)
        np.add.at(votes, (np.arange(len(near))[:, None], near), 1)
        out[start : start + BLOCK] = votes.argmax(axis=1)
    return out


def discriminant(x: Floats, y: Rows, asked: Floats, shrinkage: float, classes: int) -> Rows:
    """Choose by linear discriminant analysis; parameters as of `nearest`."""
    moments = Moments.empty(classes, x.shape[1])
    moments.add(x, y)
    return np.asarray(moments.head(shrinkage).scores(asked).argmax(axis=1), np.int64)


def linear(x: Floats, y: Rows, asked: Floats, strength: float, classes: int) -> Rows:
    """Choose by multinomial logistic regression; parameters as of `nearest`.

    It minimises the summed cross-entropy times ``strength`` plus half the squared weights, the
    objective of scikit-learn's ``LogisticRegression(C=strength)``; the bias is free.
    """
    mean = x.mean(axis=0)  # the bias takes it up; the steps become shorter without
    fitted = _fit(x - mean, y, strength, classes)
    weights, bias = fitted[:, :-1], fitted[:, -1]
    return np.asarray(((asked - mean) @ weights.T + bias).argmax(axis=1), np.int64)


def _fit(x: Floats, y: Rows, strength: float, classes: int) -> Floats:
    """Return weights and bias, float32 [C, d + 1], by L-BFGS from zero."""
    n, dim = x.shape
    rows, scale = np.arange(n), np.float32(strength / n)

    def objective(flat: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        w = flat.reshape(classes, dim + 1).astype(np.float32)
        scores = x @ w[:, :-1].T + w[:, -1]  # [n, C]
        scores -= scores.max(axis=1, keepdims=True)
        own = scores[rows, y]
        np.exp(scores, out=scores)
        total = scores.sum(axis=1, keepdims=True)
        loss = float((np.log(total[:, 0]) - own).sum(dtype=np.float64))
        scores /= total
        scores[rows, y] -= 1
        gradient = np.empty((classes, dim + 1))
        gradient[:, :-1] = scale * (scores.T @ x) + w[:, :-1] / n
        gradient[:, -1] = scale * scores.sum(axis=0)
        penalty = 0.5 * float((w[:, :-1].astype(np.float64) ** 2).sum())
        return strength * loss / n + penalty / n, gradient.ravel()

    start = np.zeros(classes * (dim + 1))
    found = minimize(
        objective, start, jac=True, method="L-BFGS-B", options={"maxiter": STEPS, "gtol": 1e-6}
    )
    return np.asarray(found.x, np.float32).reshape(classes, dim + 1)
