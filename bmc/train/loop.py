"""The one training loop over K stacked copies; K = 1 trains a base model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from autods.core.transfer import queued
from bmc.config import Config
from bmc.network.mlp import ResidualMLP
from bmc.train.batch import Batch, Gather
from bmc.train.copies import CHUNK, StackedCopies, Step
from bmc.train.moments import Moments
from bmc.train.movement import moved
from bmc.train.plateau import Judge, Plateau
from bmc.train.seeds import Noise
from bmc.train.transfer import Lead


class Sampler(Protocol):
    """Draws row numbers: `Shuffled` or `Balanced`."""

    def take(self, count: int) -> Tensor:
        """Return ``count`` row numbers, int64 [count] on the CPU."""


@dataclass(frozen=True)
class Course:
    """What one copy trains on: its batches, its number of updates, its dropout noise.

    A copy may be judged whenever ``judged_every`` more updates are made (at the next end of a
    chunk of updates, or ``exactly`` then) and after its last; 0: never.
    """

    sampler: Sampler
    steps: int
    noise: Noise
    judged_every: int = 0

    def is_due(self, t: int, exactly: bool = False) -> bool:
        """Tell whether the copy is judged after t updates."""
        if not self.judged_every:
            return False
        if t == self.steps:
            return True
        if exactly:
            return t % self.judged_every == 0
        return t % CHUNK == 0 and t // self.judged_every > (t - CHUNK) // self.judged_every


# rows int64 [n, m, B] on the CPU and the numbers of the m copies -> tensors [k, m, B, ...] of the
# first k <= n batches, at least of one; it is asked again for the others
Fetch = Callable[[Tensor, Sequence[int]], tuple[Tensor, ...]]


def by_loss(loss: Callable[[Batch], Tensor]) -> Step:
    """Return the step along the gradient of ``loss``, which gives float32 [m], one per copy."""
    return lambda stacked, batch: stacked.descend(loss(batch))


def train_stacked(
    net: ResidualMLP,
    courses: Sequence[Course],
    fetch: Fetch,
    step: Step,
    config: Config,
    *,
    gather: Gather | None = None,
    classes: int | None = None,
    batch_size: int | None = None,
    rate: float | None = None,
    schedule: Callable[[float], float] | None = None,
    capture: bool = True,
    extra_rows: int = 0,
    judge: Judge | None = None,
    patience: int = 0,
    plateau: Plateau | None = None,
    optimizer: str = "adamw",
    moments: Moments | None = None,
) -> list[int]:
    """Train K copies together, in place; return the number of updates that each made.

    A copy that finishes leaves the stack: it is neither computed nor changed any more.

    Parameters
    ----------
    courses
        One per copy.
    fetch
        Returns the samples of n updates at once, where the net is; with ``gather`` what is drawn
        for them, on the host.
    gather
        Makes samples of these draws, on the device of the net; it may be recorded with the step.
    classes
        Outputs of the head that train, by default all; the others are neither computed nor
        changed.
    batch_size, rate
        B and the learning rate; default: those of ``config``.
    schedule
        Returns the factor of the learning rate by the share of updates made, from 0 to 1.
    capture
        Whether ``step`` and ``gather`` may be recorded as a CUDA graph: not where they need the
        host.
    extra_rows
        Rows that ``fetch`` adds to each batch (replay) and that need dropout noise too.
    patience
        A judged copy ends after so many judgements in a row that bring no new best, with the
        weights that were best.
    plateau
        When judged copies lower their learning rate or end; they are then judged exactly when
        a pass ends.
    optimizer
        ``adamw``, or ``sgd`` without momentum or weight decay.
    moments
        AdamW's state to begin with, which is moved on; default: a new one.
    """
    batch_size = batch_size or config.batch_size
    draws = [_Draws(course, batch_size, batch_size + extra_rows, net) for course in courses]
    made = [0] * len(courses)
    rate = rate or config.learning_rate
    longest = max(course.steps for course in courses)
    exactly = plateau is not None
    lead, planned = Lead(net.weights.device), sum(course.steps for course in courses)
    with StackedCopies(net, config, rate, classes, capture, optimizer, plateau, moments) as stacked:
        t = 0
        while stacked.copies:
            next_end = min(courses[c].steps for c in stacked.copies)
            count = min(CHUNK - t % CHUNK, next_end - t)
            if exactly:
                passes = [courses[c].judged_every for c in stacked.copies]
                count = min(count, *(every - t % every for every in passes if every), CHUNK)
            for chunk in _chunks(draws, stacked.copies, fetch, t, count):
                rates = None
                if schedule is not None:
                    made_of = [(t + number) / longest for number in range(len(chunk))]
                    rates = [rate * schedule(share) for share in made_of]
                t += len(chunk)
                stacked.updates(step, chunk, gather, rates, next_end - t)
                lead.next()
            for copy in stacked.copies:
                made[copy] = t
            moved(sum(made), planned, "updates")
            if judge is not None:
                due = [c for c in stacked.copies if courses[c].is_due(t, exactly)]
                stacked.judge(due, judge, patience)
            for copy in [c for c in stacked.copies if courses[c].steps == t]:
                stacked.end(copy)
    return made


class _Draws:
    """Rows and dropout masks of one copy, drawn a chunk at a time.

    Chunks begin at fixed updates, so what a copy draws does not depend on the others.
    """

    def __init__(self, course: Course, rows: int, masks: int, net: ResidualMLP) -> None:
        self.course, self.rows, self.net = course, rows, net
        self.mask_shape = (masks, net.dropout_width)

    def at(self, t: int, count: int) -> tuple[Tensor, Tensor]:
        """Return rows [count, B] and masks [count, masks, width] of updates t, t + 1, ..."""
        if t % CHUNK == 0:
            ahead = min(CHUNK, self.course.steps - t)
            self.taken = self.course.sampler.take(ahead * self.rows).view(ahead, self.rows)
            shape = (ahead, *self.mask_shape)
            self.keep = self.course.noise.keep(shape, self.net.dropout, self.net.weights.device)
        part = slice(t % CHUNK, t % CHUNK + count)
        return self.taken[part], self.keep[part]


def _chunks(
    draws: Sequence[_Draws], copies: Sequence[int], fetch: Fetch, t: int, count: int
) -> Iterator[Batch]:
    """Yield the batches of ``count`` updates, as many at once as `fetch` returns."""
    parts = [draws[copy].at(t, count) for copy in copies]
    rows = torch.stack([rows for rows, _ in parts], dim=1)
    keep = torch.stack([masks for _, masks in parts], dim=1)  # [count, m, masks, width]
    first = 0
    while first < count:
        data = fetch(rows[first:], copies)
        last = first + len(data[0])
        yield Batch(tuple(queued(tensor, keep.device) for tensor in data), keep[first:last])
        first = last
