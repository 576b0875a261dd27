"""What a run cost: bytes communicated and remembered, peak memory. Time is in `phases`."""

from __future__ import annotations

import math
import sys

import torch

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]  # where it is absent

MEGABYTE = 1_000_000


def peak_host_bytes() -> int | None:
    """Return the largest resident size of this process so far, in bytes; ``None`` if unknown."""
    if resource is None:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def reset_peak(device: torch.device) -> None:
    """Start a new measurement of `peak_device_bytes`. That of the host cannot be reset."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_device_bytes(device: torch.device) -> int:
    """Return the largest memory allocated on a CUDA device since `reset_peak`; 0 on the CPU."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0


def samples_bytes(rows: int, dim: int) -> int:
    """Return the bytes of so many samples: features in float16, labels in int32."""
    return rows * (2 * dim + 4)


def cost_accuracy(final_mean: float, total_bytes: int) -> float | None:
    """Return final mean accuracy in per cent per megabyte (10^6 bytes) of total cost.

    That is all that is kept, sent and broadcast.

    The paper divides accuracy by total cost without naming the unit; ours is stated.
    ``None`` for a total of 0, and for an accuracy that is unknown (NaN).
    """
    if not total_bytes or math.isnan(final_mean):
        return None
    return 100.0 * final_mean / (total_bytes / MEGABYTE)
