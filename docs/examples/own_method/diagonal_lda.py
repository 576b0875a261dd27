"""Class means under one shared diagonal covariance: a method of one's own for `bmc-stream`."""

from dataclasses import dataclass

import torch

from bmc.config import option
from bmc.methods import Method


class DiagonalLDA(Method):
    """Gaussian classes with one variance per feature; closed form, no rehearsal."""

    name = "diagonal-lda"  # as in pyproject.toml
    title = "Diagonal LDA"  # as tables and figures show it

    @dataclass(frozen=True)
    class Options(Method.Options):
        floor: float = option(1e-6, "Added to the variance of each feature.", above=0)

    def __init__(self, dim, n_classes, config, device):
        super().__init__(dim, n_classes, config, device)
        self.counts = torch.zeros(n_classes, dtype=torch.float64, device=device)
        self.sums = torch.zeros(n_classes, dim, dtype=torch.float64, device=device)
        self.squares = torch.zeros(dim, dtype=torch.float64, device=device)

    def learn(self, group):
        """Add the training data of the next tasks."""
        with self.watch.phase("train", self.device):
            for task in group:
                x = task.train.features.to(self.device).double()  # [n, d]
                self.counts += torch.bincount(task.train.labels, minlength=self.n_classes)
                self.sums.index_add_(0, task.train.labels, x)
                self.squares += x.square().sum(dim=0)
        self.seen = group[-1].stop  # classes 0 ... seen - 1 were met

    def scores(self, features):
        """Score samples [n, d] against the seen classes: float32 [n, seen]."""
        counts = self.counts[: self.seen].clamp(min=1)[:, None]  # [c, 1]
        means = self.sums[: self.seen] / counts  # [c, d]
        scatter = self.squares - (counts * means.square()).sum(dim=0)  # [d]
        weights = means / (scatter / counts.sum() + self.options.floor)  # [c, d]
        bias = (weights * means).sum(dim=1) / 2  # [c]
        return (features.to(self.device).double() @ weights.T - bias).float()

    def memory_bytes(self):
        """Bytes kept between tasks; they count as the method's memory cost."""
        return 8 * (self.seen * (self.dim + 1) + self.dim)

    def state(self):
        """Return what a resumed run needs."""
        return {"counts": self.counts, "sums": self.sums, "squares": self.squares}

    def load_state(self, state):
        """Take over what `state` returned."""
        for name, tensor in state.items():
            setattr(self, name, tensor.to(self.device))
