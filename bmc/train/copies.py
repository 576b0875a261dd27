"""Stacked copies of the network, trained together by one optimiser."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from autods.core.refusals import cause_of
from autods.core.transfer import queued
from bmc.config import Config
from bmc.network.mlp import ResidualMLP
from bmc.train.batch import Batch, Gather
from bmc.train.graph import Captured
from bmc.train.moments import Moments
from bmc.train.plateau import FACTOR, Judge, Plateau, Record

CHUNK = 32  # updates whose rows, dropout masks and samples are drawn at once
WARM = 3  # updates of an arrangement before it is captured: libraries allocate in the first
WORTH = 64  # updates that pay for a capture, about: it takes as long as some tens of them


class _Best(NamedTuple):
    value: float
    since: int  # judgements in a row that were no better
    weights: Tensor
    statistics: Tensor


class StackedCopies:
    """Stacked copies of the network, trained together; one that finishes leaves the stack.

    On exit the net holds all copies again, in their order.

    Attributes
    ----------
    rate
        The learning rate of the next update.
    copies
        Numbers of the copies in the order in which the net holds them.

    ``moments``, if given, are those that the training begins with; it leaves its own there.
    """

    def __init__(
        self,
        net: ResidualMLP,
        config: Config,
        rate: float,
        classes: int | None,
        capture: bool,
        optimizer: str = "adamw",
        plateau: Plateau | None = None,
        moments: Moments | None = None,
    ) -> None:
        self.net = net
        self.copies = list(range(net.copies))
        self._home = net.weights.data, net.statistics
        self._best: dict[int, _Best] = {}
        self._records = {copy: Record(plateau) for copy in self.copies} if plateau else {}
        self._plain = optimizer == "sgd"
        size = net.size(net.n_classes if classes is None else classes)
        net.weights.data = self._home[0][:, :size].clone()
        net.statistics = self._home[1].clone()
        self._capture = capture and config.capture and net.weights.device.type == "cuda"
        self._captured: Captured | None = None
        self.rate = rate
        # a graph reads the rate from memory, where it may change
        place = net.weights.device
        self._rate = torch.full((), rate, device=place) if self._capture else None
        self._updates = 0  # since the arrangement of the copies, or the shapes of batches, changed
        self._shapes: list[torch.Size] = []
        self._kept = moments
        begun = Moments.new(net) if moments is None else moments
        self._moments = begun.first[:, :size].clone(), begun.second[:, :size].clone()
        self._step = begun.step.clone()
        # of the learning rate of each copy, where these may differ: float32 [m, 1]
        self._factors = torch.ones_like(net.weights[:, :1]).detach() if plateau else None
        self._options: dict[str, Any] = {
            "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "amsgrad": False,
            "weight_decay": config.weight_decay, "maximize": False, "fused": True,
            "capturable": self._capture,
        }  # fmt: skip

    def __enter__(self) -> StackedCopies:
        self.net.train()
        return self

    def __exit__(self, *_: object) -> None:
        for copy in list(self.copies):
            self.end(copy)
        self.net.weights.data, self.net.statistics = self._home
        self.net.eval()

    def updates(
        self,
        step: Step,
        chunk: Batch,
        gather: Gather | None = None,
        rates: Sequence[float] | None = None,
        following: int = WORTH,
    ) -> None:
        """Make an update of every copy with each of n batches, [n, m, ...], one after the other.

        ``gather`` makes of the draws in ``chunk`` what the step takes; captured, it is part of
        the update. ``rates`` are the learning rates of the updates; default: `rate`. ``following``
        is how many updates of the same copies are to come: nothing is captured for a few.
        """
        shapes = [tensor.shape[1:] for tensor in (*chunk.data, chunk.keep)]
        if shapes != self._shapes:
            self._captured, self._updates, self._shapes = None, 0, shapes
        rates = [self.rate] * len(chunk) if rates is None else rates
        eager = min(len(chunk), max(0, WARM - self._updates)) if self._capture else len(chunk)
        self._one_by_one(step, chunk.part(slice(eager)), gather, rates[:eager])
        rest = chunk.part(slice(eager, None))
        pays = self._captured is not None or len(rest) + following >= WORTH
        if len(rest) and pays and self._has_captured(step, rest, gather):
            assert self._captured is not None
            self._captured.replay(rest, rates[eager:])
        else:
            self._one_by_one(step, rest, gather, rates[eager:])
        self._updates += len(chunk)

    def _one_by_one(
        self, step: Step, chunk: Batch, gather: Gather | None, rates: Sequence[float]
    ) -> None:
        if not len(chunk):
            return
        batches = chunk.gathered(gather)
        for number, rate in enumerate(rates):
            self.rate = rate
            if self._rate is not None:
                self._rate.fill_(rate)
            self.update(step, batches.at(number))

    def update(self, step: Step, batch: Batch) -> None:
        """Make one update of every copy, of which nothing is recorded."""
        step(self, batch)

    def _has_captured(self, step: Step, chunk: Batch, gather: Gather | None) -> bool:
        """Record the update unless it is; where that fails, go on without, and say so."""
        if self._captured is not None or self._rate is None:
            return self._captured is not None
        try:
            self._captured = Captured(partial(step, self), chunk, gather, CHUNK, self._rate)
        except RuntimeError as error:  # of CUDA, whatever it does not capture
            self._capture, self._rate = False, None
            warnings.warn(
                f"an update could not be captured as a CUDA graph: {cause_of(error, 400)}; "
                "training goes on without, and takes longer. --no-capture avoids this message.",
                stacklevel=2,
            )
        return self._captured is not None

    def descend(self, loss: Tensor) -> None:
        """Make a step along the gradient of the copies' losses [m]."""
        self.gradient(loss)
        self.apply()

    def gradient(self, loss: Tensor) -> Tensor:
        """Set ``weights.grad`` to the gradient of the copies' losses [m], and return it.

        float32, shaped as the weights. The next call may write to the same place: who needs
        two of them clones the first.
        """
        weights = self.net.weights
        weights.grad = None
        torch.autograd.backward(loss.sum())
        assert weights.grad is not None
        return weights.grad

    def apply(self) -> None:
        """Make the optimiser's step along ``weights.grad``."""
        self._advance(self.net.weights, *self._moments, self._step)

    def tentative(self) -> Tensor:
        """Return the weights that `apply` would leave, and change nothing."""
        weights = self.net.weights.data.clone()
        first, second = self._moments
        self._advance(weights, first.clone(), second.clone(), self._step.clone())
        return weights

    @torch.no_grad()
    def _advance(self, weights: Tensor, first: Tensor, second: Tensor, step: Tensor) -> None:
        gradient = self.net.weights.grad
        assert gradient is not None
        before = None if self._factors is None else weights.detach().clone()
        rate = self.rate if self._rate is None else self._rate
        if self._plain:
            weights.sub_(gradient * rate)
        else:  # the function: the class spends as much time again around it
            adamw([weights], [gradient], [first], [second], [], [step], lr=rate, **self._options)
        if before is not None and self._factors is not None:  # both steps are linear in the rate
            weights.copy_(torch.lerp(before, weights, self._factors))

    def judge(self, due: list[int], judge: Judge, patience: int) -> None:
        """Judge the copies that are due.

        With ``patience`` the best weights of each are noted, and those out of it end with them;
        with a plateau learning rates fall and copies end as it says.
        """
        if not due:
            return
        device = self.net.weights.device
        places = [self.copies.index(copy) for copy in due]
        losses = judge(*(queued(torch.tensor(numbers), device) for numbers in (places, due)))
        ended = []
        for copy, place, value in zip(due, places, losses.tolist(), strict=True):
            ends = self._note_plateau(copy, place, value)
            if patience:
                self._note_best(copy, place, value)
                ends |= self._best[copy].since >= patience
            if ends:
                ended.append(copy)
        for copy in ended:
            self.end(copy)

    def _note_plateau(self, copy: int, place: int, value: float) -> bool:
        """Lower the rate of a copy where its plateau says so; return whether it ends."""
        if self._factors is None:
            return False
        lower, ends = self._records[copy].add(value)
        if lower:
            self._factors[place] *= FACTOR
        return ends

    def _note_best(self, copy: int, place: int, value: float) -> None:
        best = self._best.get(copy)
        if best is None or value < best.value:
            weights, statistics = self.net.weights.data[place], self.net.statistics[place]
            self._best[copy] = _Best(value, 0, weights.clone(), statistics.clone())
        else:
            self._best[copy] = best._replace(since=best.since + 1)

    def end(self, copy: int) -> None:
        """Remove a copy from the stack, as it was when it was best; the last one fills its row."""
        place, last = self.copies.index(copy), len(self.copies) - 1
        weights, statistics = self.net.weights.data, self.net.statistics
        best = self._best.get(copy)
        self._home[0][copy, : weights.shape[1]] = best.weights if best else weights[place]
        self._home[1][copy] = best.statistics if best else statistics[place]
        if self._kept is not None:
            self._kept.first[copy, : weights.shape[1]] = self._moments[0][place]
            self._kept.second[copy, : weights.shape[1]] = self._moments[1][place]
            self._kept.step = self._step
        factors = [] if self._factors is None else [self._factors]
        if place != last:
            for tensor in (weights, statistics, *self._moments, *factors):
                tensor[place] = tensor[last]
        self.copies[place] = self.copies[last]
        self.copies.pop()
        self.net.weights.grad = None
        self.net.weights.data, self.net.statistics = weights[:last], statistics[:last]
        self._moments = self._moments[0][:last], self._moments[1][:last]
        self._factors = None if self._factors is None else self._factors[:last]
        self._captured, self._updates = None, 0


# Makes one update of the stacked copies.
Step = Callable[[StackedCopies, Batch], None]
