"""Runs and groups of experts beside busy programs: threads against processes, wall and CPU time.

``runs`` times whole commands with one thread and with as many as there are cores; ``experts``
times one group, trained by one process, by its threads, and by worker processes; ``command`` times
any command of ``autods``, as it is and with as many threads of numpy's libraries as cores. Each is
measured alone and beside programs that each keep a core busy, in turns within a round. Printed is
a Markdown table of the median over rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from autods.core.cores import intra_op_threads, usable_cores

MAIN = "from bmc.cli.app import main; main()"
AUTODS = "from autods.cli.app import main; main()"
LOOP = "while True: pass"


@dataclass(frozen=True)
class Measured:
    """Seconds of one execution."""

    wall: float
    cpu: float  # user and system, of all processes


@contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """Keep so many cores busy."""
    loops = [subprocess.Popen([sys.executable, "-c", LOOP]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def run_of(threads: int, options: argparse.Namespace) -> Measured:
    """Execute the command with so many threads."""
    stream = ["--stream", "synthetic", "--max-tasks", str(options.tasks)]
    kind = ["--scenario", "class-il", "--method", options.method, "--epochs", str(options.epochs)]
    # numpy's pool as the command sets it with one thread, as numpy does with more
    pools = {"OPENBLAS_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    with tempfile.TemporaryDirectory() as folder:
        out = ["--threads", str(threads), "--out", folder]
        return executed([sys.executable, "-c", MAIN, "run", *kind, *stream, *out], pools)


def executed(command: Sequence[str], pools: dict[str, str]) -> Measured:
    """Execute a command whose libraries have pools of so many threads, or their defaults."""
    kept = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    began = time.perf_counter()
    child = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**kept, **pools}
    )
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"the command ended with exit code {child.returncode}")
    return Measured(time.perf_counter() - began, usage.ru_utime + usage.ru_stime)


def sides_of(command: Sequence[str]) -> dict[str, Callable[[], Measured]]:
    """Return what executes a command of ``autods`` as it is, and with a thread for each core."""
    whole, cores = [sys.executable, "-c", AUTODS, *command], str(usable_cores())
    pools = {"OPENBLAS_NUM_THREADS": cores}
    return {
        "as it is": lambda: executed(whole, {}),
        f"{cores} threads": lambda: executed(whole, pools),
    }


def cpu_of_tree(process: int) -> float:
    """Return the CPU seconds so far of a process and of those below it that are alive."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        tasks = list(Path(f"/proc/{process}/task").iterdir())
        below = [p for task in tasks for p in (task / "children").read_text().split()]
    except OSError:
        return 0.0  # it has ended
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return own + sum(cpu_of_tree(int(child)) for child in below)


@contextmanager
def group_of(options: argparse.Namespace) -> Iterator[dict[str, Callable[[], Measured]]]:
    """Give what trains one group: in one process, with threads, in workers that are started."""
    import torch

    from autods.streams.synthetic import synthetic_stream
    from bmc.config import Config
    from bmc.engines import LocalEngine
    from bmc.methods import METHODS, config_for
    from bmc.train.data import to_tensors

    cpu, cores = torch.device("cpu"), usable_cores()
    stream = synthetic_stream(tasks=options.tasks)
    config = config_for("bmc", Config(epochs=options.epochs), {})
    net = METHODS.get("bmc")(stream.dim, stream.n_classes, config, cpu).net
    tasks, here = to_tensors(stream, cpu), LocalEngine()
    apart = LocalEngine(["cpu"] * cores, start=0)
    expected = here.train(net, tasks, config)

    def timed(engine: LocalEngine, threads: int) -> Measured:
        with intra_op_threads(threads):
            cpu_before, began = cpu_of_tree(os.getpid()), time.perf_counter()
            trained = engine.train(net, tasks, config)
            wall = time.perf_counter() - began
        if [b.to_bytes() for b in trained.buffers] != [b.to_bytes() for b in expected.buffers]:
            raise SystemExit("the experts differ")
        return Measured(wall, cpu_of_tree(os.getpid()) - cpu_before)

    timed(apart, 1)  # starts the workers
    try:
        yield {
            "one process, 1 thread": lambda: timed(here, 1),
            f"one process, {cores} threads": lambda: timed(here, cores),
            f"{cores} workers of 1 thread": lambda: timed(apart, 1),
        }
    finally:
        apart.close()


def measured(
    sides: dict[str, Callable[[], Measured]], busy: Sequence[int], rounds: int
) -> dict[str, dict[int, Measured]]:
    """Return the median of each side beside each number of loops."""
    found: dict[tuple[str, int], list[Measured]] = defaultdict(list)
    for number in range(rounds):
        for count in busy:
            for name, measure in sides.items():
                with busy_loops(count):
                    found[name, count].append(measure())
                print(f"round {number + 1}, {count} loops, {name}: {found[name, count][-1]}",
                      file=sys.stderr)  # fmt: skip

    def median(values: list[Measured]) -> Measured:
        walls, cpus = ([getattr(v, kind) for v in values] for kind in ("wall", "cpu"))
        return Measured(statistics.median(walls), statistics.median(cpus))

    return {name: {count: median(found[name, count]) for count in busy} for name in sides}


def table(rows: dict[str, dict[int, Measured]], busy: Sequence[int]) -> str:
    """Return wall and CPU seconds, each with its ratio to the first number of loops."""
    lines = ["| | busy loops | wall s | | CPU s | |", "|---|---:|---:|---:|---:|---:|"]
    for name, row in rows.items():
        first = row[busy[0]]
        for count in busy:
            wall, cpu = row[count].wall, row[count].cpu
            lines.append(f"| {name} | {count} | {wall:.1f} | {wall / first.wall:.2f} | {cpu:.1f} | "
                         f"{cpu / first.cpu:.2f} |")  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("runs", "experts", "command"))
    parser.add_argument("--line", default="list", help="of command: what follows `autods`")
    parser.add_argument("--tasks", type=int, help="default: 12 for runs, 8 experts")
    parser.add_argument("--epochs", type=int, help="default: 2 for runs, 10 for experts")
    parser.add_argument("--method", default="er,bmc", help="of runs")
    parser.add_argument("--threads", type=int, nargs="+", help="of runs; default: 1 and all cores")
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 4], help="numbers of loops")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    runs = options.what == "runs"
    options.tasks = options.tasks or (12 if runs else 8)
    options.epochs = options.epochs or (2 if runs else 10)
    if runs:
        threads = options.threads or sorted({1, usable_cores()})
        sides: dict[str, Callable[[], Measured]] = {
            f"{count} thread(s)": (lambda count=count: run_of(count, options)) for count in threads
        }
        rows = measured(sides, options.busy, options.rounds)
    elif options.what == "command":
        sides = sides_of(shlex.split(options.line))
        rows = measured(sides, options.busy, options.rounds)
    else:
        with group_of(options) as sides:
            rows = measured(sides, options.busy, options.rounds)
    if options.json:
        print(
            json.dumps({name: {n: vars(m) for n, m in row.items()} for name, row in rows.items()})
        )
    else:
        print(table(rows, options.busy))


if __name__ == "__main__":
    main()
