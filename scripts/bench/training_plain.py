"""Batch Model Consolidation as one would write it first: the yardstick of `training.py`.

A `DataLoader` per expert, a Python loop over experts, the whole head in every step, a loop
over tasks and batches to evaluate. Network, losses, optimiser, sampling and the number of
updates are those of `bmc`; no code of it is used but the configuration, the tasks as tensors
and `steps_for`.
"""

from __future__ import annotations

import copy
import time
from collections import defaultdict

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    RandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from bmc.config import Config
from bmc.train.data import TaskTensors
from bmc.train.sampling import steps_for


class Block(nn.Module):
    """A residual block."""

    def __init__(self, n_in: int, inner: int, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(n_in, inner),
            nn.BatchNorm1d(inner),
            nn.ReLU(),
            nn.Linear(inner, width),
            nn.BatchNorm1d(width),
        )
        self.shortcut = nn.Sequential(nn.Linear(n_in, width), nn.BatchNorm1d(width))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, n_in] to [B, width]."""
        return torch.relu(self.body(x) + self.shortcut(x))


class Net(nn.Module):
    """The published network, once."""

    def __init__(self, dim: int, n_classes: int, config: Config) -> None:
        super().__init__()
        self.project = nn.Linear(dim, config.hidden)
        self.block1 = Block(config.hidden, config.inner, config.width)
        self.block2 = Block(config.width, config.inner, config.width)
        self.drop = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.width, n_classes)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_normal_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return logits and phi."""
        phi0 = self.project(x)
        phi1 = self.block1(phi0)
        phi2 = self.block2(self.drop(phi1))
        return self.head(self.drop(phi2)), [phi0, phi1, phi2]


def distance(teacher: list[Tensor], student: list[Tensor]) -> Tensor:
    pairs = zip(teacher, student, strict=True)
    return sum(((t - s).norm(dim=1) for t, s in pairs), torch.zeros(())).mean()


def loader(data: Dataset, steps: int, batch: int) -> DataLoader:
    return DataLoader(data, batch, sampler=RandomSampler(data, num_samples=steps * batch))


