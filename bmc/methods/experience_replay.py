"""Experience replay (Chaudhry et al. 2019, arXiv 1902.10486).

Also what other replay methods share: a memory, renewed when a task ends or while it is learned.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from autods.errors import UsageError
from bmc.config import Config, option
from bmc.methods.base import METHODS
from bmc.methods.net_method import NetMethod
from bmc.train.data import Split, TaskTensors, take
from bmc.train.memory import BalancedMemory, Reservoir, Rows
from bmc.train.rows import InOrder
from bmc.train.sampling import rows_per_pass
from bmc.train.seeds import generator


def balance_of_memory(default: str) -> str:
    """Declare the option that says what shares a memory evenly."""
    return option(
        default,
        "What shares the memory evenly: tasks (in each its classes), or classes; none: it is a "
        "uniform sample of all data.",
        one_of=("none", "tasks", "classes"),
    )


class Remembering(NetMethod):
    """A network beside a memory of samples that is part of the state."""

    shared = NetMethod.shared | {"memory"}
    stores_outputs = False  # whether samples keep what the network gave for them
    memory: Rows

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        outputs = n_classes if self.stores_outputs else 0
        self.memory = self.new_memory(config.memory, dim, device, outputs)

    @classmethod
    def sample_bytes(cls, dim: int, n_classes: int, config: Config) -> int:
        """Add what the network gave for it and how many classes it knew then."""
        outputs = 2 * n_classes + 4 if cls.stores_outputs else 0
        return super().sample_bytes(dim, n_classes, config) + outputs

    def new_memory(self, capacity: int, dim: int, device: torch.device, n_outputs: int) -> Rows:
        """Return an empty memory; arguments as of `Rows`."""
        raise NotImplementedError

    def end_group(self, group: Sequence[TaskTensors]) -> None:
        """Offer every sample of the tasks once, in shuffled order."""
        for task in group:
            draws = generator(self.config.seed, "reservoir", task.index)
            order = torch.randperm(len(task.train), generator=draws)
            labels = task.train.labels[order.to(task.train.labels.device)]
            offered = InOrder(task.train.features, order)
            self.memory.add(offered, labels, draws, task=task.index)

    def shuffled(
        self, task: TaskTensors, draws: torch.Generator, size: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the training samples of a task in random order, ``size`` at once: rows, labels."""
        for rows in torch.split(torch.randperm(len(task.train), generator=draws), size):
            yield (
                take(task.train.features, rows, self.device),
                take(task.train.labels, rows, self.device),
            )

    def state(self) -> dict[str, Tensor]:
        """Return network and memory."""
        return super().state() | self.memory.state()

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Load network and memory."""
        super().load_state(state)
        self.memory.load_state(state)


class Balancing(Remembering):
    """A method whose memory is a reservoir, or shared evenly by tasks or classes."""

    @dataclass(frozen=True)
    class Options(Remembering.Options):
        memory_balance: str = balance_of_memory("tasks")

    options: Options

    @classmethod
    def sample_bytes(cls, dim: int, n_classes: int, config: Config) -> int:
        """Add the key of a balanced memory, and the task."""
        kept = {"none": 0, "classes": 4, "tasks": 8}[config.options.memory_balance]
        return super().sample_bytes(dim, n_classes, config) + kept

    def new_memory(self, capacity: int, dim: int, device: torch.device, n_outputs: int) -> Rows:
        """Return a reservoir or a balanced memory, as the option says."""
        balance = self.options.memory_balance
        if balance == "none":
            return Reservoir(capacity, dim, device, n_outputs)
        return BalancedMemory(capacity, dim, device, n_outputs, by_task=balance == "tasks")


class Replaying(Remembering):
    """Each update draws stored samples and passes them through the network with its batch."""

    shared = Remembering.shared | {"replay_batch"}
    replays_alone = False  # whether replayed samples pass through the network without others

    @classmethod
    def configured(cls, config: Config) -> Config:
        """Fill in default options; refuse one replayed sample where it would stand alone."""
        if cls.replays_alone and config.replay_batch < 2:
            raise UsageError(
                f"replay_batch: expected at least 2, got {config.replay_batch}; nothing was run. "
                f"{cls.title} passes replayed samples through the network alone, and batch "
                "normalisation over one sample would only return its bias."
            )
        return super().configured(config)

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        self.extra_rows = config.replay_batch
        self.draws = torch.Generator()

    def begin_group(self, group: Sequence[TaskTensors]) -> None:
        """Start the replay draws of this task."""
        self.draws = generator(self.config.seed, "replay", group[0].index)

    def replay(self, x: Tensor, keep: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Draw samples and pass them through the network together with a batch.

        Takes ``x`` and ``keep`` as of `observe`. Returns logits of the batch [1, B, C] and of
        the replayed samples [1, extra_rows, C], and their row numbers in the memory, int64
        [extra_rows]; no rows while the memory is empty.
        """
        rows = torch.empty(0, dtype=torch.int64, device=self.device)
        if len(self.memory):
            rows = self.memory.draw(self.extra_rows, self.draws)
        both = torch.cat([x, self.inputs(self.memory.features[rows])[None]], dim=1)
        logits, _ = self.net(both, keep[:, : both.shape[1]])
        own, old = logits.split([x.shape[1], len(rows)], dim=1)
        return own, old, rows

    def beside(self, features: Tensor, labels: Tensor, rows: Tensor) -> tuple[Tensor, ...]:
        """Join batches [n, 1, B, d], [n, 1, B] with rows [n, 1, R] of the memory."""
        old = self.memory.features[rows].to(features.dtype)
        return (
            torch.cat([features, old], dim=2),
            torch.cat([labels, self.memory.labels[rows]], dim=2),
        )


