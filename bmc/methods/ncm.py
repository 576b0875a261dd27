"""Nearest class mean with cosine similarity on frozen features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from bmc.config import Config
from bmc.methods.base import METHODS, Method
from bmc.train.data import TaskTensors

BLOCK = 8192  # rows added at once; bounds the float64 copies


@METHODS.register("ncm")
class NearestClassMean(Method):
    """Cosine similarity to the mean feature of each class; closed form, no rehearsal.

    Attributes
    ----------
    sums
        float64 [C, d], sum of the features of each class. The number of samples cancels in
        the cosine. Sums of float16 numbers are exact in float64, in any order.
    """

    name = "ncm"
    title = "NCM"
    source = "Nearest class mean on frozen features"
    equation = """
        class of x:  argmax_c  cos(x, Σ_{i in c} x_i)
    """

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        self.sums = torch.zeros(n_classes, dim, dtype=torch.float64, device=device)

    def learn(self, group: Sequence[TaskTensors]) -> None:
        """Add the group's training data to the sums of its classes."""
        with self.watch.phase("train", self.device):
            for task in group:
                for first in range(0, len(task.train), BLOCK):
                    rows = slice(first, first + BLOCK)
                    x = task.train.features[rows].to(self.device).double()  # [n, d]
                    members = functional.one_hot(
                        task.train.labels[rows] - task.start, task.n_classes
                    ).double()  # [n, c]
                    self.sums[task.start : task.stop] += members.T @ x
        self.seen = group[-1].stop

    def scores(self, features: Tensor) -> Tensor:
        """Return cos(z, mu_c), float32 [n, seen]."""
        means = functional.normalize(self.sums[: self.seen], dim=1).float()
        return functional.normalize(features.to(self.device).float(), dim=1) @ means.T

    def memory_bytes(self) -> int:
        """Bytes of the sums, float64."""
        return 8 * self.seen * self.dim

    def state(self) -> dict[str, Tensor]:
        """Return the sums."""
        return {"sums": self.sums}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Load the sums."""
        self.sums = state["sums"].to(self.device)
