"""Nearest class mean with cosine similarity on frozen features."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from bmc.config import Config
from bmc.methods.base import METHODS
from bmc.methods.closed_form import ClosedForm
from bmc.train.data import TaskTensors
from bmc.train.packed import MEANS, Kept


@METHODS.register("ncm")
class NearestClassMean(ClosedForm):
    """Cosine similarity to the mean feature of each class; closed form, no rehearsal.

    Attributes
    ----------
    sums
        float64 [C, d], sum of the features of each class. The number of samples cancels in
        the cosine. Sums of float16 numbers are exact in float64, in any order.
    """

    name = "ncm"
    title = "NCM"
    order_free = True
    source = "Nearest class mean on frozen features"
    equation = """
        class of x:  argmax_c  cos(x, Σ_{i in c} x_i)
    """
    kept: ClassVar[Kept] = {"sums": MEANS}

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        self.sums = torch.zeros(n_classes, dim, dtype=torch.float64, device=device)

    def add(self, task: TaskTensors) -> None:
        """Add a task's features to the sums of its classes."""
        for x, labels in self.blocks(task):
            members = functional.one_hot(labels, task.n_classes).double()  # [n, c]
            self.sums[task.start : task.stop] += members.T @ x

    def scores(self, features: Tensor) -> Tensor:
        """Return cos(z, mu_c), float32 [n, seen]."""
        means = functional.normalize(self.sums[: self.seen], dim=1).float()
        return self.unit(features) @ means.T
