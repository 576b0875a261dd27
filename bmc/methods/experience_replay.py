"""Experience replay (Chaudhry et al. 2019, arXiv 1902.10486).

Also what other replay methods share: a memory, renewed when a task ends or while it is learned.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from autods.core.transfer import queued
from autods.errors import UsageError
from bmc.config import Config, option
from bmc.methods.base import METHODS
from bmc.methods.net_method import NetMethod
from bmc.train.data import Split, TaskTensors, take, training_data
from bmc.train.replay import BalancedMemory, Reservoir, Rows
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
            rows = torch.randperm(len(task.train), generator=draws)
            labels = task.train.labels.cpu()[rows]
            places = self.memory.place(labels, draws, task.index)
            kept = torch.nonzero(places < self.memory.capacity)[:, 0]
            self.memory.write(
                queued(places[kept], self.device),
                take(task.train.features, rows[kept], self.device),
                queued(labels[kept], self.device),
            )

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

    def draw(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Add the rows of the memory that each update replays, [n, 1, R], or [n, 1, 0]."""
        return rows, self.replayed(len(rows), self.extra_rows)

    def replayed(self, n: int, count: int) -> Tensor:
        """Draw rows of the memory for each of n updates, [n, 1, count], or [n, 1, 0]."""
        if not len(self.memory):
            return torch.empty(n, 1, 0, dtype=torch.int64)
        return self.memory.draw(n * count, self.draws).view(n, 1, count)

    def replay(self, x: Tensor, keep: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Pass drawn samples of the memory through the network together with a batch.

        Takes ``x`` and ``keep`` as of `observe`, and int64 [1, R]. Returns logits of the batch
        [1, B, C] and of the replayed samples [1, R, C].
        """
        old = take(self.memory.features, rows, self.device)
        both = torch.cat([x, self.inputs(old)], dim=1)
        logits, _ = self.net(both, keep[:, : both.shape[1]])
        own, again = logits.split([x.shape[1], rows.shape[1]], dim=1)
        return own, again

    def beside(self, features: Tensor, labels: Tensor, rows: Tensor) -> tuple[Tensor, ...]:
        """Join batches [n, 1, B, d], [n, 1, B] with rows [n, 1, R] of the memory."""
        old = take(self.memory.features, rows, self.device).to(features.dtype)
        again = take(self.memory.labels, rows, self.device)
        return torch.cat([features, old], dim=2), torch.cat([labels, again], dim=2)


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

    def gather(self, data: Split, rows: Tensor, *drawn: Tensor) -> tuple[Tensor, ...]:
        """Join each batch of the task's own with the replayed samples."""
        features, labels = super().gather(data, rows)
        return self.beside(features, labels, drawn[0])


class OnlineReplay(Replaying, Balancing):
    """A memory that is filled while a task is learned, so that replay shows that task too.

    Every training sample is offered once, in the last pass over its task, whatever the number
    of epochs: a memory that is offered it in every pass fills with copies of it.
    """

    # samples are offered in the last pass, so every training has one
    shared = Replaying.shared - {"early_stopping"}

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        self.offers = torch.Generator()
        self._labels = torch.empty(0, dtype=torch.int64)  # of the task, on the host
        self._offered = range(0)  # numbers of the draws of this task that are offered
        self._drawn = self._task = 0

    def begin_group(self, group: Sequence[TaskTensors]) -> None:
        """Start the draws of this task."""
        super().begin_group(group)
        self.offers = generator(self.config.seed, "reservoir", group[0].index)
        self._task = group[0].index
        self._labels = training_data(group).labels.cpu()
        n = sum(len(task.train) for task in group)
        n = rows_per_pass(n, self.config.batch_size, self.config.drop_last)
        self._offered = range(n * (self.config.epochs - 1), n * self.config.epochs)
        self._drawn = 0

    def end_group(self, group: Sequence[TaskTensors]) -> None:
        """Do nothing: the samples were offered while they were learned."""

    def draw(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Add replayed rows [k, 1, R], and where the samples of each batch are stored, [k, 1, B].

        The latter is [k, 1, 0] before the last pass. Of the batches to come, those are returned
        in which replay and offers are as in the first one.
        """
        replays, places = [], []
        replaying, offering = bool(len(self.memory)), bool(len(self._turns(rows)))
        for batch in rows:
            if bool(len(self.memory)) != replaying or bool(len(self._turns(rows))) != offering:
                break
            replays.append(self.replayed(1, self.extra_rows))
            places.append(self._places(batch[0]))
            self._drawn += batch.shape[1]
        return rows[: len(replays)], torch.cat(replays), torch.stack(places)

    def _turns(self, rows: Tensor) -> range:
        """Return which samples of the next batch are offered."""
        first, last = self._offered.start - self._drawn, self._offered.stop - self._drawn
        return range(max(first, 0), min(max(last, 0), rows.shape[2]))

    def _places(self, batch: Tensor) -> Tensor:
        """Return where the memory stores the samples of a batch [B]: int64 [1, B], or [1, 0]."""
        turns = self._turns(batch[None, None])
        if not turns:
            return torch.empty(1, 0, dtype=torch.int64)
        own = slice(turns.start, turns.stop)
        places = torch.full_like(batch, self.memory.capacity)
        places[own] = self.memory.place(self._labels[batch[own]], self.offers, self._task)
        return places[None]

    def offer(
        self, x: Tensor, labels: Tensor, places: Tensor, outputs: Tensor | None = None
    ) -> None:
        """Store the samples of a batch that the memory keeps.

        ``x`` [1, B, d] and ``labels`` [1, B] as of `observe`, ``places`` as of `draw`, [1, B];
        outputs [1, B, C].
        """
        if not places.shape[1]:
            return
        features = x[0] / self.config.feature_norm  # as they are stored; see `inputs`
        given = None if outputs is None else outputs[0].detach()
        self.memory.write(places[0], features, labels[0], given)
