"""Weighted k nearest neighbours (arXiv 1805.01978) among all training features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from bmc.config import Config, option
from bmc.methods.base import METHODS
from bmc.methods.closed_form import ClosedForm
from bmc.train.data import TaskTensors
from bmc.train.packed import AS_IS, Kept

BLOCK = 16_384  # stored rows compared at once
NEVER = -2.0  # below every cosine


@METHODS.register("knn")
class NearestNeighbours(ClosedForm):
    """Votes of the k most similar of all training samples; it keeps all of them.

    Attributes
    ----------
    features
        Training features seen so far, of length 1, in the precision of the stream; the table
        doubles when it is full, so a sample costs the same on average whatever came before.
    labels
        int32, their classes.
    stored
        Rows in use.
    """

    name = "knn"
    title = "kNN"
    order_free = True
    source = "Wu et al., CVPR 2018, arXiv 1805.01978"
    equation = """
        votes of class c = Σ over the k nearest i of class c of exp(cos(x, x_i) / T)
    """

    kept: ClassVar[Kept] = {"features": AS_IS, "labels": AS_IS}

    @dataclass(frozen=True)
    class Options(ClosedForm.Options):
        neighbours: int = option(20, "Neighbours that vote.", at_least=1)
        temperature: float = option(0.07, "T of a neighbour's vote exp(cosine / T).", above=0)

    options: Options

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        self.features = torch.empty(0, dim, dtype=torch.float16, device=device)
        self.labels = torch.empty(0, dtype=torch.int32, device=device)
        self.stored = 0

    def add(self, task: TaskTensors) -> None:
        """Store a task's training data."""
        stored, dtype = task.train.features, task.train.features.dtype
        last = self.stored + len(stored)
        if last > len(self.labels):
            rows = max(last, 2 * len(self.labels))
            for name, kind in (("features", dtype), ("labels", self.labels.dtype)):
                known = getattr(self, name)[: self.stored]
                table = torch.empty(rows, *known.shape[1:], dtype=kind, device=self.device)
                table[: self.stored] = known
                setattr(self, name, table)
        for first in range(0, len(stored), BLOCK):
            x = functional.normalize(stored[first : first + BLOCK].float(), dim=1).to(dtype)
            begin = self.stored + first
            self.features[begin : begin + len(x)] = x.to(self.device)
        self.labels[self.stored : last] = task.train.labels.to(self.device)
        self.stored = last

    def scores(self, features: Tensor) -> Tensor:
        """Return the logarithm of each class's votes, float32 [n, seen].

        A neighbour at cosine s votes with exp(s / T). A class without a vote ranks below all
        with one, by its own most similar sample, so that task-il has an answer too.
        """
        z = self.unit(features)  # [n, d]
        near = z.new_empty(len(z), 0)  # [n, <= k] cosines of the nearest so far
        whose = torch.empty(len(z), 0, dtype=torch.int64, device=self.device)
        best = z.new_full((len(z), self.seen), NEVER)  # [n, seen] cosine of each class's nearest
        for first in range(0, self.stored, BLOCK):
            rows = slice(first, min(first + BLOCK, self.stored))
            labels = self.labels[rows].long().expand(len(z), -1)  # [n, m]
            cosines = z @ self.features[rows].float().T  # [n, m]
            best.scatter_reduce_(1, labels, cosines, "amax")
            near, whose = torch.cat([near, cosines], 1), torch.cat([whose, labels], 1)
            near, index = near.topk(min(self.options.neighbours, near.shape[1]), dim=1)
            whose = whose.gather(1, index)
        T = self.options.temperature
        top = near[:, :1]
        votes = torch.zeros_like(best)
        for k in range(near.shape[1]):  # one vote a row and call: no order of sums to depend on
            weight = torch.exp((near[:, k : k + 1] - top) / T)
            votes.scatter_add_(1, whose[:, k : k + 1], weight)
        return torch.maximum(votes.log(), (best - top) / T)

    def settle(self) -> None:
        """Do nothing: the table is what the state holds, and copying it would cost each task."""

    def state(self) -> dict[str, Tensor]:
        """Return the stored samples."""
        return {"features": self.features[: self.stored], "labels": self.labels[: self.stored]}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Load the stored samples."""
        super().load_state(state)
        self.stored = len(self.labels)
