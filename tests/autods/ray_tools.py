"""A Ray cluster of several nodes on this machine, and an encoder that takes its time.

Run as a program it is the driver of an extraction, so that tests can kill it.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from encode_tools import drawn_manifest, tiny_on
from warm import starter

from autods.core.progress import Silent
from autods.core.ray_cluster import import_ray
from autods.core.root import DataRoot
from autods.encode.encoders.interface import Encoder, Transform
from autods.encode.engines.ray_engine import RayEngine
from autods.encode.extract import extract_dataset

SIZES = {"batch_size": 4, "shard_size": 10}  # 200 images make 21 shards
NODE = {"num_cpus": 1, "object_store_memory": 80 << 20}


@dataclass(frozen=True)
class Slow:
    """An encoder that leaves time to be killed in: 0.02 s for each batch."""

    encoder: Encoder
    name: str
    dim: int
    transform: Transform
    provenance: Mapping[str, Any]

    def encode(self, batch: torch.Tensor) -> npt.NDArray[np.float32]:
        time.sleep(0.02)
        return self.encoder.encode(batch)


def slow(config: Path, device: str) -> Slow:
    encoder = tiny_on(config, device)
    return Slow(encoder, encoder.name, encoder.dim, encoder.transform, encoder.provenance)


def as_if_on_gpu(config: Path, device: str) -> Slow:
    assert device == "cuda"
    return slow(config, "cpu")


class Watch(Silent):
    """Keeps the notes, and does things once so many images are done."""

    def __init__(self, actions: Mapping[int, Callable[[], object]] | None = None) -> None:
        self.notes: list[str] = []
        self.actions = sorted((actions or {}).items())
        self.done = 0

    def note(self, text: str) -> None:
        self.notes.append(text)

    def advance(self, amount: int) -> None:
        self.done += amount
        while self.actions and self.done >= self.actions[0][0]:
            self.actions.pop(0)[1]()


@contextmanager
def cluster_of(nodes: int) -> Iterator[Any]:
    """Give a Ray cluster of so many nodes of one core each, the head's included."""
    ray = import_ray()
    from ray.cluster_utils import Cluster

    path = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)  # for workers to find this file
    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    try:
        for _ in range(nodes - 1):
            cluster.add_node(**NODE)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()
        del os.environ["PYTHONPATH"]
        if path is not None:
            os.environ["PYTHONPATH"] = path


def workers_of(*nodes: Any, work: str = "Worker") -> list[int]:
    """Return the process ids of the workers of these nodes that do (or are) this."""
    raylets = {node.all_processes["raylet"][0].process.pid for node in nodes}
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            title = (folder / "cmdline").read_bytes()
            if title.startswith(f"ray::{work}".encode()) and starter(int(folder.name)) in raylets:
                found.append(int(folder.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def kill_worker(node: Any) -> None:
    os.kill(workers_of(node)[0], signal.SIGKILL)


def main(root: str, config: str, address: str) -> None:
    """Extract ``drawn`` by a worker of a cluster."""
    factory = partial(slow, Path(config))
    engine = RayEngine(factory, address, workers=1)
    encoder = factory("cpu")
    extract_dataset(drawn_manifest(), DataRoot.open(root), encoder, engine=engine, **SIZES)


if __name__ == "__main__":
    main(*sys.argv[1:])
