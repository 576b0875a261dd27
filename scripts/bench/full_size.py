"""Open a set of Stream's size and train some groups of it: memory, and time to the first update.

Random features in Stream's real proportions: 71 datasets, 2,866 classes, 6.77 million training rows
of 768 float16 numbers, 10.4 GB, and 0.74 million test rows, 1.1 GB. What is learned means nothing;
what it takes does. Each method runs in a process of its own, its files evicted from the page cache
before. Experts train in that process, every training ends after ``--updates`` updates, and the
largest tasks come first. Peak memory is what belongs to the process (anonymous and shared memory);
mapped pages of the files, which the system takes back when it needs them, are shown apart.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from autods.core.root import DataRoot
from autods.features.sets import list_features, seal_features
from autods.features.shards import ShardData, ShardInfo, write_shard
from autods.manifest.schema import StreamItem, StreamSpec
from autods.streams.open import open_stream
from autods.streams.synthetic_features import DatasetShape, published_shape

ENCODER, ROWS = "bench.random", 131_072
STATUS = Path("/proc/self/status")
METHODS = ("bmc", "bmc uncut", "finetune", "joint")


def shapes(scale: float) -> list[DatasetShape]:
    """Return the published datasets, the largest first, with their rows times ``scale``."""
    known = sorted(published_shape().datasets, key=lambda shape: -shape.train)
    return [
        shape.model_copy(
            update={
                "name": f"full-{shape.name}",
                "train": max(round(scale * shape.train), 2 * shape.classes),
                "test": max(round(scale * shape.test), shape.classes),
            }
        )
        for shape in known
    ]


def make(root: DataRoot, made: list[DatasetShape], dim: int) -> None:
    """Write the datasets that are not there yet: one block of normal rows, shifted."""
    block = np.random.default_rng(0).standard_normal((ROWS, dim), np.float32).astype(np.float16)
    here, first = set(list_features(root, ENCODER)), 0
    for shape in made:
        start = 0
        for split, rows in (("train", shape.train), ("test", shape.test)):
            count = -(-rows // ROWS)
            for index in range(0 if shape.name in here else count):
                begin, end = index * ROWS, min((index + 1) * ROWS, rows)
                x = np.roll(block[: end - begin], first + begin, axis=1)
                y = (np.arange(begin, end) % shape.classes).astype(np.int32)
                sample = np.arange(start + begin, start + end)
                data = ShardData(x, {"class": y}, sample, (first + sample).astype(np.uint64))
                names = {"class": [f"c{c}" for c in range(shape.classes)]}
                info = ShardInfo(
                    shape.name, split, "class", names, {"model": ENCODER}, "0" * 64, "",
                    begin, end, index, count,
                )  # fmt: skip
                write_shard(root.shard(ENCODER, shape.name, split, index, count), data, info)
            start += rows
        first += start
        if shape.name not in here:
            seal_features(root, ENCODER, shape.name)


def evict(root: DataRoot) -> None:
    """Take the files out of the page cache."""
    for path in root.path.rglob("*.h5"):
        with path.open("rb") as file:
            os.fsync(file)
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def memory() -> tuple[int, int]:
    """Return the bytes of this process's own memory now, and of mapped pages of files."""
    kinds = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    own, shared, mapped = (
        1024 * int(kinds[kind].split()[0]) for kind in ("RssAnon", "RssShmem", "RssFile")
    )
    return own + shared, mapped


