"""The device that a command line names."""

from __future__ import annotations

import torch

from autods.errors import UsageError


def device_of(text: str) -> torch.device:
    """Return the device that ``auto``, ``cpu``, ``cuda`` or ``cuda:N`` names.

    Raises
    ------
    UsageError
        When it names none, or one that this machine has not.
    """
    if text == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    expected = f"--device: expected auto, cpu, cuda or cuda:N; got '{text}'."
    try:
        device = torch.device(text)
    except RuntimeError:
        raise UsageError(expected) from None
    if device.type not in ("cpu", "cuda"):
        raise UsageError(expected)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"--device {text}: this machine offers no CUDA device; try --device cpu.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise UsageError(
            f"--device {text}: expected a device of this machine, cuda:0 to cuda:{last}."
        )
    return device
