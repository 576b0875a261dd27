"""Least squares of one-hot labels on features of a fixed map, and its ridge from streaming sums.

The recursion R ← R − R Hᵀ (I + H R Hᵀ)⁻¹ H R, W ← W + R Hᵀ (Y − H W) from R = I / γ, W = 0 is
another way to write W = (Σ Hᵀ H + γ I)⁻¹ Σ Hᵀ Y (Zhuang et al., NeurIPS 2022, arXiv 2205.14922,
theorem 1). The sums do not drift, and do not depend on how rows are cut into batches.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from bmc.config import Config, option
from bmc.methods.closed_form import ClosedForm
from bmc.train.data import TaskTensors
from bmc.train.packed import GRAM, TARGETS, Kept, Packing, rounding


class LabelRegression(ClosedForm):
    """Linear regression of one-hot labels on what `lift` returns, rows weighted by class."""

    block: ClassVar[int] = 4096  # rows lifted at once; bounds the float64 copies

    @dataclass(frozen=True)
    class Options(ClosedForm.Options):
        balanced: bool = option(True, "Every class weighs the same, not every sample.")

    options: Options

    def members(self, task: TaskTensors) -> Tensor:
        """Return how many training samples each class of a task has, [c].

        A class stays within one task, so all of its samples are here.
        """
        return torch.bincount(task.train.labels - task.start, minlength=task.n_classes)

    def weighted(
        self, task: TaskTensors, rows: Tensor | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield h [n, M] and one-hot y [n, c] of some rows, or all, times n_c^-1/2: float64.

        Without balance they are as they are.
        """
        members = self.members(task).to(self.device).double()
        if not self.options.balanced:
            members = torch.ones_like(members)
        for h, labels in self.blocks(task, rows, self.block):
            root = members[labels].rsqrt()[:, None]
            yield h * root, functional.one_hot(labels, task.n_classes) * root

    def scores(self, features: Tensor) -> Tensor:
        """Return the regressed labels, float32 [n, seen]."""
        return self.lift(features) @ self.head()[0]


class RidgeSums(LabelRegression):
    """Ridge regression from two sums, which do not depend on the order of samples or tasks.

    Attributes
    ----------
    gram
        float64 [M, M], G = sum of h h^T, weighted.
    targets
        float64 [M, C], Q = sum of h y^T, weighted.
    """

    order_free = True
    kept: ClassVar[Kept] = {"gram": GRAM, "targets": TARGETS}

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        self.width = width = self.width_of(dim)
        self.gram = torch.zeros(width, width, dtype=torch.float64, device=device)
        self.targets = torch.zeros(width, n_classes, dtype=torch.float64, device=device)

    def width_of(self, dim: int) -> int:
        """Return M, the width of what is regressed on."""
        raise NotImplementedError

    def add(self, task: TaskTensors) -> None:
        """Add a task's training data to the sums."""
        for h, y in self.weighted(task):
            self.gram.addmm_(h.T, h)  # in place: with 10,000 features a product takes 0.8 GB
            self.targets[:, task.start : task.stop] += h.T @ y


class FixedRidge(RidgeSums):
    """A ridge whose weight gamma is an option, on so many random features."""

    shared = RidgeSums.shared | {"seed"}

    @dataclass(frozen=True)
    class Options(RidgeSums.Options):
        projections: int = option(2000, "Random features.", at_least=1)
        gamma: float = option(1.0, "Weight of the ridge, fixed for the whole stream.", above=0)

    options: Options

    def width_of(self, dim: int) -> int:
        """Return M, the number of random features."""
        return self.options.projections

    def solve(self) -> tuple[Tensor]:
        """W = (G + gamma I)^-1 Q, float32 [M, seen]."""
        targets = self.targets[:, : self.seen]
        return (regressed(self.gram, targets, self.options.gamma, self.kept["gram"]).float(),)


def regressed(gram: Tensor, targets: Tensor, ridge: float, packing: Packing) -> Tensor:
    """Return W = (G + ridge I)^-1 Q by Cholesky, float64 [M, C], of G [M, M] and Q [M, C].

    A singular G needs more than a ridge that is lost in what packing after every task does to G.
    """
    regular = gram.clone()
    regular.diagonal().add_(max(ridge, 4 * rounding(regular, packing)))
    torch.linalg.cholesky(regular, out=regular)
    return torch.cholesky_solve(targets, regular)
