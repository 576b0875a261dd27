"""Large tasks cut into parts, each for an expert of its own: the same classes, disjoint samples.

The longest expert decides how long a group takes, and of Stream's samples two tasks in 71 have two
thirds. Whoever has the samples of a task cuts it; engines see parts as tasks of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from bmc.config import Config
from bmc.train.data import Split, TaskTensors
from bmc.train.memory import balanced_choice
from bmc.train.rows import Features, select
from bmc.train.seeds import generator

LEAST = 2  # samples of a part: batch normalisation over one would only return its bias


class Chosen(Split):
    """Some rows of a split.

    Their features are taken from the split whenever they are asked for and not kept: of a table
    that is so large that its tasks are cut there is no second copy.
    """

    _table: Features
    _rows: Tensor

    def __init__(self, table: Features, labels: Tensor, rows: Tensor) -> None:
        """Take over a split's features, the labels int64 [n] of its rows int64 [n] on the CPU."""
        for name, value in {"_table": table, "_rows": rows, "labels": labels}.items():
            object.__setattr__(self, name, value)  # a split is frozen

    @classmethod
    def of(cls, split: Split, rows: Tensor) -> Chosen:
        """Choose rows of a split, int64 [n] on the CPU."""
        return cls(split.features, split.labels[rows.to(split.labels.device)], rows)

    @property
    def features(self) -> Features:
        """The chosen rows of the table [n, d]; of a tensor they are a new one."""
        return select(self._table, self._rows)


def experts_of(group: Sequence[TaskTensors], config: Config) -> list[TaskTensors]:
    """Return what the experts of a group train on: its tasks, the large ones cut.

    ``config.options`` are those of BMC. Of a task with more than ``expert_rows`` training samples
    come as few parts as have at most so many each, one after the other; ``buffer_rows`` of them
    are those of the whole task.
    """
    return [part for task in group for part in _cut(task, config)]


def buffer_rows(task: TaskTensors, config: Config) -> Tensor:
    """Return the numbers of the training samples that an expert sends, int64 [m].

    Balanced over classes, or the first samples of a shuffled pass; of a part, its share of those.
    """
    if task.sent is not None:
        return task.sent
    options, labels = config.options, task.train.labels
    draws = generator(config.seed, "buffer", task.index)
    if options.buffer_choice == "balanced":
        return balanced_choice(options.buffer, draws, labels)
    return torch.randperm(len(labels), generator=draws)[: options.buffer].to(labels.device)


def parts_of(n: int, most: int) -> int:
    """Return into how many parts a task of n samples is cut; ``most`` 0: it is not."""
    return max(1, min(-(-n // most), n // LEAST)) if most else 1


def _cut(task: TaskTensors, config: Config) -> list[TaskTensors]:
    n = len(task.train)
    count = parts_of(n, config.options.expert_rows)
    if count == 1:
        return [task]
    sent = torch.zeros(n, dtype=torch.bool)
    sent[buffer_rows(task, config).cpu()] = True
    train = dealt(task.train.labels, sent, count, generator(config.seed, "parts", task.index))
    held = torch.zeros(len(task.dev), dtype=torch.bool)
    dev = dealt(task.dev.labels, held, count, generator(config.seed, "dev parts", task.index))
    return [
        replace(
            task,
            train=Chosen.of(task.train, rows),
            dev=Chosen.of(task.dev, judged),
            part=number,
            sent=sent[rows].nonzero()[:, 0].to(task.train.labels.device),
        )
        for number, (rows, judged) in enumerate(zip(train, dev, strict=True), start=1)
    ]


def dealt(labels: Tensor, sent: Tensor, count: int, draws: torch.Generator) -> list[Tensor]:
    """Deal rows out at random to ``count`` parts.

    Their sizes differ by one at most, and so do their numbers of rows of each class. Rows that
    are ``sent`` are spread over the parts as evenly as that allows.

    Parameters
    ----------
    labels
        int64 [n].
    sent
        bool [n], on the CPU.

    Returns
    -------
    list of Tensor
        Row numbers of each part, int64 on the CPU, rising.
    """
    labels = labels.cpu()
    order = torch.randperm(len(labels), generator=draws)
    order = order[torch.argsort(labels[order], stable=True)]
    part_of = torch.empty_like(order)
    load, first = torch.zeros(count, dtype=torch.int64), 0  # rows sent by each part so far
    for rows in torch.split(order, torch.bincount(labels).tolist()):  # those of one class
        turns = torch.arange(len(rows))
        parts = (first + turns) % count
        # of these places, rows that are sent take those in the parts that send least so far
        parts = parts[torch.argsort(load[parts] + turns // count, stable=True)]
        own = rows[sent[rows]]
        part_of[torch.cat([own, rows[~sent[rows]]])] = parts
        load += torch.bincount(parts[: len(own)], minlength=count)
        first += len(rows)
    return [torch.nonzero(part_of == number)[:, 0] for number in range(count)]
