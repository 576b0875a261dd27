"""The device that a command line names."""

from __future__ import annotations

from collections.abc import Collection

import torch

from autods.core.refusals import cause_of
from autods.errors import UsageError


def choose_device(name: str, kinds: Collection[str] = ()) -> torch.device:
    """Return a device of this machine; ``auto`` is a GPU if there is one.

    ``kinds`` are the types that can be used; empty: whatever torch has. `UsageError` if this
    machine or its torch has no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or (kinds and device.type not in kinds):
        raise UsageError(
            f"--device: expected auto, {', '.join(kinds or ('cpu', 'cuda'))} or cuda:N; "
            f"got '{name}'; nothing was done."
        )
    try:
        count = torch.cuda.device_count()
        if device.type == "cuda" and count and (device.index or 0) >= count:
            raise RuntimeError(f"expected a device of this machine, cuda:0 to cuda:{count - 1}")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(
            f"device '{name}' cannot be used: {cause_of(error)}; nothing was "
            "done. Use --device cpu, or a device that this machine and its torch have."
        ) from None
    return device
