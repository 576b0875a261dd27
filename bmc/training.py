"""The one training loop over K stacked copies; K = 1 trains a base model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from bmc.config import Config
from bmc.nets import ResidualMLP

CHUNK = 32  # steps whose rows and dropout masks are drawn at once


class Sampler(Protocol):
    """Draws row numbers: `Shuffled` or `Balanced`."""

    def take(self, count: int) -> Tensor:
        """Return ``count`` row numbers, int64 [count]."""


@dataclass(frozen=True)
class Course:
    """What one copy trains on: its batches, its number of updates, its dropout noise."""

    sampler: Sampler
    steps: int
    noise: torch.Generator


def new_optimizer(net: ResidualMLP, config: Config) -> torch.optim.Optimizer:
    """Return the AdamW that every method uses."""
    return torch.optim.AdamW(
        net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )


def draw_keep(net: ResidualMLP, noise: torch.Generator, *shape: int) -> Tensor:
    """Draw which activations survive dropout, bool [*shape, dropout_width] on the CPU."""
    return torch.rand(*shape, net.dropout_width, generator=noise) >= net.dropout


def train_stacked(
    net: ResidualMLP,
    courses: Sequence[Course],
    loss: Callable[[Tensor, Tensor, int], Tensor],
    config: Config,
    extra_rows: int = 0,
) -> int:
    """Train K copies together, each for its own number of updates.

    Copies must be ordered by falling number of steps: those that still train are the
    first m, and everything works on views of that prefix, so a copy that has finished
    is neither computed nor changed.

    Parameters
    ----------
    net
        The K copies, changed in place.
    courses
        One per copy.
    loss
        ``loss(rows, keep, m)`` with rows int64 [m, B] and keep bool
        [m, B, dropout_width]; returns float32 [m], one loss per copy.
    config
        Batch size and optimiser settings.
    extra_rows
        Rows that the loss adds to each batch (replay) and that need dropout noise too.

    Returns
    -------
    The number of updates made, summed over copies.
    """
    net.train()
    optimizer = new_optimizer(net, config)
    device = next(net.parameters()).device
    with _Prefix(net, optimizer) as prefix:
        for rows, keep in _batches(net, courses, config.batch_size, extra_rows):
            m = len(rows)
            prefix.narrow(m)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss(rows.to(device), keep.to(device), m).sum())
            optimizer.step()
    net.eval()
    return sum(course.steps for course in courses)


def _batches(
    net: ResidualMLP, courses: Sequence[Course], batch_size: int, extra_rows: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield rows [m, B] and dropout masks [m, B, width] of each step, drawn in chunks."""
    steps = [course.steps for course in courses]
    if steps != sorted(steps, reverse=True):
        raise ValueError(f"copies must be ordered by falling number of steps, got {steps}")
    for first in range(0, steps[0], CHUNK):
        rows, keep = [], []
        for course in courses:
            count = min(CHUNK, course.steps - first)
            if count <= 0:
                break
            rows.append(course.sampler.take(count * batch_size).view(count, batch_size))
            keep.append(draw_keep(net, course.noise, count, batch_size + extra_rows))
        for t in range(len(rows[0])):
            active = sum(first + t < n for n in steps)
            yield (
                torch.stack([r[t] for r in rows[:active]]),
                torch.stack([k[t] for k in keep[:active]]),
            )


class _Prefix:
    """Presents the first m copies of a net and its optimiser as the whole net."""

    def __init__(self, net: ResidualMLP, optimizer: torch.optim.Optimizer) -> None:
        self.net = net
        self.optimizer = optimizer
        self.full: list[tuple[Tensor, Tensor]] = []
        self.size = net.copies

    def __enter__(self) -> _Prefix:
        tensors = [*self.net.parameters(), *self.net.buffers()]
        self.full = [(tensor, tensor.data) for tensor in tensors]
        return self

    def narrow(self, m: int) -> None:
        """Drop copies from the end until m are left."""
        if m == self.size:
            return
        self.size = m
        for tensor, full in self.full:
            tensor.grad = None
            tensor.data = full[:m]
            state = self.optimizer.state.get(tensor, {})
            for key in ("exp_avg", "exp_avg_sq"):
                if key in state:
                    state[key] = state[key][:m]

    def __exit__(self, *_: object) -> None:
        for tensor, full in self.full:
            tensor.data = full
