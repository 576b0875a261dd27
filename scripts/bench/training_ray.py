"""Compare runs of BMC on a Ray cluster with local runs: the same bytes, and how many are sent.

A generated stream is learned by one process, by two worker processes, one of which is killed in
the middle of a group the second time, by two and by four workers of a cluster of two nodes on
this machine, and by all workers while a third node is killed in the middle of a group. Printed
is a Markdown table. The buffers' bytes are computed from their shapes, not taken from the run.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import torch
from safetensors.torch import load_file

from autods.core.progress import Silent
from autods.core.ray_cluster import import_ray
from autods.streams.stream import Stream
from autods.streams.synthetic import synthetic_stream
from bmc.config import Config
from bmc.engines import Engine, LocalEngine, open_engine
from bmc.methods import METHODS
from bmc.runs.run import run

NODE = {"num_cpus": 2, "object_store_memory": 200 << 20}
COLUMNS = (
    "engine", "identical", "seconds", "updates", "buffers' bytes", "bytes sent", "excess",
    "base model, bytes", "data placed, bytes",
)  # fmt: skip


class AfterFirstGroup(Silent):
    """Starts something once the first group is learned."""

    def __init__(self, action: Thread) -> None:
        self.action = action

    def advance(self, amount: int) -> None:
        """Start it, the first time that there are tasks done."""
        if amount and not self.action.ident:
            self.action.start()


@contextmanager
def cluster_of_two() -> Iterator[Any]:
    """Give a Ray cluster of two nodes."""
    ray = import_ray()
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    try:
        cluster.add_node(**NODE)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


def training_on(node: Any) -> list[int]:
    """Return the process ids of the workers of a node that train an expert."""
    raylet = node.all_processes["raylet"][0].process.pid
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            title = (folder / "cmdline").read_bytes()
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        if title.startswith(b"ray::train_part") and parent == raylet:
            found.append(int(folder.name))
    return found


def kill_when_busy(cluster: Any, node: Any, killed: list[int]) -> None:
    """Kill a node and its workers with SIGKILL while they train."""
    until = time.monotonic() + 60
    while not (workers := training_on(node)) and time.monotonic() < until:
        time.sleep(0.005)
    for process in workers:
        os.kill(process, signal.SIGKILL)
    cluster.remove_node(node, allow_graceful=False)
    killed += workers


def kill_a_worker() -> None:
    """Kill one of the worker processes of this one with SIGKILL, a moment after the group began."""
    time.sleep(0.3)
    os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)


def is_same(folder: Path, other: Path) -> bool:
    """Tell whether results have the same bytes and checkpoints the same tensors."""
    if (folder / "results.json").read_bytes() != (other / "results.json").read_bytes():
        return False
    ours, theirs = (load_file(part / "checkpoint.safetensors") for part in (folder, other))
    return ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)


def buffer_bytes(stream: Stream, config: Config) -> int:
    """Return the bytes of all buffers: float16 features and phi, two int32 numbers a sample."""
    sample = 2 * (stream.dim + config.hidden + 2 * config.width) + 8
    return sum(min(config.options.buffer, len(task.train)) for task in stream.tasks) * sample


def row(name: str, stream: Stream, config: Config, folder: Path, engine: Engine) -> dict[str, Any]:
    """Say what a finished run sent."""
    results = json.loads((folder / "results.json").read_text())
    timing = json.loads((folder / "timing.json").read_text())
    buffers, sent = buffer_bytes(stream, config), results["costs"]["communication_bytes"]
    values = (
        name,
        "yes" if is_same(folder, folder.parent / "local") else "NO",
        f"{timing['seconds']['total']:.1f}",
        f"{results['costs']['steps']:,}",
        f"{buffers:,}",
        f"{sent:,}",
        f"{100 * (sent / buffers - 1):.3f} %",
        f"{results['costs']['broadcast_bytes'] // len(stream.tasks):,}",
        f"{getattr(engine, 'placed_bytes', 0):,}",
    )
    return dict(zip(COLUMNS, values, strict=True))


def measure(stream: Stream, config: Config, folder: Path) -> Iterator[dict[str, Any]]:
    """Run every way; yield a row each."""

    def one(name: str, place: str, engine: Engine, report: Silent | None = None) -> dict[str, Any]:
        run(stream, "bmc", config, folder / place, engine=engine, report=report)
        return row(name, stream, config, folder / place, engine)

    yield one("local", "local", LocalEngine())
    lost: list[str] = []
    with closing(LocalEngine(["cpu"] * 2, lost.append, start=0)) as engine:
        yield one("local, 2 workers", "workers", engine)
        thread = Thread(target=kill_a_worker)
        made = one("local, a worker killed", "worker-killed", engine, AfterFirstGroup(thread))
        if not lost:
            raise SystemExit("the worker that was killed had no work; run it again")
        yield made
    with cluster_of_two() as cluster, open_engine("ray", cluster.address):
        for workers in (2, 4):
            with open_engine("ray", cluster.address, workers) as engine:
                yield one(f"Ray, {workers} workers", f"ray-{workers}", engine)
        victim, killed = cluster.add_node(**NODE), []
        cluster.wait_for_nodes()
        thread = Thread(target=kill_when_busy, args=(cluster, victim, killed))
        with open_engine("ray", cluster.address) as engine:
            made = one("Ray, a node killed", "killed", engine, AfterFirstGroup(thread))
        thread.join()
        if not killed:
            raise SystemExit("no worker trained on the node that was to be killed; run it again")
        yield made


def print_row(cells: Iterable[str]) -> None:
    print("|", " | ".join(cells), "|", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=24)
    parser.add_argument("--classes", type=int, default=704, help="of all 71 tasks")
    parser.add_argument("--per-class", type=int, default=40, help="training samples of a class")
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--experts", type=int, default=8, help="tasks per group")
    parser.add_argument("--buffer", type=int, default=250)
    options = parser.parse_args()
    stream = synthetic_stream(
        classes=options.classes, per_class=options.per_class, tasks=options.tasks, dim=options.dim
    )
    config = Config(
        epochs=options.epochs,
        options=METHODS.get("bmc").Options(experts=options.experts, buffer=options.buffer),
    )
    print_row(COLUMNS)
    print("|---|---|" + "---:|" * (len(COLUMNS) - 2), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for made in measure(stream, config, Path(folder)):
            print_row(made.values())


if __name__ == "__main__":
    main()
