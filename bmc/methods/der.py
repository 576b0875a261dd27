"""Dark experience replay, DER and DER++ (arXiv 2004.07211).

As in the paper, samples enter the memory while their task is learned, with the logits of that
moment. Here they do so once, in the last of the passes over a task: the logits of the first say
little of classes that are only being learned, and to offer a sample in every pass fills the
memory with copies of it. By default the distance is over the classes that were known when a sample
was stored; with ``matched`` = all it is over the whole head, which then trains from the first task
on, as published. It is the mean over these classes and not the sum of the paper's squared norm: the
sum grows with the number of classes, drowns the task loss in long streams, and ends below
fine-tuning. Current and replayed samples share one forward pass, for the same batch statistics.
DER, which never sees a former label, stays far behind DER++ in class-il: its distance says nothing
of later classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bmc.config import Config, option
from bmc.methods.base import METHODS
from bmc.methods.experience_replay import OnlineReplay
from bmc.train.copies import StackedCopies
from bmc.train.losses import task_loss


@METHODS.register("der")
class DarkExperienceReplay(OnlineReplay):
    """Replayed samples keep the logits that the network gave for them when it learned them."""

    name = "der"
    title = "DER"
    source = "Buzzega et al., NeurIPS 2020, arXiv 2004.07211"
    equation = """
        L = L_T(batch) + α mean_{(x, z) in M} ‖ f(x) − z ‖² / logits in z
    """
    draws_per_update = 1
    stores_outputs = True

    @dataclass(frozen=True)
    class Options(OnlineReplay.Options):
        alpha: float = option(0.5, "Weight of the distance to stored logits.", at_least=0)
        matched: str = option(
            "known",
            "Stored logits that are matched: of classes known then, or of all of the stream, "
            "which then compete in training.",
            one_of=("known", "all"),
        )

    options: Options

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        self.extra_rows = config.replay_batch * self.draws_per_update

    @property
    def outputs(self) -> int:
        """How many classes compete in training: 0 ... outputs - 1."""
        return self.n_classes if self.options.matched == "all" else super().outputs

    def scores(self, features: Tensor) -> Tensor:
        """Return the logits of the classes that compete in prediction, float32 [n, ...]."""
        predicted = self.n_classes if self.config.outputs == "all" else self.seen
        return super().scores(features)[:, :predicted]

    def observe(
        self, update: StackedCopies, x: Tensor, labels: Tensor, keep: Tensor, *drawn: Tensor
    ) -> None:
        """Make one update, then store what the memory keeps of the batch, with these logits."""
        rows, places = drawn
        logits, old = self.replay(x, keep, rows)
        loss = task_loss(logits, labels)
        if rows.shape[1]:
            loss = loss + self.penalty(old, rows[0])
        update.descend(loss)
        known = self.n_classes if self.options.matched == "all" else self.seen
        self.offer(x, labels, places, logits[..., :known])

    def penalty(self, logits: Tensor, rows: Tensor) -> Tensor:
        """Return what replayed samples add to the loss, [1], from their logits [1, R, C]."""
        stored, known = self.memory.outputs[rows, : logits.shape[2]], self.memory.known[rows]
        return self.options.alpha * logit_distance(logits[0], stored, known)[None]


@METHODS.register("derpp")
class DarkExperienceReplayPlus(DarkExperienceReplay):
    """DER, and the task loss on other replayed samples."""

    name = "derpp"
    title = "DER++"
    source = "Buzzega et al., NeurIPS 2020, arXiv 2004.07211"
    equation = """
        L = L_DER + β mean_{(x, y) in M} L_T(f(x), y)       on other samples of M
    """
    draws_per_update = 2

    @dataclass(frozen=True)
    class Options(DarkExperienceReplay.Options):
        beta: float = option(1.0, "Weight of the task loss on replayed samples.", at_least=0)

    options: Options

    def penalty(self, logits: Tensor, rows: Tensor) -> Tensor:
        """Add the task loss of the second half of the replayed samples."""
        half = self.config.replay_batch
        again = task_loss(logits[:, half:], self.memory.labels[rows[half:]][None])
        return super().penalty(logits[:, :half], rows[:half]) + self.options.beta * again


def logit_distance(logits: Tensor, stored: Tensor, known: Tensor) -> Tensor:
    """Mean squared distance of logits to stored ones over the classes known then: a scalar.

    Of row i of the logits [n, C], and float16 ``stored`` [n, C], the first ``known[i]`` count.
    """
    counts = torch.arange(logits.shape[1], device=logits.device) < known[:, None]
    squares = (logits - stored).square() * counts
    return (squares.sum(dim=1) / known).mean()
