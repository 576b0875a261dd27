"""Copies from the host to a CUDA device that neither of them waits for."""

from __future__ import annotations

from collections import deque

import torch
from torch import Tensor

AHEAD = 2  # chunks of updates that the host may be ahead of the device: bounds what is queued

_streams: dict[torch.device, torch.cuda.Stream] = {}  # on which tables are streamed, by device


def queued(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device; from the host through pinned memory, so that no one waits."""
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def streamed(pinned: Tensor, device: torch.device) -> Tensor:
    """Return what pinned memory holds on a device, copied while the device computes.

    The copy has a stream of its own: what is queued before goes on meanwhile, what follows
    waits for it.
    """
    if device.type != "cuda":
        return pinned.to(device)
    if device not in _streams:
        _streams[device] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # of torch
    current = torch.cuda.current_stream(device)
    with torch.cuda.stream(_streams[device]):
        there = pinned.to(device, non_blocking=True)
    current.wait_stream(_streams[device])
    there.record_stream(current)  # its memory belongs to the other stream
    return there


class Lead:
    """Keeps the host from running further ahead of a CUDA device than `AHEAD` chunks."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._ends: deque[torch.cuda.Event] = deque()

    def next(self) -> None:
        """Note the end of a chunk; wait for the one that ended `AHEAD` chunks before."""
        if self._device.type != "cuda":
            return
        self._ends.append(torch.cuda.Event())  # type: ignore[no-untyped-call]  # of torch
        self._ends[-1].record(torch.cuda.current_stream(self._device))
        if len(self._ends) > AHEAD:
            self._ends.popleft().synchronize()
