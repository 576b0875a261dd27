"""Copies between the host and a CUDA device that neither of them waits for."""

from __future__ import annotations

import torch
from torch import Tensor

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


class Read:
    """A tensor on its way to the host; on a CUDA device, read while the device computes on."""

    def __init__(self, tensor: Tensor) -> None:
        self._copied: torch.cuda.Event | None = None
        if tensor.device.type != "cuda":
            self._host = tensor.cpu()
            return
        self._host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        self._host.copy_(tensor, non_blocking=True)
        self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]  # of torch
        self._copied.record(torch.cuda.current_stream(tensor.device))

    def result(self) -> Tensor:
        """Return the tensor on the host; wait for what of the copy is left."""
        if self._copied is not None:
            self._copied.synchronize()
        return self._host
