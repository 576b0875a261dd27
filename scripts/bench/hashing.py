"""Measure which share of opening, running and extracting is spent in hashing.

Every call of sha256, md5 and CRC-32 is timed within the run that it is part of, so that other
programs on the machine slow down both alike. The hash of each image, by which duplicates are
found, is counted too. The first opening, which hashes in threads, is compared with one that does
not hash, by turns.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

from extract_data import NoOp, dataset, pictures
from open_clip.transform import PreprocessCfg, image_transform_v2

from autods.core.root import DataRoot
from autods.encode.encoders.interface import Encoder
from autods.encode.encoders.open_clip import load_encoder
from autods.encode.extract import extract_dataset
from autods.features.sets import list_features, read_all_shards, seal_features
from autods.features.shards import write_shard
from autods.streams.open import open_stream
from bmc.config import Config
from bmc.runs.run import run

TIMER = time.perf_counter
SHA256, MD5, NEW, CRC32 = hashlib.sha256, hashlib.md5, hashlib.new, zlib.crc32
ROUNDS = 12  # openings of each kind


class Spent:
    """Seconds in hashing since it was made or cleared."""

    seconds = 0.0

    def timed(self, call: Callable[..., Any], *given: Any, **options: Any) -> Any:
        """Call, and add the time that it takes."""
        began = TIMER()
        try:
            return call(*given, **options)
        finally:
            self.seconds += TIMER() - began


SPENT = Spent()


class Digest:
    """A hash object whose calls are timed."""

    def __init__(self, make: Callable[..., Any], *given: Any, **options: Any) -> None:
        self._digest = SPENT.timed(make, *given, **options)

    def update(self, data: Any) -> None:
        """Hash further bytes."""
        SPENT.timed(self._digest.update, data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._digest, name)


def time_hashes() -> None:
    """Put timed functions in place of those of the standard library."""
    made: Any = hashlib
    made.sha256 = lambda *given, **options: Digest(SHA256, *given, **options)
    made.md5 = lambda *given, **options: Digest(MD5, *given, **options)
    made.new = lambda *given, **options: Digest(NEW, *given, **options)
    checks: Any = zlib
    checks.crc32 = lambda *given: SPENT.timed(CRC32, *given)


def share(task: Callable[[], Any]) -> dict[str, float]:
    """Return the seconds of a task and of hashing within it."""
    SPENT.seconds = 0.0
    began = TIMER()
    task()
    whole = TIMER() - began
    return {
        "seconds": round(whole, 3),
        "hashing": round(SPENT.seconds, 4),
        "percent": round(100 * SPENT.seconds / whole, 2),
    }


def sealed_copy(source: DataRoot, folder: Path, encoder: str) -> DataRoot:
    """Write the features of a root again, with hashes."""
    root = DataRoot.open(folder)
    for name in list_features(source, encoder):
        for shard in read_all_shards(source, encoder, name).shards:
            write_shard(root.features(encoder, name) / shard.path.name, shard, shard.info)
        seal_features(root, encoder, name)
    return root


def first_openings(root: DataRoot, opened: Callable[[], Any]) -> dict[str, float]:
    """Return the median seconds of first openings, of those without hashing, and their ratio."""

    def seconds() -> float:
        for note in root.path.glob("features/*/.*-unchanged.json"):
            note.unlink()
        began = TIMER()
        opened()
        return TIMER() - began

    def unhashed() -> float:
        with mock.patch("autods.features.content.is_whole", return_value=True):
            return seconds()

    opened()  # with everything imported
    pairs = [(seconds(), unhashed()) for _ in range(ROUNDS)]
    return {
        "seconds": round(median(hashed for hashed, _ in pairs), 3),
        "without": round(median(without for _, without in pairs), 3),
        "ratio": round(median(hashed / without for hashed, without in pairs), 3),
    }


def of_features(source: Path, encoder: str, folder: Path, scratch: Path) -> dict[str, Any]:
    """Measure opening a stream of real features for the first time and again, and runs on it."""
    root = sealed_copy(DataRoot.open(source), folder, encoder)
    names = ",".join(list_features(root, encoder))

    def opened() -> Any:
        return open_stream(names, root, encoder, scenario="class-il", classes_per_task=12)

    found = {"open, first": first_openings(root, opened), "open": share(opened)}
    stream = opened()
    for method, config in {
        "er": Config(epochs=2, memory=1000),
        "ncm": Config(),
        "slda": Config(),
    }.items():
        task = scratch / f"run-{method}"
        found[f"run {method}"] = share(lambda m=method, c=config, t=task: run(stream, m, c, t))
    return found


def of_images(source: Path, count: int, model: str, folder: Path) -> dict[str, Any]:
    """Measure extraction with an encoder that does nothing, and with a model.

    Its weights are random: they take as long as trained ones.
    """
    root, images = DataRoot.open(folder), pictures(source)[:count]
    manifest = dataset(root, "measured", images, count)
    transform = image_transform_v2(PreprocessCfg(size=224), is_train=False)
    real = load_encoder(model, random_weights=0)
    encoders: dict[str, Encoder] = {"extract, no-op": NoOp(transform), f"extract, {model}": real}
    found = {}
    for name, encoder in encoders.items():
        shutil.rmtree(folder / "cache", ignore_errors=True)  # archives are hashed, too
        found[name] = share(lambda e=encoder: extract_dataset(manifest, root, e, shard_size=512))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--features", type=Path, help="A data root with real features.")
    parser.add_argument("--encoder", help="Their encoder.")
    parser.add_argument("--images", type=Path, help="A folder of images.")
    parser.add_argument("--model", default="timm:mobilenetv2_100", help="The model that encodes.")
    parser.add_argument("--count", type=int, default=2000, help="Images to extract.")
    options = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["AUTODS_CACHE"] = str(folder / "images" / "cache")
        time_hashes()
        if options.features:
            copy = folder / "features"
            found |= of_features(options.features, options.encoder, copy, folder)
        if options.images:
            found |= of_images(options.images, options.count, options.model, folder / "images")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
