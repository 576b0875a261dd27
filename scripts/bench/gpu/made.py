"""Tasks of random rows, made on the device that trains."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from bmc.train.data import Split, TaskTensors

BLOCK = 1 << 18  # rows drawn at once
TESTED = 64  # rows of each task's test split, which are training rows too


def tasks_of(
    sizes: Sequence[int], classes: Sequence[int], dim: int, device: torch.device
) -> list[TaskTensors]:
    """Return tasks with these numbers of training rows and classes; rows float16 of length 1."""
    table = torch.empty(sum(sizes), dim, dtype=torch.float16, device=device)
    for block in torch.split(table, BLOCK):
        block.copy_(functional.normalize(torch.randn(len(block), dim, device=device), dim=1))
    tasks, start = [], 0
    for number, (rows, count) in enumerate(zip(table.split(list(sizes)), classes, strict=True)):
        labels = torch.arange(len(rows), device=device) % count + start
        train, test = Split(rows, labels), Split(rows[:TESTED], labels[:TESTED])
        name, stop = f"t{number}", start + count
        none = Split(rows[:0], labels[:0])
        tasks.append(TaskTensors(number, name, name, start, stop, train, none, test))
        start = stop
    return tasks
