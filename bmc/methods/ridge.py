"""Ridge regression on one-hot labels from streaming sums; RanPAC (arXiv 2307.02251).

The sums are float64 and do not depend on the order of samples or tasks. The inverse is never
carried along: that drifts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from bmc.config import Config, option
from bmc.methods.base import METHODS
from bmc.methods.closed_form import random_projection
from bmc.methods.label_regression import RidgeSums, regressed
from bmc.methods.regularised import Regularised
from bmc.train.data import TaskTensors
from bmc.train.packed import AS_IS, Kept
from bmc.train.seeds import generator

RIDGES = tuple(10.0**power for power in range(-8, 9))  # as published
UNKNOWN = 1.0  # the ridge while no task was large enough to choose on
HELD_OUT = 5  # one row in so many of a task's training data helps to choose the ridge


@METHODS.register("ridge")
class Ridge(RidgeSums, Regularised):
    """Ridge regression of one-hot labels on the features; closed form, no rehearsal.

    As published, every sample weighs the same: ``balanced=false``.

    Attributes
    ----------
    gram, targets
        The sums, of `RidgeSums`.
    errors
        float64 [17], squared error of each of `RIDGES` on held-out training data, summed over
        the tasks. The paper takes the best of the last task alone, which varies from task to
        task by orders of magnitude; the sum does not depend on the order of tasks.
    """

    name = "ridge"
    title = "Streaming ridge"
    source = "McDonnell et al., NeurIPS 2023, arXiv 2307.02251, without its projection"
    equation = """
        G = Σ a h hᵀ,  Q = Σ a h yᵀ,  a = 1/n_c of the sample's class, or 1 (as published)
        W = (G + λ I)⁻¹ Q;  class of x:  argmax_c h·w_c;  here h = x
        λ of 10⁻⁸ ... 10⁸: the least squared error on a fifth of each task's training data, summed
    """
    grid: ClassVar[tuple[float, ...]] = RIDGES
    unknown = UNKNOWN
    kept: ClassVar[Kept] = Regularised.kept | RidgeSums.kept | {"errors": AS_IS}
    block = 1024  # rows lifted at once: 82 MB of 10,000 features in float64

    @dataclass(frozen=True)
    class Options(RidgeSums.Options, Regularised.Options):
        withheld: bool = option(
            False, "Lambda by accuracy on withheld training samples, not as published."
        )

    options: Options

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        self.errors = torch.zeros(len(RIDGES), dtype=torch.float64, device=device)

    def width_of(self, dim: int) -> int:
        """Return M, the width of what is regressed on; d here."""
        return dim

    def receive(self, task: TaskTensors) -> None:
        """Add a task's training data, and try lambdas on a fifth of it alone."""
        super().receive(task)
        if not self.options.withheld:
            self._try(task)

    def given(self) -> float:
        """Return lambda, the one of least error so far; 0: it is chosen by accuracy."""
        return 0.0 if self.options.withheld else self.ridge()

    def members(self, task: TaskTensors) -> Tensor:
        """Return how many training samples each class of a task has, withheld ones too."""
        return self.sizes[task.start : task.stop]

    def _try(self, task: TaskTensors) -> None:
        """Fit four fifths of the task alone and add the squared errors on the other fifth.

        One eigendecomposition serves all lambdas: of H H^T where there are fewer rows than
        columns, else of H^T H.
        """
        n = len(task.train)
        order = torch.randperm(n, generator=generator(self.config.seed, "held out", task.name))
        held, fit = order[: n // HELD_OUT], order[n // HELD_OUT :]
        if len(held) == 0:
            return
        if len(fit) < self.width:
            parts = list(self.weighted(task, fit))
            H, Y = (torch.cat([part[i] for part in parts]) for i in range(2))
            values, vectors = torch.linalg.eigh(H @ H.T)
            basis, known = H.T @ vectors, vectors.T @ Y
        else:
            gram = torch.zeros_like(self.gram)
            targets = gram.new_zeros(self.width, task.n_classes)
            for h, y in self.weighted(task, fit):
                gram.addmm_(h.T, h)
                targets += h.T @ y
            values, basis = torch.linalg.eigh(gram)
            known = basis.T @ targets
        for h, y in self.weighted(task, held):
            seen = h @ basis
            for number, ridge in enumerate(RIDGES):
                predicted = (seen / (values.clamp(min=0) + ridge)) @ known
                self.errors[number] += (predicted - y).square().sum()

    def ridge(self) -> float:
        """Return lambda, the one of least error so far."""
        return RIDGES[int(self.errors.argmin())] if self.errors.any() else UNKNOWN

    def solve_for(self, strength: float) -> tuple[Tensor]:
        """W = (G + lambda I)^-1 Q, float32 [M, seen]."""
        targets = self.targets[:, : self.seen]
        return (regressed(self.gram, targets, strength, self.kept["gram"]).float(),)


@METHODS.register("ranpac")
class RanPAC(Ridge):
    """Ridge regression on random projections relu(z W); closed form, no rehearsal."""

    name = "ranpac"
    title = "RanPAC"
    source = "McDonnell et al., NeurIPS 2023, arXiv 2307.02251"
    equation = """
        h = relu(x W),  W ~ N(0, 1);  then streaming ridge on h
    """

    @dataclass(frozen=True)
    class Options(Ridge.Options):
        projections: int = option(2000, "Random features (the paper: 10000).", at_least=1)

    options: Options

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        self.projection = random_projection(dim, self.width, config, device)

    def width_of(self, dim: int) -> int:
        """Return M, the number of random projections."""
        return self.options.projections

    def lift(self, features: Tensor) -> Tensor:
        """Return h = relu(z W), float32 [n, M]."""
        return functional.relu(super().lift(features) @ self.projection)
