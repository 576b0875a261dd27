"""Stacked copies of the network, trained together by one AdamW."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from bmc.config import Config
from bmc.network.mlp import ResidualMLP

# judge(positions, copies), int64 [n] each: measures, without gradients, the copies that stand at
# these positions of the net; float [n], less is better
Judge = Callable[[Tensor, Tensor], Tensor]

WARM = 3  # updates of an arrangement before it is captured: libraries allocate in the first


@dataclass(frozen=True)
class Batch:
    """One batch of each of the m stacked copies.

    Attributes
    ----------
    data
        What the fetch function returned for these rows: tensors [m, B, ...].
    keep
        bool [m, B + extra rows, dropout_width], the activations that survive dropout.
    """

    data: tuple[Tensor, ...]
    keep: Tensor


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
        The learning rate; changes reach the next step, but not one that is captured.
    copies
        Numbers of the copies in the order in which the net holds them.
    """

    def __init__(
        self, net: ResidualMLP, config: Config, rate: float, classes: int | None, capture: bool
    ) -> None:
        self.net = net
        self.copies = list(range(net.copies))
        self._home = net.weights.data, net.statistics
        self._best: dict[int, _Best] = {}
        size = net.size(net.n_classes if classes is None else classes)
        net.weights.data = self._home[0][:, :size].clone()
        net.statistics = self._home[1].clone()
        self._capture = capture and config.capture and net.weights.device.type == "cuda"
        self._captured: _Captured | None = None
        self.rate = rate
        self._updates = 0  # since the arrangement of the copies changed
        self._moments = torch.zeros_like(net.weights), torch.zeros_like(net.weights)
        self._step = torch.zeros((), device=net.weights.device)
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

    def update(self, step: Step, batch: Batch) -> None:
        """Make one update of every copy."""
        if self._capture and self._updates >= WARM:
            if self._captured is None:
                self._captured = _Captured(self, step, batch)
            self._captured.replay(batch)
        else:
            step(self, batch)
        self._updates += 1

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
        """Make AdamW's step along ``weights.grad``."""
        self._adamw(self.net.weights, *self._moments, self._step)

    def tentative(self) -> Tensor:
        """Return the weights that `apply` would leave, and change nothing."""
        weights = self.net.weights.data.clone()
        first, second = self._moments
        self._adamw(weights, first.clone(), second.clone(), self._step.clone())
        return weights

    def _adamw(self, weights: Tensor, first: Tensor, second: Tensor, step: Tensor) -> None:
        gradient = self.net.weights.grad
        assert gradient is not None
        with torch.no_grad():  # the function: the class spends as much time again around it
            adamw([weights], [gradient], [first], [second], [], [step], lr=self.rate,
                  **self._options)  # fmt: skip

    def judge(self, due: list[int], judge: Judge, patience: int) -> None:
        """Note the best weights of the copies that are due; end those out of patience."""
        if not due:
            return
        device = self.net.weights.device
        places = torch.tensor([self.copies.index(copy) for copy in due], device=device)
        values = judge(places, torch.tensor(due, device=device)).tolist()
        for copy, place, value in zip(due, places.tolist(), values, strict=True):
            best = self._best.get(copy)
            if best is None or value < best.value:
                weights, statistics = self.net.weights.data[place], self.net.statistics[place]
                self._best[copy] = _Best(value, 0, weights.clone(), statistics.clone())
            else:
                self._best[copy] = best._replace(since=best.since + 1)
        for copy in due:
            if self._best[copy].since >= patience:
                self.end(copy)

    def end(self, copy: int) -> None:
        """Remove a copy from the stack, as it was when it was best; the last one fills its row."""
        place, last = self.copies.index(copy), len(self.copies) - 1
        weights, statistics = self.net.weights.data, self.net.statistics
        best = self._best.get(copy)
        self._home[0][copy, : weights.shape[1]] = best.weights if best else weights[place]
        self._home[1][copy] = best.statistics if best else statistics[place]
        if place != last:
            for tensor in (weights, statistics, *self._moments):
                tensor[place] = tensor[last]
        self.copies[place] = self.copies[last]
        self.copies.pop()
        self.net.weights.grad = None
        self.net.weights.data, self.net.statistics = weights[:last], statistics[:last]
        self._moments = self._moments[0][:last], self._moments[1][:last]
        self._captured, self._updates = None, 0


# Makes one update of the stacked copies.
Step = Callable[[StackedCopies, Batch], None]


class _Captured:
    """One update recorded as a CUDA graph: replaying it launches all kernels at once."""

    def __init__(self, stacked: StackedCopies, step: Step, batch: Batch) -> None:
        self.batch = type(batch)(tuple(t.clone() for t in batch.data), batch.keep.clone())
        self.graph = torch.cuda.CUDAGraph()
        device = stacked.net.weights.device
        torch.cuda.synchronize(device)
        with torch.cuda.device(device), torch.cuda.graph(self.graph):  # of the current device
            step(stacked, self.batch)

    def replay(self, batch: Batch) -> None:
        """Make the update with this batch."""
        for own, given in zip(self.batch.data, batch.data, strict=True):
            own.copy_(given)
        self.batch.keep.copy_(batch.keep)
        self.graph.replay()
