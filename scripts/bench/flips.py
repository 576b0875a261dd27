"""Flip single bits in every type of file of small roots and of runs; count what comes of it.

After a flip the file is read as a user does (a stream is opened, images are extracted, a run is
resumed or reported), the numbers are compared, and the bit is put back. Every second flip keeps
the file's time of change, as bits do that flip on a disk: opening may miss those in large files,
and then `verify` must find them. Numbers that change and nobody tells are silently changed; if
there are any, the script ends with status 1. Exceptions that are not ours count as crashes, and
fail too.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import flips_root
import numpy as np

from autods.checks.features import verify_features
from autods.core.root import DataRoot
from autods.core.seals import with_comment
from autods.errors import AutodsError
from autods.features.sets import seal_features
from autods.features.shards import ShardData, ShardInfo, write_shard
from autods.streams.open import open_stream
from autods.streams.stream import Stream
from bmc.cli.command import read_config
from bmc.config import Config
from bmc.report import load_runs
from bmc.runs.folder import RunFolder
from bmc.runs.run import run

ENCODER = "made.up"
CLASSES = [f"class {number}" for number in range(4)]
OUTCOMES = ("refused", "harmless", "found by verify", "silently changed", "crashed")
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


@dataclass(frozen=True)
class Trial:
    """A type of file: which file to flip a bit in, who reads it, and what is then right.

    ``is_sound`` is what `verify` says; ``None``: no command verifies such files.
    """

    name: str
    path: Callable[[], Path]
    read: Callable[[], Any]
    truth: Any
    is_sound: Callable[[], bool] | None = None


def flip(trial: Trial, draw: random.Random, keep_time: bool) -> str:
    """Flip a bit, read, put the file back; return what came of it."""
    path = trial.path()
    whole, status = path.read_bytes(), path.stat()
    changed = bytearray(whole)
    changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    path.write_bytes(changed)
    times = status.st_atime_ns, status.st_mtime_ns
    os.utime(path, ns=times if keep_time else (times[0], times[1] + 1_000_000))
    try:
        if trial.read() == trial.truth:
            return "harmless"
        sound = trial.is_sound is None or trial.is_sound()
        return "silently changed" if sound else "found by verify"
    except AutodsError:
        return "refused"
    except Exception as error:  # any that is not ours is what is looked for
        print(f"{trial.name}: {type(error).__name__}: {error}", file=sys.stderr)
        return "crashed"
    finally:
        path.write_bytes(whole)
        os.utime(path, ns=times)


def verified(root: DataRoot) -> Callable[[], bool]:
    """Return what tells whether `verify` finds the features of a root sound."""
    return lambda: not verify_features(root)


def of_features(folder: Path) -> list[Trial]:
    """Make two feature sets and class names, and return the trials of their files."""
    root = DataRoot.open(folder / "root")
    for seed, name in enumerate(("one", "two")):
        make_features(root, name, seed)
    truth, features, sound = contents(root), root.features(ENCODER, "one"), verified(root)
    texts = flips_root.add_texts(root, ENCODER, "one", CLASSES)
    numbers = partial(contents, root)
    note = features.parent / f".{features.name}-unchanged.json"
    return [
        Trial("shard", lambda: features / "train-00000-of-00001.h5", numbers, truth, sound),
        Trial("record of features", lambda: features / "record.json", numbers, truth, sound),
        Trial("what is unchanged", lambda: note, numbers, truth, sound),
        Trial("class names", lambda: root.text(ENCODER, "one", "plain"), texts, texts(), sound),
    ]


def of_datasets(folder: Path, draw: random.Random) -> list[Trial]:
    """Make a dataset of each kind of archive, and return the trials of its files."""
    root, trials = DataRoot.open(folder / "datasets"), []
    for kind in flips_root.FILES:
        made = flips_root.make(kind, folder / "published", root)
        truth = made.extracted()
        trials.append(Trial(kind, partial(made.file, draw), made.extracted, truth, made.is_sound))
        if kind == "compressed tar":
            copy = root.converted(made.manifest.name, "packed.tgz.tar")
            stamp = copy.with_name(f"{copy.name}.source")
            for name, path in (
                ("converted copy", copy),
                ("stamp of the copy", stamp),
                ("sample index", root.samples(made.manifest.name)),
                ("record of a dataset", root.record(made.manifest.name)),
            ):
                find = partial(Path, path)
                trials.append(Trial(name, find, made.extracted, truth, made.is_sound))
    return trials


def of_runs(folder: Path) -> list[Trial]:
    """Make a finished and a begun run, and return the trials of their files."""
    stream = opened(DataRoot.open(folder / "root"))
    done, begun, again = (folder / name for name in ("done", "begun", "again"))
    run(stream, METHOD, CONFIG, done)
    with stopping(1):
        run(stream, METHOD, CONFIG, begun)
    results = (done / "results.json").read_bytes()
    repeats = done / "run.yaml"
    repeats.write_text("# repeat\n" + with_comment("method: er\nepochs: 3\nlearning_rate: 0.001\n"))

    def resume() -> bytes:
        shutil.rmtree(again, ignore_errors=True)
        shutil.copytree(begun, again)
        run(stream, METHOD, CONFIG, again, resume=True)
        return (again / "results.json").read_bytes()

    def repeat() -> Any:
        known = {name: Named(name) for name in ("method", "epochs", "learning_rate")}
        with redirect_stderr(io.StringIO()) as told:
            found = read_config(repeats, known)
        if told.getvalue():
            raise flips_root.Unread(told.getvalue())
        return found

    finished = ["results.json", "timing.json", "samples.safetensors"]
    finished += sorted(path.name for path in done.glob("R_*.csv"))
    shown = report(done)
    return [
        *(
            Trial(f"{name} of a begun run", partial(Path, begun / name), resume, results)
            for name in ("checkpoint.safetensors", "config.json")
        ),
        *(
            Trial(name, partial(Path, done / name), partial(report, done), shown)
            for name in finished
        ),
        Trial("run.yaml", lambda: repeats, repeat, repeat()),
    ]


@dataclass(frozen=True)
class Named:
    """A parameter of a command, as `read_config` asks for it."""

    name: str


def main() -> int:
    """Print a row for each type of file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=50, help="of each type of file")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw, found = random.Random(options.seed), Counter[str]()
    print(f"| file | flips | {' | '.join(OUTCOMES)} |")
    print(f"|---|---:|{'---:|' * len(OUTCOMES)}")
    with TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["AUTODS_CACHE"] = str(folder / "cache")
        for trial in (*of_features(folder), *of_runs(folder), *of_datasets(folder, draw)):
            row = Counter(flip(trial, draw, bool(k % 2)) for k in range(options.flips))
            found += row
            show(trial.name, row)
    show("all", found)
    return int(found["silently changed"] + found["crashed"] > 0)


def show(name: str, row: Counter[str]) -> None:
    """Print one row."""
    numbers = " | ".join(str(row[outcome]) for outcome in OUTCOMES)
    print(f"| {name} | {row.total()} | {numbers} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
