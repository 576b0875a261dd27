"""Recursive least squares in the form of sums, for methods that fix the ridge beforehand.

The recursion R ← R − R Hᵀ (I + H R Hᵀ)⁻¹ H R, W ← W + R Hᵀ (Y − H W) from R = I / γ, W = 0 is
another way to write W = (Σ Hᵀ H + γ I)⁻¹ Σ Hᵀ Y (Zhuang et al., NeurIPS 2022, arXiv 2205.14922,
theorem 1). The sums do not drift, and do not depend on how rows are cut into batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bmc.config import option
from bmc.methods.ridge import Ridge
from bmc.train.data import TaskTensors
from bmc.train.packed import GRAM, TARGETS, Kept


class FixedRidge(Ridge):
    """Ridge regression of one-hot labels on features of a fixed map; gamma is an option."""

    kept: ClassVar[Kept] = {"gram": GRAM, "targets": TARGETS}

    @dataclass(frozen=True)
    class Options(Ridge.Options):
        projections: int = option(2000, "Random features.", at_least=1)
        gamma: float = option(1.0, "Weight of the ridge, fixed for the whole stream.", above=0)

    options: Options

    def width_of(self, dim: int) -> int:
        """Return M, the number of random features."""
        return self.options.projections

    def add(self, task: TaskTensors) -> None:
        """Add a task's training data to the sums."""
        for h, y in self._weighted(task):
            self.gram += h.T @ h
            self.targets[:, task.start : task.stop] += h.T @ y

    def ridge(self) -> float:
        """Return gamma."""
        return self.options.gamma
