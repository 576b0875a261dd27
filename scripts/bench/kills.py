"""Kill commands with SIGKILL, again and again, and compare what comes out to the byte.

An extraction of 20 shards is started, one of its processes is killed at a random moment, and
the same command is run until it completes; with Ray, workers and nodes are lost under way,
and a killed command is continued by Ray or locally. The features must have the bytes of an
undisturbed local run every time, and nothing may lie beside them. Fetch, index, run, sweep and
compare likewise (`kills_commands.py`).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import kills_commands
import kills_run as runs

from autods.core.files import hash_tree
from autods.core.root import DataRoot

NODE = {"num_cpus": 1, "object_store_memory": 80 << 20}
LONGEST = 400.0  # seconds of one run; more is a hang, even on a busy machine
COMMANDS = ("fetch", "index", "run", "sweep", "compare")
STARTS = 0.15  # share of kills that come before the first shard of a run


@dataclass
class Row:
    """What was done to one engine.

    Attributes
    ----------
    kills
        By what was killed.
    extractions
        Completed ones.
    identical
        Those of them that had the bytes of the undisturbed run.
    """

    engine: str
    kills: Counter[str] = field(default_factory=Counter)
    extractions: int = 0
    identical: int = 0
    seconds: float = 0.0

    @property
    def total(self) -> int:
        """Number of kills."""
        return sum(self.kills.values())


class Run:
    """One run of the command, in a process that may be killed."""

    def __init__(self, root: Path, engine: str, address: str = "") -> None:
        self.folder = DataRoot.open(root).features(runs.small("cpu").name, runs.NAME)
        self._begin(root, engine, address)

    def _begin(self, root: Path, engine: str, address: str) -> None:
        if engine in ("decoders", "devices"):  # with a tree of processes of its own
            command = [sys.executable, runs.__file__, str(root), engine]
            self.process: Any = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        else:  # forked off one that has imported everything
            self.process = forked(runs.extract, root, engine, address)

    @property
    def status(self) -> int | None:
        """Exit status; ``None`` while it runs."""
        process = self.process
        return process.poll() if isinstance(process, subprocess.Popen) else process.exitcode

    def shards(self) -> int:
        """Return how many shards stand."""
        return len(list(self.folder.glob("*.h5")))

    def reach(self, chance: random.Random) -> bool:
        """Wait for a random moment of the run; return whether it is to be killed there."""
        if self.shards() == runs.SHARDS and chance.random() < 0.5:
            return False
        if chance.random() >= STARTS:
            wanted = self.shards() + chance.randint(1, 4)
            self.wait(lambda: self.shards() >= min(wanted, runs.SHARDS))
        pause = time.monotonic() + chance.uniform(0, 0.08)
        self.wait(lambda: time.monotonic() > pause)
        return self.status is None

    def wait(self, reached: Any = lambda: False) -> int | None:
        """Wait for the end, or until something is reached; return the status."""
        until = time.monotonic() + LONGEST
        while self.status is None and not reached():
            if time.monotonic() > until:
                raise TimeoutError(f"a run took more than {LONGEST:.0f} s")
            time.sleep(0.002)
        return self.status


class CommandRun(Run):
    """One run of any command."""

    def __init__(self, program: str, *arguments: str) -> None:
        self.process = forked(kills_commands.call, program, arguments)


def forked(target: Any, *arguments: Any) -> Any:
    """Start a process off one that has imported everything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([runs.__name__, kills_commands.__name__])
    process = context.Process(target=target, args=arguments)
    process.start()
    return process


def parents() -> dict[int, tuple[int, str]]:
    """Return the parent and the title of every process."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            title = (folder / "cmdline").read_bytes().decode(errors="replace")
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        found[int(folder.name)] = (parent, title)
    return found


def below(pid: int) -> list[int]:
    """Return the processes that a process started, directly or not."""
    tree = parents()
    found = [pid]
    for one in found:  # grows
        found += [child for child, (parent, _) in tree.items() if parent == one]
    return found[1:]


def kill(pid: int) -> bool:
    """Kill a process; return whether it was there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


class Local:
    """Kills runs of an engine of this machine."""

    def __init__(self, engine: str, chance: random.Random) -> None:
        self.row, self.chance = Row(engine), chance

    def until_done(self, root: Path, most: int) -> None:
        """Run and kill until a run completes; at most so many kills."""
        while True:
            run = Run(root, self.row.engine)
            if self.row.total < most and run.reach(self.chance):
                self.strike(run)
            if run.wait() == 0:
                return

    def strike(self, run: Run) -> None:
        """Kill the command, or a process that it started."""
        children = below(run.process.pid)
        if not children or self.chance.random() < 0.5:
            self.row.kills["the command"] += kill(run.process.pid)
        else:
            self.row.kills["a process it started"] += kill(self.chance.choice(children))


