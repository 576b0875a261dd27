"""GSS, the greedy variant of gradient-based sample selection (arXiv 1903.08671, Algorithm 2).

The paper sees each sample once. Here a sample is offered in the task's first pass, after the
update that it took part in, and never again; replay draws from the whole memory, as in the
paper. A batch is offered at once: its samples share one draw of stored samples to be compared
with and the scores as they stood, so a batch of 1 follows the algorithm exactly. Gradients are
those of single samples in evaluation mode over all parameters.

A full memory admits only samples whose gradient points away from all that it is compared with.
With many classes these are few, so the memory stays near the first tasks and GSS behind
uniform replay: that is the paper's rule. Fewer ``samples`` admit more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bmc.config import Config, option
from bmc.methods.base import METHODS
from bmc.methods.experience_replay import Remembering
from bmc.network.gradients import cross_entropy, sample_gradients
from bmc.train.copies import StackedCopies
from bmc.train.data import TaskTensors
from bmc.train.memory import Rows
from bmc.train.sampling import rows_per_pass
from bmc.train.seeds import generator

ALONE = 1.0  # score where nothing is stored to compare with: that of a cosine of 0


class GreedyMemory(Rows):
    """Samples with a score each; one of a lesser score may replace another.

    ``scores``, float32 [capacity] from 0 to 2, are on the host, where the draws are made.
    """

    prefix = "memory"

    def __init__(self, capacity: int, dim: int, device: torch.device, n_outputs: int = 0) -> None:
        super().__init__(capacity, dim, device, n_outputs)
        self.scores = torch.zeros(capacity)

    def _columns(self) -> dict[str, Tensor]:
        return super()._columns() | {"scores": self.scores}

    def rows(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return features [n, d] and labels [n] at ``index``, int64 [n] on the host."""
        index = index.to(self.labels.device)
        return self.features[index], self.labels[index]

    def offer(
        self, features: Tensor, labels: Tensor, scores: Tensor, draws: torch.Generator
    ) -> None:
        """Offer samples [n, d], [n] with their scores, float32 [n] on the host, in their order.

        While there is room all are taken. Then the place i is drawn with probability
        C_i / sum C, and a sample of score c < 1 takes it with probability C_i / (C_i + c).
        """
        n = len(labels)
        given = {"features": features, "labels": labels, "scores": scores}
        free = min(n, self.capacity - len(self))
        self._put(len(self) + torch.arange(free), given, torch.arange(free))
        self._stored += free
        if free == n:
            return
        c = scores[free:].double()
        stored = self.scores.double()
        edges = stored.cumsum(dim=0)
        uniform = torch.rand(2, len(c), dtype=torch.float64, generator=draws)
        place = torch.searchsorted(edges, uniform[0] * edges[-1], right=True)
        place.clamp_(max=self.capacity - 1)
        takes = (c < 1) & (uniform[1] * (stored[place] + c) < stored[place])
        taken, rows = place[takes].numpy(), free + torch.nonzero(takes)[:, 0].numpy()
        # of several samples for one place the last stays, as if offered one by one
        places, last = np.unique(taken[::-1], return_index=True)
        self._put(torch.from_numpy(places), given, torch.from_numpy(rows[::-1][last]))


@METHODS.register("gss")
class GradientSampleSelection(Remembering):
    """Replay from a memory that prefers samples whose gradients point apart."""

    name = "gss"
    title = "GSS"
    source = "Aljundi et al., NeurIPS 2019, arXiv 1903.08671, Algorithm 2"
    equation = """
        L = L_T(batch ∪ samples of M);  score of a sample: c = 1 + max_i cos(g, G_i)
        M is full and c < 1: place i is drawn by C_i / Σ C, and taken with C_i / (C_i + c)
    """
    shared = Remembering.shared - {"capture"} | {"replay_batch"}
    capturable = False
    memory: GreedyMemory

    @dataclass(frozen=True)
    class Options(Remembering.Options):
        samples: int = option(
            10, "Stored samples whose gradients a new one is compared with.", at_least=1
        )

    options: Options

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        self.extra_rows = config.replay_batch
        self._draws = torch.Generator()
        self._left = 0  # samples of the task's first pass that were not offered yet

    @classmethod
    def sample_bytes(cls, dim: int, n_classes: int, config: Config) -> int:
        """Add the score of a sample."""
        return super().sample_bytes(dim, n_classes, config) + 4

    def new_memory(
        self, capacity: int, dim: int, device: torch.device, n_outputs: int
    ) -> GreedyMemory:
        """Return an empty memory of scored samples."""
        return GreedyMemory(capacity, dim, device, n_outputs)

    def begin_group(self, group: Sequence[TaskTensors]) -> None:
        """Start the draws of this task and its first pass."""
        self._draws = generator(self.config.seed, "gradient selection", group[0].index)
        n = sum(len(task.train) for task in group)
        self._left = rows_per_pass(n, self.config.batch_size, self.config.drop_last)

    def observe(self, update: StackedCopies, x: Tensor, labels: Tensor, keep: Tensor) -> None:
        """Make an update with replayed samples beside the batch; then offer the batch."""
        new, new_labels = x[0, : self._left], labels[0, : self._left]
        if len(self.memory):
            rows = torch.randint(len(self.memory), (self.extra_rows,), generator=self._draws)
            old, old_labels = self.memory.rows(rows)
            x = torch.cat([x, self.inputs(old)[None]], dim=1)
            labels = torch.cat([labels, old_labels[None]], dim=1)
        update.descend(self.loss(x, labels, keep))
        if self._left:
            features = new / self.config.feature_norm
            self.memory.offer(features, new_labels, self.compare(new, new_labels), self._draws)
            self._left -= len(new)

    def end_group(self, group: Sequence[TaskTensors]) -> None:
        """Do nothing: the samples were offered while they were learned."""

    def compare(self, x: Tensor, labels: Tensor) -> Tensor:
        """Score samples [n, d], [n]: float32 [n] on the host.

        c = max_i <g, G_i> / (|g| |G_i|) + 1 over the gradients G_i of stored samples.
        """
        if not len(self.memory):
            return torch.full((len(x),), ALONE)
        drawn = torch.randperm(len(self.memory), generator=self._draws)
        old, old_labels = self.memory.rows(drawn[: self.options.samples])
        both = torch.cat([x, self.inputs(old)]), torch.cat([labels, old_labels])
        gradients = sample_gradients(self.net.parts(), *both, cross_entropy)
        own, stored = gradients.split(len(x))
        return (own.cosines(stored).amax(dim=1) + 1).clamp(0, 2).cpu()
