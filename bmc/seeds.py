"""Independent random streams from one run seed.

Each use of randomness has its own key (a task, a phase), so nothing depends on what
ran before it, and a resumed run draws what an undisturbed one would have drawn.
"""

from __future__ import annotations

import zlib

import numpy as np
import torch


def derive(seed: int, *keys: int | str) -> int:
    """Return a seed for the stream named by ``keys`` under ``seed``."""
    words = [zlib.crc32(key.encode()) if isinstance(key, str) else key for key in keys]
    state = np.random.SeedSequence([seed, *words]).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


def generator(seed: int, *keys: int | str) -> torch.Generator:
    """Return a CPU generator for the stream named by ``keys`` under ``seed``."""
    return torch.Generator().manual_seed(derive(seed, *keys))
