"""LoRanPAC: low-rank random features by a continual truncated SVD (arXiv 2410.00645)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from bmc.config import Config, option
from bmc.methods.base import METHODS
from bmc.methods.closed_form import BLOCK, random_projection
from bmc.methods.label_regression import LabelRegression
from bmc.train.data import TaskTensors
from bmc.train.packed import TARGETS, Kept, Packing


@METHODS.register("loranpac")
class LoRanPAC(LabelRegression):
    """Least squares of minimum norm on random features relu(z W), their smallest share cut off.

    Of the matrix H of all features so far, the leading left singular vectors and the singular
    values are kept; a task is appended to them and the SVD truncated again. The smallest
    singular values would make the solution unstable: they are divided by. What is cut off
    depends on the order of tasks.

    Attributes
    ----------
    basis
        float32 [E, k], U, the left singular vectors.
    values
        float64 [k], the singular values, falling.
    targets
        float64 [E, C], sum of h y^T; not truncated.
    rows
        Training rows so far: int64.
    """

    name = "loranpac"
    title = "LoRanPAC"
    source = "Peng et al., ICLR 2025, arXiv 2410.00645"
    equation = """
        H_t = relu(X_t W_E)ᵀ,  W_E ~ N(0, 1) d × E
        U_t Σ_t V_tᵀ ≈ [U_{t−1} Σ_{t−1}, H_t], truncated to its k_t largest singular values
        k_t = (1 − ζ) · min(rows so far, E), no more than the largest rank
        class of x:  argmax_c  h·w_c,   W = U_t Σ_t⁻² U_tᵀ Σ_{s≤t} H_s Y_s
    """
    shared = LabelRegression.shared | {"seed"}
    block = BLOCK
    kept: ClassVar[Kept] = {
        "basis": Packing(torch.float32),
        "values": Packing(torch.float32, torch.float64),
        "targets": TARGETS,
        "rows": Packing(),
    }

    @dataclass(frozen=True)
    class Options(LabelRegression.Options):
        projections: int = option(2000, "E, random features (the paper: 100000).", at_least=1)
        truncation: float = option(
            0.25, "Zeta, the share of singular values that is cut off.", at_least=0, below=1
        )
        rank: int = option(10_000, "Singular vectors that are kept at most.", at_least=1)

    options: Options

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        width = self.options.projections
        self.projection = random_projection(dim, width, config, device)
        self.basis = torch.zeros(width, 0, device=device)
        self.values = torch.zeros(0, dtype=torch.float64, device=device)
        self.targets = torch.zeros(width, n_classes, dtype=torch.float64, device=device)
        self.rows = torch.zeros((), dtype=torch.int64, device=device)

    def lift(self, features: Tensor) -> Tensor:
        """Return h = relu(z W_E), float32 [n, E]."""
        return functional.relu(super().lift(features) @ self.projection)

    def add(self, task: TaskTensors) -> None:
        """Append a task's features to the truncated factors and truncate again."""
        for h, y in self.weighted(task):
            self.targets[:, task.start : task.stop] += h.T @ y
            self.rows = self.rows + len(h)
            self.append(h)

    def append(self, h: Tensor) -> None:
        """Replace U and Sigma by those of [U Sigma, H] of rows h [n, E], truncated.

        By the eigenvalues of the smaller of both products of that matrix with itself, float64.
        """
        o = self.options
        share = (1 - o.truncation) * min(int(self.rows), o.projections)
        k = max(1, min(round(share), o.rank))
        known = self.basis.double() * self.values
        wide = known.shape[1] + len(h) > o.projections
        if wide:
            squares, vectors = torch.linalg.eigh(known @ known.T + h.T @ h)
        else:
            joined = torch.cat([known, h.T], dim=1)  # [E, k + n]
            squares, vectors = torch.linalg.eigh(joined.T @ joined)
        squares, vectors = squares[-k:].flip(0), vectors[:, -k:].flip(1)
        sound = squares > 1e-12 * squares[0]  # what rounding leaves of a singular value of zero
        self.values = squares[sound].sqrt()
        basis = vectors[:, sound] if wide else joined @ (vectors[:, sound] / self.values)
        self.basis = basis.float()

    def solve(self) -> tuple[Tensor]:
        """W = U Sigma^-2 U^T Q, float32 [E, seen]."""
        basis = self.basis.double()
        inner = basis.T @ self.targets[:, : self.seen] / self.values.square()[:, None]
        return ((basis @ inner).float(),)
