"""FeTrIL (arXiv 2211.13131): pseudo-features of former classes, translated from new ones.

The paper trains its extractor on the first task and freezes it; here the frozen features are
given from the start. After each task a linear classifier is trained on the new classes' features
and on pseudo-features of all former classes. The paper's is a linear SVM or a
linear layer; here it is softmax regression with an L2 penalty, by L-BFGS from the head of before.
A pseudo-feature x + d has the logits of x plus those of the translation d, so the exponentials that
a softmax adds up are products of two factors: the exact loss over all pseudo-features costs a few
products of matrices, and none of them is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from bmc.config import Config, option
from bmc.methods.base import METHODS
from bmc.methods.linear import LinearHead, minimise
from bmc.train.data import TaskTensors, take, training_data

FLAT = 1e-5  # largest entry of a gradient at which L-BFGS stops
LEAST = 1e-300  # of a sum of exponentials


@METHODS.register("fetril")
class FeTrIL(LinearHead):
    """Former classes borrow the features of a similar new class, moved to their own mean.

    Attributes
    ----------
    means
        float16 [C, d], mean feature of each class, of the length that features have.
    """

    name = "fetril"
    title = "FeTrIL"
    source = "Petit et al., WACV 2023, arXiv 2211.13131"
    equation = """
        pseudo-features of a former class p:  x + μ_p − μ_n for all x of a new class n,
            n = argmax_n cos(μ_n, μ_p), or the k-th best
        after each task:  min_W  Σ_c 1/C mean_{x in c} CE(W x + b, c) + λ ‖W‖² / 2
    """

    @dataclass(frozen=True)
    class Options(LinearHead.Options):
        similar: int = option(
            1, "Features come from the new class whose mean is the k-th most similar.", at_least=1
        )
        penalty: float = option(1e-3, "Lambda, the weight of the L2 penalty.", above=0)
        iterations: int = option(50, "Iterations of L-BFGS at most.", at_least=1, hidden=True)

    options: Options

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        self.means = torch.zeros(n_classes, dim, dtype=torch.float16, device=device)

    def learn(self, group: Sequence[TaskTensors]) -> None:
        """Note the means of new classes, then train the classifier of all."""
        first, self.seen = group[0].start, group[-1].stop
        with self.watch.phase("train", self.device):
            data = training_data(group)
            order = data.labels.argsort(stable=True)
            x = self.inputs(take(data.features, order.to(data.features.device), self.device))
            sizes = torch.bincount(data.labels - first, minlength=self.seen - first).tolist()
            parts = torch.split(x[:, :-1], sizes)
            means = torch.stack([part.sum(dim=0) / max(len(part), 1) for part in parts])
            self.means[first : self.seen] = means.half()
            self._fit(x, sizes, first)

    def lenders(self, first: int) -> Tensor:
        """Return which new class lends features to each of the first ``first``: int64 [first].

        With fewer new classes than ``similar`` it is the least similar one.
        """
        former, new = (
            functional.normalize(self.means[part].float(), dim=1)
            for part in (slice(first), slice(first, self.seen))
        )
        order = (former @ new.T).argsort(dim=1, descending=True, stable=True)
        return first + order[:, min(self.options.similar, order.shape[1]) - 1]

    def _fit(self, x: Tensor, sizes: list[int], first: int) -> None:
        """Train the head on new rows x [n, d + 1], class by class, and on pseudo-features."""
        new = torch.arange(first, self.seen, device=self.device)
        lender = torch.cat([self.lenders(first), new])
        means = self.means[: self.seen].float()
        away = functional.pad(means - means[lender], (0, 1))  # [C, d + 1]; of new classes 0
        borrowers = [(lender == c).nonzero()[:, 0] for c in range(first, self.seen)]
        head = self.head[: self.seen].clone().requires_grad_()

        def loss() -> float:
            head.grad = None
            logits, shifts = (x @ head.T).double(), (away @ head.T).double()
            value = self.options.penalty / 2 * head[:, :-1].square().sum()
            for own, classes in zip(torch.split(logits, sizes), borrowers, strict=True):
                if len(own):
                    losses = translated_losses(own, shifts[classes], classes)
                    value = value + losses.mean(dim=0).sum() / self.seen
            torch.autograd.backward(value)
            return float(value.detach())

        minimise([head], loss, self.options.iterations, FLAT)
        self.head[: self.seen] = head.detach()

    def state(self) -> dict[str, Tensor]:
        """Return head and means of the seen classes."""
        return super().state() | {"means": self.means[: self.seen]}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Load head and means."""
        super().load_state(state)
        means = state["means"]
        self.means[: len(means)] = means.to(self.device)


def translated_losses(logits: Tensor, away: Tensor, classes: Tensor) -> Tensor:
    """Return the cross-entropy of each row moved to each class, [n, m].

    Of rows with ``logits`` [n, C] and of translations that add ``away`` [m, C] to them and make
    them rows of ``classes`` [m]: log sum_c e^(a_c + b_c) - (a + b)_class, float64.
    """
    tops = logits.max(dim=1, keepdim=True).values, away.max(dim=1, keepdim=True).values
    # a sum below e^-690 of the largest it could be counts as so much: a loss that is too high
    total = ((logits - tops[0]).exp() @ (away - tops[1]).exp().T).clamp(min=LEAST)
    own = logits[:, classes] + away.gather(1, classes[:, None]).T
    return total.log() + tops[0] + tops[1].T - own
