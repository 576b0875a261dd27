"""ACIL: analytic class-incremental learning (arXiv 2205.14922), ridge carried recursively."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from bmc.config import Config
from bmc.methods.base import METHODS
from bmc.methods.closed_form import random_projection
from bmc.methods.label_regression import FixedRidge, LabelRegression
from bmc.train.data import TaskTensors
from bmc.train.packed import GRAM, TARGETS, Kept


@METHODS.register("acil")
class ACIL(LabelRegression):
    """Recursive least squares on random projections relu(z W_B); no sums, no later solve.

    Equal to the joint ridge regression at the fixed gamma, in any order of samples, up to
    rounding; float64 within a task, since the recursion in float32 drifts. As published, every
    sample weighs the same: ``balanced=false``.

    Attributes
    ----------
    inverse
        float64 [M, M], R = (sum of h h^T + gamma I)^-1.
    weight
        float64 [M, C], the classifier.
    """

    name = "acil"
    title = "ACIL"
    order_free = True
    source = "Zhuang et al., NeurIPS 2022, arXiv 2205.14922"
    equation = """
        H = relu(X W_B),  W_B ~ N(0, 1),     R = I / γ, W = 0 at the start
        rows of H and Y times n_c^-1/2, or as they are (as published)
        R ← R − R Hᵀ (I + H R Hᵀ)⁻¹ H R
        W ← W + R Hᵀ (Y − H W)               Y one-hot labels
        class of x:  argmax_c  relu(x W_B) w_c
    """
    shared = LabelRegression.shared | {"seed"}
    block = 512  # rows per update of R: an update solves a system of so many rows
    kept: ClassVar[Kept] = {"inverse": GRAM, "weight": TARGETS}

    @dataclass(frozen=True)
    class Options(FixedRidge.Options):
        """Those of the form by sums."""

    options: Options

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        width = self.options.projections
        self.projection = random_projection(dim, width, config, device)  # W_B, the "buffer" layer
        # R_0 = I / gamma
        self.inverse = torch.eye(width, dtype=torch.float64, device=device) / self.options.gamma
        self.weight = torch.zeros(width, n_classes, dtype=torch.float64, device=device)

    def lift(self, features: Tensor) -> Tensor:
        """Return X = relu(z W_B), float32 [n, M]."""
        return functional.relu(super().lift(features) @ self.projection)

    def add(self, task: TaskTensors) -> None:
        """Update R and the classifier with rows x [n, M] and one-hot labels y [n, C].

        R_k = R - R X^T (I + X R X^T)^-1 X R and W_k = [W - R_k X^T X W, R_k X^T Y];
        with zeros as the columns of classes to come the latter is W + R_k X^T (Y - X W).
        Rows of x and y are weighted by n_c^-1/2 if the classes are balanced.
        """
        for x, own in self.weighted(task):
            y = functional.pad(own, (task.start, self.n_classes - task.stop))
            spread = x @ self.inverse  # X R
            eye = torch.eye(len(x), dtype=torch.float64, device=self.device)
            factor = torch.linalg.cholesky(eye + spread @ x.T)
            half = torch.linalg.solve_triangular(factor, spread, upper=False)
            self.inverse -= half.T @ half  # symmetric to the bit
            gain = torch.cholesky_solve(spread, factor)  # X R_k
            self.weight += gain.T @ (y - x @ self.weight)

    def solve(self) -> tuple[Tensor]:
        """Return the classifier of the seen classes, float32 [M, seen]."""
        return (self.weight[:, : self.seen].float(),)
