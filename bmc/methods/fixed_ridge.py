"""Recursive least squares in the form of sums, for methods that fix the ridge beforehand.

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

BLOCK = 4096  # rows lifted at once; bounds the float64 copies


class FixedRidge(ClosedForm):
    """Ridge regression of one-hot labels on features of a fixed map; gamma is an option.

    Attributes
    ----------
    gram
        float64 [M, M], G = sum of h h^T, weighted.
    targets
        float64 [M, C], Q = sum of h y^T, weighted.
    """

    order_free = True
    shared = ClosedForm.shared | {"seed"}
    kept: ClassVar[Kept] = {"gram": GRAM, "targets": TARGETS}

    @dataclass(frozen=True)
    class Options(ClosedForm.Options):
        projections: int = option(2000, "Random features.", at_least=1)
        gamma: float = option(1.0, "Weight of the ridge, fixed for the whole stream.", above=0)
        balanced: bool = option(True, "Every class weighs the same, not every sample.")

    options: Options

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        self.width = width = self.options.projections
        self.gram = torch.zeros(width, width, dtype=torch.float64, device=device)
        self.targets = torch.zeros(width, n_classes, dtype=torch.float64, device=device)

    def add(self, task: TaskTensors) -> None:
        """Add a task's training data to the sums."""
        for h, y in self.weighted(task):
            self.gram += h.T @ h
            self.targets[:, task.start : task.stop] += h.T @ y

    def weighted(self, task: TaskTensors) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield h [n, M] and one-hot y [n, c] of all rows, float64, times root weights."""
        members = torch.bincount(task.train.labels - task.start, minlength=task.n_classes)
        if not self.options.balanced:
            members = torch.ones_like(members)
        for h, labels in self.blocks(task, size=BLOCK):
            root = members.to(self.device)[labels].double().rsqrt()[:, None]
            yield h * root, functional.one_hot(labels, task.n_classes) * root

    def solve(self) -> tuple[Tensor]:
        """W = (G + gamma I)^-1 Q, float32 [M, seen]."""
        targets = self.targets[:, : self.seen]
        return (regressed(self.gram, targets, self.options.gamma, self.kept["gram"]).float(),)

    def scores(self, features: Tensor) -> Tensor:
        """Return the regressed labels, float32 [n, seen]."""
        return self.lift(features) @ self.head()[0]


def regressed(gram: Tensor, targets: Tensor, gamma: float, packing: Packing) -> Tensor:
    """Return W = (G + gamma I)^-1 Q by Cholesky, float64 [M, C], of G [M, M] and Q [M, C].

    A singular G needs more than a gamma that is lost in what packing after every task does to G.
    """
    regular = gram.clone()
    regular.diagonal().add_(max(gamma, 4 * rounding(regular, packing)))
    return torch.cholesky_solve(targets, torch.linalg.cholesky(regular))
