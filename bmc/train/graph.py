"""One update of stacked copies recorded as a CUDA graph: one launch instead of all its kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from autods.core.transfer import queued
from bmc.train.batch import Batch, Gather


class Captured:
    """An update that reads its batch from the chunk that lies in memory of its own.

    A counter on the device says which batch is next, so that nothing is copied or launched
    between the updates of a chunk but the graph itself.

    Parameters
    ----------
    step
        What is recorded: one update with a batch.
    chunk
        Batches [n, m, ...] like those to come, at most ``room`` at once.
    gather
        Makes of the row numbers of ``chunk`` what the step takes, within the graph.
    rate
        float32 [], the tensor from which the recorded step reads its learning rate.
    """

    def __init__(
        self,
        step: Callable[[Batch], None],
        chunk: Batch,
        gather: Gather | None,
        room: int,
        rate: Tensor,
    ) -> None:
        device = rate.device
        self._tables = [t.new_empty(room, *t.shape[1:]) for t in (*chunk.data, chunk.keep)]
        for own, given in zip(self._tables, (*chunk.data, chunk.keep), strict=True):
            own[: len(given)].copy_(given)  # row numbers must be some while it is recorded
        self._rates = torch.zeros(room, device=device)
        self._next = torch.zeros(1, dtype=torch.int64, device=device)
        self._graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize(device)
        with torch.cuda.device(device), torch.cuda.graph(self._graph):  # of the current device
            *data, keep = (table.index_select(0, self._next) for table in self._tables)
            rate.copy_(self._rates.index_select(0, self._next)[0])
            step(Batch(tuple(data), keep).gathered(gather).at(0))
            self._next.add_(1)

    def replay(self, chunk: Batch, rates: Sequence[float]) -> None:
        """Make an update with each of the n batches of a chunk, at these learning rates."""
        n = len(chunk)
        for own, given in zip(self._tables, (*chunk.data, chunk.keep), strict=True):
            own[:n].copy_(given)
        self._rates[:n].copy_(queued(torch.tensor(rates), self._rates.device))
        self._next.zero_()
        for _ in range(n):
            self._graph.replay()
