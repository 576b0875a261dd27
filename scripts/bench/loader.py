"""Measure shuffled batches from shards against a DataLoader over an LMDB of pickled arrays.

Both deliver float32 [64, 768] tensors and int64 labels of the same samples. The LMDB is what
the original implementation reads: one pickled float32 array per path, one transaction per
read. Its workers are started beforehand, both readers run over warm files, take turns, and
the fastest round of each counts.
"""

from __future__ import annotations

import argparse
import json
import pickle
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from autods.core.root import DataRoot
from autods.features.sets import seal_features
from autods.features.shards import ShardData, ShardInfo, write_shard
from autods.manifest.schema import StreamItem, StreamSpec
from autods.streams.feature_set import FeatureSet
from autods.streams.open import open_stream

ENCODER, NAME, CLASSES = "bench.random", "bench", 100
SHARD_ROWS = 16_384

Batches = Iterable[tuple[torch.Tensor, torch.Tensor]]


class PickledLmdb(Dataset[tuple[np.ndarray, int]]):
    """Features in an LMDB, one pickled array per path; opened once in every worker."""

    def __init__(self, folder: Path, paths: list[str], labels: list[int]) -> None:
        self.folder, self.paths, self.labels = folder, paths, labels
        self.environment: Any = None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> tuple[np.ndarray, int]:
        if self.environment is None:
            self.environment = lmdb.open(str(self.folder), readonly=True, lock=False)
        with self.environment.begin() as transaction:
            return pickle.loads(transaction.get(self.paths[i].encode())), self.labels[i]


def write_lmdb(folder: Path, features: np.ndarray, labels: np.ndarray) -> PickledLmdb:
    paths = [f"bench/class{y:03d}/image{i:07d}.jpg" for i, y in enumerate(labels)]
    size = 4 * features.nbytes + (64 << 20)
    with lmdb.open(str(folder), map_size=size) as env, env.begin(write=True) as transaction:
        for path, row in zip(paths, features, strict=True):
            transaction.put(path.encode(), pickle.dumps(row.astype(np.float32)))
    return PickledLmdb(folder, paths, labels.tolist())


def write_shards(root: DataRoot, features: np.ndarray, labels: np.ndarray) -> FeatureSet:
    hashes = np.random.default_rng(1).permutation(len(labels)).astype(np.uint64)
    count = -(-len(labels) // SHARD_ROWS)
    for index in range(count):
        rows = slice(index * SHARD_ROWS, min((index + 1) * SHARD_ROWS, len(labels)))
        data = ShardData(
            features[rows],
            {"class": labels[rows]},
            np.arange(rows.start, rows.stop, dtype=np.int64),
            hashes[rows],
        )
        info = shard_info("train", rows.start, rows.stop, index, count)
        write_shard(root.shard(ENCODER, NAME, "train", index, count), data, info)
    # a stream wants something to test on; it is not read here
    n = len(labels)
    one = ShardData(
        features[:1], {"class": labels[:1]}, np.array([n]), np.array([n], dtype=np.uint64)
    )
    write_shard(root.shard(ENCODER, NAME, "test", 0, 1), one, shard_info("test", 0, 1, 0, 1))
    seal_features(root, ENCODER, NAME)
    spec = StreamSpec(name=NAME, title=NAME, datasets=[StreamItem(dataset=NAME)])
    return open_stream(spec, root, ENCODER).tasks[0].train


def shard_info(split: str, start: int, stop: int, index: int, count: int) -> ShardInfo:
    return ShardInfo(
        dataset=NAME,
        split=split,
        default_task="class",
        class_names={"class": [f"class{i}" for i in range(CLASSES)]},
        encoder={"model": ENCODER},
        fingerprint="0" * 64,
        samples_sha256="",
        start=start,
        stop=stop,
        index=index,
        count=count,
    )


def rate(epoch: Callable[[int], Batches], dim: int, seconds: float) -> float:
    """Return the samples per second of whole epochs that take ``seconds`` or longer."""
    began, seen, number = time.perf_counter(), 0, 0
    while time.perf_counter() - began < seconds:
        for x, y in epoch(number):  # noqa: B007  # what they are is checked below
            seen += len(y)
        number += 1
    if x.dtype != torch.float32 or y.dtype != torch.int64 or x.shape[1] != dim:
        raise SystemExit(f"expected float32 [b, {dim}] and int64, got {x.dtype}, {y.dtype}")
    return seen / (time.perf_counter() - began)


def on_disk(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def measure(options: argparse.Namespace, folder: Path) -> dict[str, dict[str, float]]:
    n, d, b = options.samples, options.dim, options.batch
    generator = np.random.default_rng(0)
    features = generator.normal(size=(n, d)).astype(np.float32).astype(np.float16)
    labels = generator.integers(0, CLASSES, n).astype(np.int32)
    root = DataRoot.open(folder / "root")
    shards = write_shards(root, features, labels)
    began = time.perf_counter()
    shards.features  # noqa: B018  # read and normalise: what a training run does once
    opened = time.perf_counter() - began
    pickled = write_lmdb(folder / "lmdb", features, labels)
    readers: dict[str, Callable[[int], Batches]] = {
        "shards": lambda epoch: shards.batches(b, (0, epoch))
    }
    for workers in options.workers:
        loader = DataLoader(
            pickled, b, shuffle=True, num_workers=workers, persistent_workers=workers > 0
        )
        readers[f"lmdb, {workers} workers"] = lambda _, loader=loader: loader
    # The first round warms up. Readers take turns, so that all meet the same machine.
    rounds = [
        {name: rate(epoch, d, options.seconds) for name, epoch in readers.items()}
        for _ in range(options.rounds + 1)
    ][1:]
    rates = {name: max(one[name] for one in rounds) for name in readers}
    sizes = {"shards": on_disk(root.features(ENCODER, NAME)), "lmdb": on_disk(folder / "lmdb")}
    return {
        name: {"samples_per_s": rate, "bytes_per_sample": sizes[name.split(",")[0]] / n}
        for name, rate in rates.items()
    } | {"once": {"load_and_normalise_s": opened}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=60_000)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--rounds", type=int, default=5, help="the fastest of them counts")
    parser.add_argument("--seconds", type=float, default=1.0, help="per reader and round")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = measure(options, Path(folder))
    once = results.pop("once")
    slow = max(r["samples_per_s"] for name, r in results.items() if name != "shards")
    ratio = results["shards"]["samples_per_s"] / slow
    if options.json:
        print(json.dumps({"readers": results, "ratio": ratio, **once}, indent=2))
        return
    print(f"{'reader':<16}{'samples/s':>14}{'bytes/sample':>14}")
    for name, row in results.items():
        print(f"{name:<16}{row['samples_per_s']:>14,.0f}{row['bytes_per_sample']:>14,.0f}")
    print(f"shards against the best LMDB reader: {ratio:.1f} times")
    print(f"once, to load and normalise all shards: {once['load_and_normalise_s']:.2f} s")


if __name__ == "__main__":
    main()