@METHODS.register("er")
class ExperienceReplay(Replaying, Balancing):
    """Each update joins a batch of the current task with one of the memory.

    The memory is offered every training sample exactly once, when its task ends, so what it holds
    does not depend on the number of epochs, and replay shows former tasks only.
    """

    name = "er"
    title = "Experience replay"
    source = "Chaudhry et al. 2019, arXiv 1902.10486"
    equation = """
        L = L_T(batch ∪ samples of M),   M a sample of all former samples
    """

    def fetch(self, data: Split, rows: Tensor) -> tuple[Tensor, ...]:
        """Add as many replayed samples as configured to each batch of the task's own."""
        features, labels = super().fetch(data, rows)
        if len(self.memory) == 0:
            return features, labels
        shape = (len(rows), 1, self.config.replay_batch)
        old = self.memory.draw(math.prod(shape), self.draws)
        return self.beside(features, labels, old.view(shape))


class OnlineReplay(Replaying, Balancing):
    """A memory that is filled while a task is learned, so that replay shows that task too.

    Every training sample is offered once, in the last pass over its task, whatever the number
    of epochs: a memory that is offered it in every pass fills with copies of it.
    """

    # samples are offered in the last pass, so every training has one
    shared = Replaying.shared - {"capture", "early_stopping"}
    capturable = False  # an update draws what it replays, from what the one before it stored

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        self.offers = torch.Generator()
        self._offered = range(0)  # numbers of the draws of this task that are offered
        self._drawn = self._task = 0

    def begin_group(self, group: Sequence[TaskTensors]) -> None:
        """Start the draws of this task."""
        super().begin_group(group)
        self.offers = generator(self.config.seed, "reservoir", group[0].index)
        self._task = group[0].index
        n = sum(len(task.train) for task in group)
        n = rows_per_pass(n, self.config.batch_size, self.config.drop_last)
        self._offered = range(n * (self.config.epochs - 1), n * self.config.epochs)
        self._drawn = 0

    def end_group(self, group: Sequence[TaskTensors]) -> None:
        """Do nothing: the samples were offered while they were learned."""

    def offer(self, x: Tensor, labels: Tensor, outputs: Tensor | None = None) -> None:
        """Offer the samples of a batch to the memory, where it is their turn.

        ``x`` [1, B, d] and ``labels`` [1, B] as of `observe`; outputs [1, B, C].
        """
        first, last = self._offered.start - self._drawn, self._offered.stop - self._drawn
        own = slice(max(first, 0), max(last, 0))
        self._drawn += x.shape[1]
        if len(kept := labels[0, own]):
            features = x[0, own] / self.config.feature_norm  # as they are stored; see `inputs`
            given = None if outputs is None else outputs[0, own].detach()
            self.memory.add(features, kept, self.offers, task=self._task, outputs=given)
