"""Experience replay with asymmetric cross-entropy, ER-ACE (arXiv 2104.05025).

The reservoir holds samples of the current task too: only through these its classes compete with
former ones. Of the paper's single pass the last of ours takes the place: in it every sample is
offered. Current and replayed samples share one forward pass, for the same batch statistics.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bmc.methods.base import METHODS
from bmc.methods.experience_replay import OnlineReplay
from bmc.train.copies import StackedCopies
from bmc.train.losses import task_loss


@METHODS.register("er-ace")
class AsymmetricReplay(OnlineReplay):
    """Replay where the classes of a new batch compete among themselves, replayed ones with all."""

    name = "er-ace"
    title = "ER-ACE"
    source = "Caccia et al., ICLR 2022, arXiv 2104.05025"
    equation = """
        L = L_T(batch; only classes present in the batch compete) + L_T(samples of M; all compete)
    """

    def observe(
        self, update: StackedCopies, x: Tensor, labels: Tensor, keep: Tensor, *drawn: Tensor
    ) -> None:
        """Make one update, then offer the batch to the reservoir."""
        rows, places = drawn
        logits, old = self.replay(x, keep, rows)
        loss = task_loss(among_present(logits, labels), labels)
        if rows.shape[1]:
            loss = loss + task_loss(old, self.memory.labels[rows])
        update.descend(loss)
        self.offer(x, labels, places)


def among_present(logits: Tensor, labels: Tensor) -> Tensor:
    """Take the classes that no label [1, B] names out of the competition: [1, B, C]."""
    present = torch.zeros(logits.shape[2], dtype=torch.bool, device=logits.device)
    present.index_fill_(0, labels[0], True)
    return logits.masked_fill(~present, -torch.inf)
