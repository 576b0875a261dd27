"""One update of stacked copies recorded as a CUDA graph: one launch instead of all its kernels."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from autods.core.refusals import cause_of
from autods.core.transfer import own_stream, queued
from bmc.train.batch import Batch, Gather

HELD = 2**29  # bytes of the batches that are made ready for a graph at once
_failed: set[torch.device] = set()  # where a capture failed; torch's memory is in disorder since


class Captured:
    """An update that reads its batch from the chunk that lies in memory of its own.

    A counter on the device says which batch is next, so that nothing is copied or launched
    between the updates of a chunk but the graph itself.

    Parameters
    ----------
    step
        What is recorded: one update with a batch.
    chunk
        Batches [n, m, ...] like those to come, of which the memory has room for ``room``, or for
        as many as `HELD` bytes are.
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
        device, of_one = rate.device, [t[0] for t in (*chunk.data, chunk.keep)]
        self._room = room = max(1, min(room, HELD // sum(t.nbytes for t in of_one)))
        self._tables = [t.new_empty(room, *t.shape[1:]) for t in (*chunk.data, chunk.keep)]
        for own, given in zip(self._tables, (*chunk.data, chunk.keep), strict=True):
            own[0].copy_(given[0])  # row numbers must be some while it is recorded
        self._rates = torch.zeros(room, device=device)
        self._next = torch.zeros(1, dtype=torch.int64, device=device)
        self._pick(gather, rate)  # kernels are loaded when they are first launched: not below
        self._next.zero_()
        with _capturing(device) as self._graph:
            step(self._pick(gather, rate))

    def _pick(self, gather: Gather | None, rate: Tensor) -> Batch:
        """Return the next batch, set its learning rate, and count it."""
        *data, keep = (table.index_select(0, self._next) for table in self._tables)
        rate.copy_(self._rates.index_select(0, self._next)[0])
        batch = Batch(tuple(data), keep).gathered(gather).at(0)
        self._next.add_(1)
        return batch

    def replay(self, chunk: Batch, rates: Sequence[float]) -> None:
        """Make an update with each of the n batches of a chunk, at these learning rates."""
        for first in range(0, len(chunk), self._room):
            some = slice(first, first + self._room)
            self._replay(chunk.part(some), rates[some])

    def _replay(self, chunk: Batch, rates: Sequence[float]) -> None:
        n = len(chunk)
        for own, given in zip(self._tables, (*chunk.data, chunk.keep), strict=True):
            own[:n].copy_(given)
        self._rates[:n].copy_(queued(torch.tensor(rates), self._rates.device))
        self._next.zero_()
        for _ in range(n):
            self._graph.replay()


@contextmanager
def _capturing(device: torch.device) -> Iterator[torch.cuda.CUDAGraph]:
    """Give a graph of what the body queues on a device.

    Raises `RuntimeError` with the first cause if that fails: at the end CUDA only says that it has.
    After a failure nothing more is captured, for torch goes on as if the capture were under way.
    """
    if device in _failed:
        raise RuntimeError("an earlier update of this process could not be captured")
    stream = own_stream("capture", device)  # torch's own is one, of the device that was first
    torch.cuda.synchronize(device)
    graph = torch.cuda.CUDAGraph()
    cause: RuntimeError | None = None
    with torch.cuda.device(device):
        current = torch.cuda.current_stream(device)
        try:
            with torch.cuda.graph(graph, stream=stream):
                try:
                    yield graph
                except RuntimeError as error:
                    cause = error
                    raise
        except RuntimeError as error:
            _failed.add(device)
            torch.cuda.set_stream(current)  # torch leaves that of the capture
            raise RuntimeError(_told(cause or error)) from (cause or error)


def _told(error: RuntimeError) -> str:
    """Return the first line of an error, and the innermost place that is not torch's."""
    torch_folder = str(Path(torch.__file__).parent)
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if not frame.filename.startswith(torch_folder)]
    place = f" ({Path(ours[-1].filename).name}:{ours[-1].lineno})" if ours else ""
    return f"{cause_of(error)}{place}"
