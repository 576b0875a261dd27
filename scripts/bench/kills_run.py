"""One extraction for `kills.py`, to be killed: of drawn images, by an encoder of no weight.

As a program: ``python kills_run.py ROOT ENGINE [ADDRESS]``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from extract_data import Tiny, dataset, drawn

from autods.core.progress import Progress
from autods.core.root import DataRoot
from autods.encode.engines.devices import DeviceEngine
from autods.encode.engines.local import LocalEngine
from autods.encode.extract import extract_dataset
from autods.encode.jobs import Engine
from autods.errors import AutodsError
from autods.manifest.schema import Manifest

NAME, IMAGES = "kills", 191  # one of them for testing, so there are 19 and 1 shards
SHARD, BATCH, SHARDS = 10, 5, 20
PAUSE = 0.01  # seconds that each batch takes, to be killed in


@dataclass(frozen=True, eq=False)
class Small:
    """An encoder: 8 x 8 pixels by a random matrix of small whole numbers.

    All sums are exact, so the bits do not depend on the number of threads, as they otherwise
    would for batches this small.
    """

    name: str = "small.random-0"
    dim: int = 32
    transform: Tiny = field(default_factory=Tiny)

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Say what it is."""
        nothing = {"preprocessing": "8x8", "precision": "fp32", "quick_gelu": False}
        return {"model": "small", "weights_sha256": "random-0", **nothing}

    def encode(self, batch: torch.Tensor) -> npt.NDArray[np.float32]:
        """Return the features [n, d] of images [n, 3, 8, 8], after a while."""
        time.sleep(PAUSE)
        weights = torch.randint(-8, 9, (192, self.dim), generator=torch.Generator().manual_seed(0))
        return np.asarray((batch.flatten(1).float() @ weights.float()).numpy(), np.float32)


def small(device: str, progress: Progress | None = None) -> Small:
    """Build the encoder, as engines ask for it."""
    return Small()


def prepare(root: DataRoot) -> Manifest:
    """Draw the images, or take those that are there."""
    return dataset(root, NAME, drawn(48, 40, 40), IMAGES)


def extract(root: Path, engine: str, address: str = "") -> None:
    """Extract until done; an error ends the process with status 1.

    Parameters
    ----------
    engine
        ``one process``, ``decoders``, ``devices`` or ``ray``.
    """
    data = DataRoot.open(root)
    makers: Engine
    if engine == "one process":
        makers = LocalEngine(small("cpu"), 0)
    elif engine == "decoders":
        makers = LocalEngine(small("cpu"), 2)
    elif engine == "devices":
        makers = DeviceEngine(small, ["cpu", "cpu"], 0)
    else:
        from autods.encode.engines.ray_engine import RayEngine

        makers = RayEngine(small, address)
    options: dict[str, Any] = {"batch_size": BATCH, "shard_size": SHARD, "engine": makers}
    try:
        with closing(makers):
            extract_dataset(prepare(data), data, small("cpu"), **options)
    except AutodsError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    extract(Path(sys.argv[1]), *sys.argv[2:])
