"""Learning rates that fall, and trainings that end, by a loss on held-out samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bmc.config import Config
from bmc.network.mlp import ResidualMLP
from bmc.network.passes import evaluate
from bmc.train.data import Split, network_input, take
from bmc.train.losses import sample_losses

# judge(positions, copies), int64 [n] each: measures, without gradients, the copies that stand at
# these positions of the net; float [n], less is better
Judge = Callable[[Tensor, Tensor], Tensor]

JUDGED = 1024  # held-out samples of a task that a copy is judged on at most: it stays cheap
FACTOR = 0.1  # what the rate is multiplied by


@dataclass(frozen=True)
class Plateau:
    """When the learning rate falls, and when training ends.

    A judgement counts as better if it is below ``1 - threshold`` times the best one so far. One
    counter of judgements in a row that were not better serves both: above ``patience`` it
    lowers the rate and begins anew, above ``stop`` it ends the training, whose weights stay as
    they are. So ``stop`` has an effect only below ``patience``. This is how
    ``torch.optim.lr_scheduler.ReduceLROnPlateau`` counts, and how the published code of BMC
    reads that counter; with its 10 and 10 it never ends early.

    Attributes
    ----------
    patience, stop
        0: the rate never falls, the training never ends early.
    """

    patience: int = 0
    stop: int = 0
    threshold: float = 1e-4

    @classmethod
    def of(cls, config: Config, ends: bool = True) -> Plateau | None:
        """Return what a configuration asks for, with early stopping or not; ``None``: nothing."""
        stop = config.early_stopping if ends else 0
        plateau = cls(config.plateau, stop, config.plateau_threshold)
        return plateau if plateau.patience or plateau.stop else None


class Record:
    """The judgements of one copy so far."""

    def __init__(self, plateau: Plateau) -> None:
        self.plateau = plateau
        self.best = math.inf
        self.bad = 0  # judgements in a row that were not better

    def add(self, value: float) -> tuple[bool, bool]:
        """Note a judgement; return whether the rate falls, and whether the training ends."""
        plateau = self.plateau
        if value < self.best * (1 - plateau.threshold):
            self.best, self.bad = value, 0
        else:
            self.bad += 1
        lower = bool(plateau.patience) and self.bad > plateau.patience
        if lower:
            self.bad = 0
        return lower, bool(plateau.stop) and self.bad > plateau.stop


def judge_by_loss(
    net: ResidualMLP,
    held_out: Sequence[Split],
    config: Config,
    *,
    classes: int | None = None,
    most: int | None = JUDGED,
) -> Judge:
    """Return the function that measures copies by the task loss on their held-out samples.

    ``held_out`` are those of each copy, with labels as its head counts them. Of more than
    ``most`` evenly spaced ones count; a small set is filled up with samples that do not count,
    so that copies are measured in one pass. Only the first ``classes`` of the head compete.
    """
    chosen = [_spaced(len(split), most or len(split)) for split in held_out]
    device, shape = net.weights.device, (len(held_out), max(map(len, chosen)))
    features = torch.zeros(*shape, net.dim, dtype=held_out[0].features.dtype, device=device)
    labels = torch.zeros(shape, dtype=torch.int64, device=device)
    shares = torch.zeros(shape, device=device)
    for k, (split, rows) in enumerate(zip(held_out, chosen, strict=True)):
        n = len(rows)
        features[k, :n] = take(split.features, rows, device)
        labels[k, :n] = take(split.labels, rows, device)
        shares[k, :n] = 1 / max(n, 1)

    def judge(positions: Tensor, copies: Tensor) -> Tensor:
        parts = net.views(net.weights.data[positions], net.statistics[positions])
        x = network_input(features[copies], config.feature_norm)
        logits, _ = evaluate(parts, x, net.precision)
        return (sample_losses(logits[..., :classes], labels[copies]) * shares[copies]).sum(dim=1)

    return judge


def _spaced(n: int, most: int) -> Tensor:
    """Return all of n row numbers, or ``most`` evenly spaced ones."""
    return torch.arange(min(n, most)) * n // max(1, min(n, most))