@contextmanager
def watched(peaks: list[int]) -> Iterator[None]:
    """Note the peaks of `memory`, looking 20 times a second."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            peaks[:] = map(max, zip(peaks, memory(), strict=True))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    yield
    done.set()
    thread.join()


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Open the stream and train its first groups with one method, in this process."""
    began, peaks = time.perf_counter(), [0, 0]
    laps: dict[str, float] = {}

    def lap(what: str) -> None:
        laps.setdefault(what, round(time.perf_counter() - began, 2))

    with watched(peaks):
        import torch

        from bmc.config import Config
        from bmc.engines import local
        from bmc.methods import METHODS as KNOWN
        from bmc.methods import net_method
        from bmc.methods.overrides import config_for
        from bmc.runs.evaluate import evaluate
        from bmc.train.copies import StackedCopies
        from bmc.train.data import to_tensors

        torch.set_num_threads(1)
        train, update, spent = local.train_stacked, StackedCopies.update, [0, 0.0]

        def short(net: Any, courses: Any, *rest: Any, **more: Any) -> Any:
            most = options.updates
            few = [replace(c, steps=min(c.steps, most)) for c in courses]
            start = time.perf_counter()
            made = train(net, few, *rest, **more)
            spent[0] += sum(made)
            spent[1] += time.perf_counter() - start
            return made

        def noted(self: Any, *given: Any) -> None:
            update(self, *given)
            lap("first update")

        local.train_stacked = net_method.train_stacked = short
        StackedCopies.update = noted  # type: ignore[method-assign]  # where the clock is read
        lap("imports")
        items = [StreamItem(dataset=shape.name) for shape in shapes(options.scale)]
        spec = StreamSpec(name="full", title="full", datasets=items)
        stream = open_stream(spec, options.folder, ENCODER)
        lap("stream opened")
        kind = name.split(maxsplit=1)[0]
        own = {"experts": options.experts} | ({"expert_rows": 0} if "uncut" in name else {})
        config = config_for(kind, Config(), {"bmc": own} if kind == "bmc" else {})
        tasks = to_tensors(stream, torch.device("cpu"))
        lap("rows at hand")
        method = KNOWN.get(kind)(stream.dim, stream.n_classes, config, torch.device("cpu"))
        first = 0
        for stop in method.group_ends(len(tasks))[: options.groups]:
            method.learn(tasks[first:stop])
            first = stop
        lap("groups learned")
        evaluate(method, tasks[:first])
        lap("evaluated")
    return {
        "method": name,
        "tasks": first,
        "rows": sum(len(task.train) for task in tasks[:first]),
        "seconds": laps,
        "updates": spent[0],
        "updates_per_s": round(spent[0] / spent[1], 1),
        "peak_own_bytes": peaks[0],
        "peak_mapped_bytes": peaks[1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="data root of the set, made unless it is there")
    parser.add_argument("--scale", type=float, default=1.0, help="of the published numbers of rows")
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS[:3])
    parser.add_argument("--experts", type=int, default=2, help="tasks of a group of BMC")
    parser.add_argument("--groups", type=int, default=2, help="groups that each method learns")
    parser.add_argument("--updates", type=int, default=50, help="of each training, at most")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--one", choices=METHODS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options)))
        return
    root = DataRoot.open(options.folder)
    make(root, shapes(options.scale), options.dim)
    size = sum(path.stat().st_size for path in root.path.rglob("*.h5"))
    if not options.json:
        print(f"{size / 1e9:.1f} GB on disk; seconds from the start of the process")
        heads = ["imports", "opened", "first update", "updates", "per s", "own GB", "mapped GB"]
        print(f"{'method':<11}{'tasks':>6}{'rows':>11}" + "".join(f"{h:>13}" for h in heads))
    results = []
    for name in options.methods:
        evict(root)
        command = [sys.executable, *sys.argv, "--one", name]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        results.append(json.loads(done.stdout))
        if not options.json:
            print(_line(results[-1]), flush=True)
    if options.json:
        print(json.dumps({"bytes_on_disk": size, "methods": results}, indent=2))


def _line(row: dict[str, Any]) -> str:
    at = [row["seconds"][name] for name in ("imports", "stream opened", "first update")]
    peaks = [f"{row[f'peak_{kind}_bytes'] / 1e9:.2f}" for kind in ("own", "mapped")]
    cells = [*at, row["updates"], row["updates_per_s"], *peaks]
    named = f"{row['method']:<11}{row['tasks']:>6}{row['rows']:>11,}"
    return named + "".join(f"{cell:>13}" for cell in cells)


if __name__ == "__main__":
    main()
