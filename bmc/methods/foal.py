"""F-OAL: forward-only online analytic learning (arXiv 2403.15751)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bmc.config import Config, option
from bmc.methods.base import METHODS
from bmc.methods.closed_form import random_projection
from bmc.methods.label_regression import FixedRidge


@METHODS.register("foal")
class FOAL(FixedRidge):
    """Recursive least squares on smooth random projections sigmoid(z W); one pass, no rehearsal.

    The paper averages the class tokens of all blocks of the encoder before it projects
    (feature fusion). Stored features are the encoder's last ones, so the projection reads
    these; all after it is as published. Its updates of one batch each give what the sums give.
    """

    name = "foal"
    title = "F-OAL"
    source = "Zhuang et al., NeurIPS 2024, arXiv 2403.15751, without its fusion of blocks"
    equation = """
        h = sigmoid(x W_P),  W_P ~ N(0, 1),   R = I / γ, W = 0 at the start; for each batch:
        R ← R − R Hᵀ (I + H R Hᵀ)⁻¹ H R
        W ← W + R Hᵀ (Y − H W),  which is W = (Σ h hᵀ + γ I)⁻¹ Σ h yᵀ
    """

    @dataclass(frozen=True)
    class Options(FixedRidge.Options):
        # chosen on tuning datasets: docs/benchmarks/defaults.md; published: balanced false
        gamma: float = option(0.01, "Weight of the ridge (as published: 1).", above=0)

    options: Options

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        self.projection = random_projection(dim, self.width, config, device)

    def lift(self, features: Tensor) -> Tensor:
        """Return h = sigmoid(z W), float32 [n, M]."""
        return torch.sigmoid(super().lift(features) @ self.projection)
