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

import torch
from torch import Tensor

from bmc.config import Config, option
from bmc.methods.base import METHODS
from bmc.methods.experience_replay import Remembering
from bmc.network.gradients import cross_entropy, sample_gradients
from bmc.train.copies import StackedCopies
from bmc.train.data import TaskTensors, take
from bmc.train.replay import Rows
from bmc.train.sampling import rows_per_pass
from bmc.train.seeds import generator

ALONE = 1.0  # score where nothing is stored to compare with: that of a cosine of 0


class GreedyMemory(Rows):
    """Samples with a score each; one of a lesser score may replace another.

    ``scores``, float32 [capacity] from 0 to 2, are on the device, as all that is decided by them.
    """

    prefix = "memory"

    def __init__(self, capacity: int, dim: int, device: torch.device, n_outputs: int = 0) -> None:
        super().__init__(capacity, dim, device, n_outputs)
        self._whole["scores"] = torch.zeros(capacity + 1, device=device)
        self.scores = self._whole["scores"][:capacity]

    def _columns(self) -> dict[str, Tensor]:
        return super()._columns() | {"scores": self.scores}

    def reserve(self, n: int, draws: torch.Generator) -> tuple[Tensor, Tensor]:
        """Make room for n samples, and draw what decides over those for which there is none.

        Returns the places of the first, int64 [free], and uniform numbers for the others, float64
        [2, n - free]; both on the host.
        """
        free = min(n, self.capacity - len(self))
        places = len(self) + torch.arange(free)
        self._stored += free
        return places, torch.rand(2, n - free, dtype=torch.float64, generator=draws)

    def offer(
        self, features: Tensor, labels: Tensor, scores: Tensor, places: Tensor, uniform: Tensor
    ) -> None:
        """Offer samples [n, d], [n] with their scores, float32 [n], in their order.

        The first go to their places [free]. Then the place i is drawn with probability
        C_i / sum C, and a sample of score c < 1 takes it with probability C_i / (C_i + c), by
        uniform numbers [2, n - free]. All are on the device.
        """
        free = len(places)
        self._write(places, features[:free], labels[:free], scores[:free])
        if free == len(labels):
            return
        c = scores[free:].double()
        stored = self.scores.double()
        edges = stored.cumsum(dim=0)
        place = torch.searchsorted(edges, uniform[0] * edges[-1], right=True)
        place.clamp_(max=self.capacity - 1)
        takes = (c < 1) & (uniform[1] * (stored[place] + c) < stored[place])
        place = torch.where(takes, place, self.capacity)
        # of several samples for one place the last stays, as if offered one by one
        number = torch.arange(len(c), device=place.device)
        last = place.new_full((self.capacity + 1,), -1)
        last.scatter_reduce_(0, place, number, "amax")
        place = torch.where(last[place] == number, place, self.capacity)
        self._write(place, features[free:], labels[free:], scores[free:])

    def _write(self, places: Tensor, features: Tensor, labels: Tensor, scores: Tensor) -> None:
        self.write(places, features, labels)
        self._whole["scores"].index_copy_(0, places, scores)


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
    shared = Remembering.shared | {"replay_batch"}
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

    def draw(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Add what an update replays, compares and stores.

        Rows of the memory [k, 1, R] and [k, 1, c], and what `GreedyMemory.reserve` returns for
        the samples that are offered. Of the batches to come, those are returned in which all of
        them are as many as in the first one.
        """
        drawn: list[tuple[Tensor, ...]] = []
        for batch in rows:
            before = self._left, len(self.memory), self._draws.get_state()
            one = self._draw_one(batch.shape[1])
            if drawn and [t.shape for t in one] != [t.shape for t in drawn[0]]:
                self._left, self.memory._stored, _ = before
                self._draws.set_state(before[2])
                break
            drawn.append(one)
        columns = (torch.stack(column)[:, None] for column in zip(*drawn, strict=True))
        return rows[: len(drawn)], *columns

    def _draw_one(self, size: int) -> tuple[Tensor, ...]:
        """Draw for one batch of so many samples; they count as offered."""
        nothing, stored = torch.empty(0, dtype=torch.int64), len(self.memory)
        n = min(size, self._left)
        replayed = compared = nothing
        if stored:
            replayed = torch.randint(stored, (self.extra_rows,), generator=self._draws)
        if stored and n:
            compared = torch.randperm(stored, generator=self._draws)[: self.options.samples]
        self._left -= n
        return replayed, compared, *self.memory.reserve(n, self._draws)

    def observe(
        self, update: StackedCopies, x: Tensor, labels: Tensor, keep: Tensor, *drawn: Tensor
    ) -> None:
        """Make an update with replayed samples beside the batch; then offer the batch."""
        replayed, compared, places, uniform = (tensor[0] for tensor in drawn)
        n = len(places) + uniform.shape[1]
        new, new_labels = x[0, :n], labels[0, :n]
        if len(replayed):
            old = self.inputs(take(self.memory.features, replayed, self.device))
            x = torch.cat([x, old[None]], dim=1)
            labels = torch.cat([labels, self.memory.labels[replayed][None]], dim=1)
        update.descend(self.loss(x, labels, keep))
        if n:
            features = new / self.config.feature_norm
            scores = self.compare(new, new_labels, compared)
            self.memory.offer(features, new_labels, scores, places, uniform)

    def end_group(self, group: Sequence[TaskTensors]) -> None:
        """Do nothing: the samples were offered while they were learned."""

    def compare(self, x: Tensor, labels: Tensor, stored: Tensor) -> Tensor:
        """Score samples [n, d], [n] against rows of the memory [c]: float32 [n].

        c = max_i <g, G_i> / (|g| |G_i|) + 1 over the gradients G_i of stored samples.
        """
        if not len(stored):
            return torch.full((len(x),), ALONE, device=x.device)
        old = self.inputs(take(self.memory.features, stored, self.device))
        both = torch.cat([x, old]), torch.cat([labels, self.memory.labels[stored]])
        gradients = sample_gradients(self.net.parts(), *both, cross_entropy)
        own, others = gradients.split(len(x))
        return (own.cosines(others).amax(dim=1) + 1).clamp(0, 2)