class OnRay:
    """Kills workers, nodes and the command of a cluster of two nodes beside its head."""

    def __init__(self, cluster: Any, chance: random.Random) -> None:
        self.row, self.chance, self.cluster = Row("ray"), chance, cluster

    def until_done(self, root: Path, most: int) -> None:
        """Run and kill until a run completes; at most so many kills."""
        engine = "ray"
        while True:
            run = Run(root, engine, self.cluster.address)
            while engine == "ray" and self.row.total < most and run.reach(self.chance):
                self.strike(run)
            if run.wait() == 0:
                return
            engine = self.chance.choice(["ray", "ray", "one process"])

    def strike(self, run: Run) -> None:
        """Kill a worker, all processes of a node, or the command."""
        victim = self.chance.choice(["worker", "worker", "node", "the command"])
        if victim == "the command":
            self.row.kills[victim] += kill(run.process.pid)
            run.process.join()
        elif victim == "node":
            node = self.chance.choice(sorted(self.cluster.worker_nodes, key=lambda n: n.node_id))
            self.cluster.remove_node(node, allow_graceful=False)
            self.row.kills[victim] += 1
            self.cluster.add_node(**NODE)
        elif workers := self.workers():
            self.row.kills[victim] += kill(self.chance.choice(workers))

    def workers(self) -> list[int]:
        """Return the processes that hold an encoder."""
        nodes = {n.all_processes["raylet"][0].process.pid for n in self.cluster.worker_nodes}
        found = parents().items()
        return [p for p, (parent, title) in found if parent in nodes and "ray::Worker" in title]


@contextmanager
def cluster() -> Iterator[Any]:
    """Give a cluster of two nodes of one core beside its head."""
    from autods.core.ray_cluster import import_ray

    import_ray()
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={**NODE, "num_cpus": 0})
    try:
        for _ in range(2):
            made.add_node(**NODE)
        yield made
    finally:
        made.shutdown()


def punish(killer: Local | OnRay, kills: int, root: Path, expected: str) -> Row:
    """Kill so many times, in as many extractions as that takes."""
    row, began = killer.row, time.monotonic()
    features = DataRoot.open(root).path / "features"
    while row.total < kills:
        shutil.rmtree(features, ignore_errors=True)
        killer.until_done(root, kills)
        row.extractions += 1
        row.identical += folder_hash(root) == expected
        print(f"{row.engine}: {row.total} of {kills} kills, {row.identical} of {row.extractions} "
              "extractions identical", file=sys.stderr)  # fmt: skip
    row.seconds = time.monotonic() - began
    return row


def folder_hash(root: Path) -> str:
    """Return the hash of everything in the folder of features."""
    return hash_tree(DataRoot.open(root).features(runs.small("cpu").name, runs.NAME))


def undisturbed(root: Path) -> str:
    """Return the hash of what one process makes that nobody kills."""
    runs.prepare(DataRoot.open(root))
    run = Run(root, "one process")
    if run.wait() != 0 or run.shards() != runs.SHARDS:
        raise RuntimeError("the undisturbed run failed")
    return folder_hash(root)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plain", type=int, default=130, help="kills of one process")
    parser.add_argument("--decoders", type=int, default=10, help="kills with decoding processes")
    parser.add_argument("--devices", type=int, default=10, help="kills with two devices")
    parser.add_argument("--ray", type=int, default=50, help="kills on a Ray cluster")
    for name in COMMANDS:
        parser.add_argument(f"--{name}", type=int, default=10, help=f"kills of {name}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))  # others import the encoder
    chance = random.Random(asked.seed)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        expected = undisturbed(root) if asked.ray or asked_of(asked) else ""
        made = kills_commands.commands(root / "commands")
        for name in COMMANDS:
            if kills := getattr(asked, name):
                local = Local(name, chance)
                repeated = kills_commands.Repeated(name, made[name], CommandRun, local.row)
                rows.append(repeated.punish(kills, chance, local.strike))
        for engine, kills in asked_of(asked).items():
            rows.append(punish(Local(engine, chance), kills, root, expected))
        if asked.ray:
            with cluster() as made:
                rows.append(punish(OnRay(made, chance), asked.ray, root, expected))
    report(rows, asked.json)
    sys.exit(any(row.identical < row.extractions for row in rows))


def asked_of(asked: argparse.Namespace) -> dict[str, int]:
    """Return how often each engine of this machine is to be killed."""
    kills = {"one process": asked.plain, "decoders": asked.decoders, "devices": asked.devices}
    return {engine: count for engine, count in kills.items() if count}


def report(rows: list[Row], as_json: bool) -> None:
    if as_json:
        print(json.dumps([{**vars(row), "kills": dict(row.kills)} for row in rows]))
        return
    print("| command or engine | killed | kills | completed | identical | seconds |")
    print("|---|---|---:|---:|---:|---:|")
    for row in rows:
        what = ", ".join(f"{name} {count}" for name, count in sorted(row.kills.items()))
        numbers = f"{row.total} | {row.extractions} | {row.identical} | {row.seconds:.0f}"
        print(f"| {row.engine} | {what} | {numbers} |")


if __name__ == "__main__":
    main()
