"""GEM's quadratic program (arXiv 1706.08840), on the host exactly and on a device without it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

RIDGE = 1e-6  # share of the mean squared length that is added to the diagonal of the Gram matrix
TINY = 1e-30  # a squared length below which gradients count as zero
# of the interior-point method, always the same: 12 leave 1e-12 of the largest number
STEPS = 15
NEAR = 0.995  # share of the way to the nearest bound that a step goes at most


def project(gradient: Tensor, constraints: Tensor, margin: float) -> None:
    """Make a gradient g [1, P] agree with all rows of G [k, P], in place.

    Unless G g >= 0 already, g becomes g + G^T v with the v of `multipliers`; on CUDA with that of
    `multipliers_on_device`, so that the device does not wait for the host.
    """
    dots = constraints @ gradient[0]
    if gradient.is_cuda:
        gram = constraints @ constraints.T
        v = multipliers_on_device(gram.double(), dots.double(), margin)
        v = torch.where((dots >= 0).all(), 0.0, v)
        gradient.add_(v.to(gradient.dtype) @ constraints)
        return
    if bool((dots >= 0).all()):
        return
    gram = constraints @ constraints.T
    v = torch.from_numpy(multipliers(gram.double().numpy(), dots.double().numpy(), margin))
    gradient.add_(v.to(gradient) @ constraints)


def multipliers(gram: np.ndarray, dots: np.ndarray, margin: float) -> np.ndarray:
    """Solve the dual quadratic program of GEM (arXiv 1706.08840): v, float64 [k].

    min_v v^T G G^T v / 2 + (G g)^T v subject to v >= gamma, of float64 G G^T [k, k] and G g [k].
    With gamma = 0, g + G^T v is the vector nearest to g that no row of G speaks against.
    """
    from scipy.optimize import nnls

    k = len(dots)
    # with v = gamma + u the bound is u >= 0, and the linear term that of g + gamma sum_k g_k
    linear = dots + margin * gram.sum(axis=1)
    # u^T L L^T u / 2 + linear^T u is |L^T u + L^-1 linear|^2 / 2 up to a constant
    size = max(float(np.trace(gram)) / k, TINY)
    factor = np.linalg.cholesky(gram + RIDGE * size * np.eye(k))
    u: np.ndarray = nnls(factor.T, -np.linalg.solve(factor, linear))[0]
    return margin + u


def multipliers_on_device(gram: Tensor, dots: Tensor, margin: float) -> Tensor:
    """Solve the program of `multipliers` by a fixed number of operations, float64 [k].

    A primal-dual interior-point method (Mehrotra, SIAM J. Optim. 1992) in u = v - gamma >= 0,
    with z = H u + c >= 0 and u z -> 0. Nothing in it depends on a value that the host would read,
    and nothing is a call of cuSOLVER, which a CUDA graph does not hold.
    """
    k = len(dots)
    size = (gram.diagonal().sum() / k).clamp(min=TINY)
    identity = torch.eye(k, dtype=gram.dtype, device=gram.device)
    H = gram / size + RIDGE * identity
    c = (dots + margin * gram.sum(dim=1)) / size
    scale = c.abs().max().clamp(min=TINY)  # of the solution: that of the program for c / scale is 1
    c = c / scale
    at = gram.new_ones(2, k)  # u and z
    for _ in range(STEPS):
        u, z = at
        factor = _factor(torch.cat([H, identity], dim=1), z / u)
        residual, products = torch.addmv(c, H, u) - z, u * z
        mean = products.mean()
        step = _newton(factor, residual, at, -products)
        reached = (at + _lengths(at, step) * step).prod(dim=0).mean()
        centre = (reached / mean).pow(3) * mean
        step = _newton(factor, residual, at, centre - products - step.prod(dim=0))
        at = (at + NEAR * _lengths(at, step) * step).clamp(min=TINY)
    return margin + scale * at[0]


def _factor(rest: Tensor, diagonal: Tensor) -> tuple[Tensor, Tensor]:
    """Factor the inverse of a symmetric positive matrix M: H, with ``diagonal`` [k] added to its.

    ``rest`` is [H, I], [k, 2 k], and is changed. Returns V [k, k] and d [k] with
    M^-1 = V^T diag(1 / d) V: V is the inverse of the unit triangle L of M = L diag(d) L^T, by
    elimination, row by row.
    """
    rest.diagonal().add_(diagonal)
    rows = [rest[0]]
    for j in range(len(diagonal) - 1):
        rest = torch.addr(rest[1:], rest[1:, j] / rest[0, j], rest[0], alpha=-1)
        rows.append(rest[0])
    eliminated = torch.stack(rows)
    return eliminated[:, len(rows) :], eliminated.diagonal()


def _newton(factor: tuple[Tensor, Tensor], residual: Tensor, at: Tensor, target: Tensor) -> Tensor:
    """Solve z du + u dz = target and H du - dz = -residual: du and dz, [2, k].

    ``at`` are u and z, [2, k]; the factor is of H + diag(z / u).
    """
    (V, d), (u, z) = factor, at
    du = V.T @ (V @ (target / u - residual) / d)
    return torch.stack([du, (target - z * du) / u])


def _lengths(at: Tensor, along: Tensor) -> Tensor:
    """Return the longest steps [2, 1], at most 1, that leave all of ``at`` [2, k] positive."""
    return (along / at).amin(dim=1, keepdim=True).neg_().clamp_(min=1.0).reciprocal_()
