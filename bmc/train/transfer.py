"""How far the host may run ahead of a CUDA device."""

from __future__ import annotations

from collections import deque

import torch

AHEAD = 2  # chunks of updates that the host may be ahead of the device: bounds what is queued


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
