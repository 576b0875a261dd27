"""How encoders compute: precisions, devices, and the switches that keep features exact."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from autods.errors import EncoderError

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def choose_device(name: str) -> torch.device:
    """Return a device that can be used; ``auto`` stands for a GPU if there is one.

    Raises
    ------
    EncoderError
        When this machine or its torch has no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise EncoderError(
            f"device '{name}' cannot be used: {f'{error}'.splitlines()[0][:160]}; nothing was "
            "done. Use --device cpu, or a device that this machine and its torch have."
        ) from None
    return device


@contextmanager
def exactly() -> Iterator[None]:
    """Compute without gradients, without TF32 and with the same algorithms every time."""
    exact = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
    with torch.inference_mode(), exact:
        yield
