"""KLDA: linear discriminant analysis on random Fourier features (arXiv 2412.15571)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bmc.config import Config, option
from bmc.methods.base import METHODS
from bmc.methods.closed_form import random_projection
from bmc.methods.slda import DeepSLDA
from bmc.train.seeds import generator


@METHODS.register("klda")
class KLDA(DeepSLDA):
    """Deep SLDA on random features of the kernel exp(-gamma |x - y|^2); no rehearsal.

    The statistics are those of `DeepSLDA`, D wide instead of d. As published, every sample weighs
    the same: ``balanced=false``.
    """

    name = "klda"
    title = "KLDA"
    source = "arXiv 2412.15571; random features: Rahimi and Recht, NeurIPS 2007"
    equation = """
        h = sqrt(2 / D) cos(x Ω + b),  Ω ~ N(0, 2γ),  b ~ U(0, 2π):  h·h' ≈ exp(−γ ‖x − x'‖²)
        then Deep SLDA on h
    """
    shared = DeepSLDA.shared | {"seed"}

    @dataclass(frozen=True)
    class Options(DeepSLDA.Options):
        projections: int = option(2000, "Random features.", at_least=1)
        gamma: float = option(0.3, "Gamma of the kernel exp(-gamma |x - y|^2).", above=0)

    options: Options

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        config = self.configured(config)
        width = config.options.projections
        super().__init__(width, n_classes, config, device)
        # omega ~ N(0, 2 gamma I): the kernel's spectral density
        self.omega = random_projection(dim, width, config, device) * math.sqrt(
            2 * self.options.gamma
        )
        phases = torch.rand(width, generator=generator(config.seed, "phases"))
        self.phases = (2 * math.pi * phases).to(device)

    def lift(self, features: Tensor) -> Tensor:
        """Return sqrt(2 / D) cos(x omega + b), float32 [n, D]; its products give the kernel."""
        angles = features.to(self.device).float() @ self.omega + self.phases
        return math.sqrt(2 / self.dim) * angles.cos()