class PlainBMC:
    """One run; ``seconds`` holds the time of each phase, ``steps`` the updates."""

    def __init__(self, tasks: list[TaskTensors], config: Config) -> None:
        self.tasks, self.config = tasks, config
        self.seconds: dict[str, float] = defaultdict(float)
        self.steps = 0
        self.data = {
            split: [self._dataset(getattr(task, split)) for task in tasks]
            for split in ("train", "test")
        }
        torch.manual_seed(config.seed)
        dim = tasks[0].train.features.shape[1]
        self.net = Net(dim, tasks[-1].stop, config)
        self.memory: TensorDataset | None = None

    def _dataset(self, split: object) -> TensorDataset:
        return TensorDataset(split.features.float() * self.config.feature_norm, split.labels)

    def run(self) -> dict[str, np.ndarray]:
        """Return the last row of each accuracy matrix."""
        rows = []
        for first in range(0, len(self.tasks), self.config.options.experts):
            group = self.tasks[first : first + self.config.options.experts]
            began = time.perf_counter()
            buffers = [self.buffer(self.expert(task), task) for task in group]
            trained = time.perf_counter()
            pool = ConcatDataset([*([self.memory] if self.memory else []), *buffers])
            labels, numbers = self.consolidate(pool)
            consolidated = time.perf_counter()
            self.memory = self.remember(pool, labels, numbers)
            remembered = time.perf_counter()
            rows.append(self.evaluate(self.tasks[: first + len(group)]))
            self.seconds["experts"] += trained - began
            self.seconds["consolidation"] += consolidated - trained
            self.seconds["memory"] += remembered - consolidated
            self.seconds["evaluate"] += time.perf_counter() - remembered
        return dict(zip(("class-il", "task-il", "dataset-id"), rows[-1], strict=True))

    def _train(self, net: Net, batches: DataLoader, loss) -> None:
        config = self.config
        optimizer = torch.optim.AdamW(
            net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        net.train()
        for batch in batches:
            optimizer.zero_grad()
            loss(*batch).backward()
            optimizer.step()
        net.eval()
        self.steps += len(batches)

    def expert(self, task: TaskTensors) -> Net:
        """Train one expert from the base model."""
        config, base, net = self.config, self.net, copy.deepcopy(self.net)

        def loss(x: Tensor, y: Tensor) -> Tensor:
            with torch.no_grad():
                _, teacher = base(x)
            logits, student = net(x)
            own = torch.full_like(logits, float("-inf"))
            own[:, task.start : task.stop] = logits[:, task.start : task.stop]
            return functional.cross_entropy(own, y) + config.options.lam * distance(
                teacher, student
            )

        data = self.data["train"][task.index]
        steps = steps_for(len(data), config.epochs, config.batch_size)
        self._train(net, loader(data, steps, config.batch_size), loss)
        return net

    def buffer(self, expert: Net, task: TaskTensors) -> TensorDataset:
        """Sample what the expert sends."""
        x, y = self.data["train"][task.index].tensors
        rows = np.array(spread(y.tolist(), self.config.options.buffer))
        with torch.no_grad():
            phi = torch.cat(expert(x[rows])[1], dim=1)
        return TensorDataset(x[rows], y[rows], phi, torch.full((len(rows),), task.index))

    def consolidate(self, pool: ConcatDataset) -> tuple[list[int], list[int]]:
        """Train the next base model; return labels and task numbers of the pool."""
        config = self.config
        labels = [int(pool[i][1]) for i in range(len(pool))]
        numbers = [int(pool[i][3]) for i in range(len(pool))]
        counts = np.bincount(numbers)
        batch = config.options.consolidation_batch
        steps = steps_for(len(pool), config.options.consolidation_epochs, batch)
        sampler = WeightedRandomSampler([1 / counts[t] for t in numbers], steps * batch)
        widths = [config.hidden, config.width, config.width]

        def loss(x: Tensor, y: Tensor, phi: Tensor, _: Tensor) -> Tensor:
            logits, student = self.net(x)
            logits = logits[:, : max(labels) + 1]
            far = distance(list(torch.split(phi, widths, dim=1)), student)
            return (
                config.options.alpha * functional.cross_entropy(logits, y)
                + config.options.beta * far
            )

        self._train(self.net, DataLoader(pool, batch, sampler=sampler), loss)
        return labels, numbers

    def remember(self, pool: ConcatDataset, labels: list[int], numbers: list[int]) -> TensorDataset:
        """Choose the memory, as many samples of every task."""
        by_task = defaultdict(list)
        for i, number in enumerate(numbers):
            by_task[number].append(i)
        share = max(1, self.config.memory // len(by_task))
        rows = []
        for own in by_task.values():
            rows += [own[i] for i in spread([labels[i] for i in own], share)]
        chosen = [pool[i] for i in rows]
        return TensorDataset(*(torch.stack(column) for column in zip(*chosen, strict=True)))

    @torch.no_grad()
    def evaluate(self, seen: list[TaskTensors]) -> list[np.ndarray]:
        """Return a row of each accuracy matrix, task by task and batch by batch."""
        rows = np.full((3, len(self.tasks)), np.nan)
        stops = torch.tensor([task.stop for task in seen])
        for task in seen:
            right, count = np.zeros(3), 0
            for x, y in DataLoader(self.data["test"][task.index], self.config.batch_size):
                logits = self.net(x)[0][:, : seen[-1].stop]
                predicted = logits.argmax(dim=1)
                own = logits[:, task.start : task.stop].argmax(dim=1) + task.start
                found = torch.bucketize(predicted, stops, right=True) == task.index
                right += [n.sum().item() for n in (predicted == y, own == y, found)]
                count += len(y)
            rows[:, task.index] = right / count
        return list(rows)


def spread(labels: list[int], count: int) -> list[int]:
    """Choose ``count`` rows, as many of each class as there are."""
    by_class = defaultdict(list)
    for i in np.random.permutation(len(labels)):
        by_class[labels[i]].append(i)
    rounds = max(map(len, by_class.values()))
    turns = [own[r] for r in range(rounds) for own in by_class.values() if r < len(own)]
    return turns[:count]
