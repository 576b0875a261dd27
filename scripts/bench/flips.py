"""Flip single bits in the files of a small root and of runs; count what is refused, same, changed.

A changed number that nobody refuses must not occur: then the script ends with status 1. Files not
hashed yet are those that docs/trust.md names.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np

from autods.core.root import DataRoot
from autods.errors import AutodsError
from autods.features.sets import seal_features
from autods.features.shards import ShardData, ShardInfo, write_shard
from autods.streams.open import open_stream
from autods.streams.stream import Stream
from bmc.config import Config
from bmc.report import load_runs
from bmc.runs.folder import RunFolder
from bmc.runs.run import run

ENCODER = "made.up"
CLASSES = [f"class {number}" for number in range(4)]
METHOD, CONFIG = "er", Config(epochs=1, memory=20)


class Stop(Exception):
    """Ends a run after a checkpoint."""


def make_features(root: DataRoot, name: str, seed: int) -> None:
    """Write a feature set of 16 dimensions."""
    draw = np.random.default_rng(seed)
    for number, (split, n) in enumerate({"train": 80, "test": 40}.items()):
        data = ShardData(
            features=draw.normal(size=(n, 16)).astype(np.float16),
            labels={"class": draw.integers(0, len(CLASSES), n).astype(np.int32)},
            sample=np.arange(100 * number, 100 * number + n),
            content_hash=draw.integers(0, 2**64, n, dtype=np.uint64),
        )
        info = ShardInfo(
            dataset=name,
            split=split,
            default_task="class",
            class_names={"class": CLASSES},
            encoder={"model": "made up"},
            fingerprint="0" * 64,
            samples_sha256="",
            start=0,
            stop=n,
            index=0,
            count=1,
            hashed="features",
        )
        write_shard(root.shard(ENCODER, name, split, 0, 1), data, info)
    seal_features(root, ENCODER, name)


def opened(root: DataRoot) -> Stream:
    """Open the stream of both datasets."""
    return open_stream("one,two", root, ENCODER, scenario="class-il")


def contents(root: DataRoot) -> Any:
    """Return all numbers of the stream."""
    sets = [s for task in opened(root).tasks for s in (task.train, task.dev, task.test)]
    return [(s.features.tobytes(), s.labels.tobytes()) for s in sets]


@contextmanager
def stopping(after: int) -> Iterator[None]:
    """Let runs stop after so many checkpoints."""
    save, count = RunFolder.save, Counter[str]()

    def saved(folder: RunFolder, *state: Any) -> None:
        save(folder, *state)
        count["saved"] += 1
        if count["saved"] == after:
            raise Stop

    with suppress(Stop), patch.object(RunFolder, "save", saved):
        yield


def report(folder: Path) -> Any:
    """Return what a report takes from a finished run."""
    (loaded,) = load_runs([folder])
    return json.dumps(loaded.model_dump(mode="json"), sort_keys=True), str(
        loaded.samples("class-il")
    )


def flip(path: Path, draw: random.Random, read: Callable[[], Any], truth: Any) -> str:
    """Flip a bit, read, put the file back; return what came of it."""
    whole = path.read_bytes()
    changed = bytearray(whole)
    changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    path.write_bytes(changed)
    try:
        return "harmless" if read() == truth else "silently changed"
    except AutodsError:
        return "refused"
    finally:
        path.write_bytes(whole)


def main() -> int:
    """Print a row for each type of file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=125, help="of each type of file")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw, found = random.Random(options.seed), Counter[str]()
    with TemporaryDirectory() as folder:
        root = DataRoot.open(Path(folder) / "root")
        for seed, name in enumerate(("one", "two")):
            make_features(root, name, seed)
        truth, stream = contents(root), opened(root)
        features = root.features(ENCODER, "one")
        done, begun, again = (Path(folder) / name for name in ("done", "begun", "again"))
        run(stream, METHOD, CONFIG, done)
        with stopping(1):
            run(stream, METHOD, CONFIG, begun)
        results = (done / "results.json").read_bytes()

        def resume() -> bytes:
            shutil.rmtree(again, ignore_errors=True)
            shutil.copytree(begun, again)
            run(stream, METHOD, CONFIG, again, resume=True)
            return (again / "results.json").read_bytes()

        def reads() -> Any:
            return contents(root)

        def reports() -> Any:
            return report(done)

        shown = report(done)
        table: list[tuple[Path, Callable[[], Any], Any]] = [
            (features / "train-00000-of-00001.h5", reads, truth),
            (features / "record.json", reads, truth),
            (features.parent / f".{features.name}-unchanged.json", reads, truth),
            (begun / "checkpoint.safetensors", resume, results),
            (begun / "config.json", resume, results),
            (done / "results.json", reports, shown),
            (done / "timing.json", reports, shown),
            (done / "samples.safetensors", reports, shown),
        ]
        print(f"{'file':26} {'flips':>6} {'refused':>8} {'harmless':>9} {'silently changed':>17}")
        for path, read, expected in table:
            row = Counter(flip(path, draw, read, expected) for _ in range(options.flips))
            found += row
            print(
                f"{path.name:26} {options.flips:6} {row['refused']:8} {row['harmless']:9} "
                f"{row['silently changed']:17}",
                flush=True,
            )
    return int(found["silently changed"] > 0)


if __name__ == "__main__":
    sys.exit(main())
