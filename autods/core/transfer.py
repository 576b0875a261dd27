"""Copies between the host and a CUDA device that neither of them waits for."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# streams beside the one that computes, by purpose and device
_streams: dict[tuple[str, torch.device], torch.cuda.Stream] = {}


def queued(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device; from the host through pinned memory, so that no one waits."""
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def streamed(pinned: Tensor, device: torch.device) -> Tensor:
    """Return what pinned memory holds on a device, copied while the device computes.

    The copy has a stream of its own, as in `made_aside`.
    """
    if device.type != "cuda":
        return pinned.to(device)
    return _beside(lambda: pinned.to(device, non_blocking=True), own_stream("copy", device))


def made_aside(make: Callable[[], Tensor], device: torch.device) -> Tensor:
    """Return a tensor that is made on a stream of its own: what is queued before goes on meanwhile.

    What follows waits for it. ``make`` may wait for its stream without waiting for the rest.
    """
    return make() if device.type != "cuda" else _beside(make, own_stream("make", device))


def own_stream(purpose: str, device: torch.device) -> torch.cuda.Stream:
    """Return the stream of a device that serves one purpose: the same one in every call."""
    key = purpose, device
    if key not in _streams:
        _streams[key] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # of torch
    return _streams[key]


def _beside(make: Callable[[], Tensor], stream: torch.cuda.Stream) -> Tensor:
    """Make a tensor on a stream; what the current stream does from now on waits for it."""
    current = torch.cuda.current_stream(stream.device)
    with torch.cuda.stream(stream):
        made = make()
    current.wait_stream(stream)
    made.record_stream(current)  # its memory belongs to the other stream
    return made


class Read:
    """A tensor on its way to the host; on a CUDA device, read while the device computes on."""

    def __init__(self, tensor: Tensor) -> None:
        self._copied: torch.cuda.Event | None = None
        if tensor.device.type != "cuda":
            self._host = tensor.cpu()
            return
        self._host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        self._host.copy_(tensor, non_blocking=True)
        # Whoever waits leaves its core to processes that decode instead of asking again and again.
        event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]  # of torch
        event.record(torch.cuda.current_stream(tensor.device))
        self._copied = event

    def result(self) -> Tensor:
        """Return the tensor on the host; wait for what of the copy is left."""
        if self._copied is not None:
            self._copied.synchronize()
        return self._host
