"""Make features of the shape of the published experiments, few rows of each dataset.

They are Gaussian around a mean for each class, so they show that `bmc-stream reproduce` runs,
how long it takes and what it prints, and nothing about a method's accuracy on real features.

    python scripts/bench/reproduce_features.py ROOT
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from autods.core.root import DataRoot
from autods.features.sets import seal_features
from autods.features.shards import CODES, ShardData, ShardInfo, write_shard
from autods.manifest.catalogue import Catalogue
from bmc.studies.published import EXPERIMENTS

DIM = 768
NOISE = 1.0  # standard deviation around a class mean; that of the means is 1
LENGTH = 10.0  # about that of a feature
# classes of a dataset; rows of each class in train, dev and test
STREAM = (4, (3, 1, 2))
SPLITS = {"cifar100": (100, (5, 1, 2)), "tinyimagenet": (200, (5, 1, 2))}


def write(root: DataRoot, encoder: str, name: str, classes: int, rows: tuple[int, ...]) -> None:
    """Write one dataset as extraction does; protocol ``paper`` has the same splits."""
    fingerprint = Catalogue().dataset(name).fingerprint()  # as if extracted by this manifest
    rng = np.random.default_rng(list(name.encode()))
    means = rng.standard_normal((classes, DIM))
    first = 0
    for (split, code), n in zip(CODES.items(), rows, strict=True):
        labels = np.arange(classes, dtype=np.int32).repeat(n)
        count = len(labels)
        features = means[labels] + NOISE * rng.standard_normal((count, DIM))
        features *= LENGTH / (DIM * (1 + NOISE**2)) ** 0.5
        data = ShardData(
            features.astype(np.float16),
            {"class": labels},
            np.arange(first, first + count),
            rng.integers(0, 1 << 60, count, dtype=np.uint64),
            {"paper": np.full(count, code, np.uint8)},
        )
        info = ShardInfo(
            dataset=name, split=split, default_task="class",
            class_names={"class": [f"class {c:03d}" for c in range(classes)]},
            encoder={"model": encoder}, fingerprint=fingerprint, samples_sha256="",
            start=0, stop=count, index=0, count=1,
        )  # fmt: skip
        write_shard(root.shard(encoder, name, split, 0, 1), data, info)
        first += count
    seal_features(root, encoder, name)


def main() -> None:
    """Make the features of all three experiments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    root = DataRoot.open(parser.parse_args().root)
    datasets = [item.dataset for item in Catalogue().stream("stream71").datasets]
    for name in datasets:
        write(root, EXPERIMENTS["stream-clip"].encoder, name, *STREAM)
    for name, shape in SPLITS.items():
        write(root, EXPERIMENTS["split-cifar100"].encoder, name, *shape)


if __name__ == "__main__":
    main()
