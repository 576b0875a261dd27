"""Measure ``autods extract``: against its encoder alone, against its decoders alone, in memory.

``speed``: images/s of a bare loop that only encodes ready batches, of the decoding processes
alone, of the whole extraction, and of the whole with an encoder that does nothing. What is
compared takes turns, and medians of the rounds are reported. ``memory``: peak memory of datasets of
growing size, each in a process of its own. ``decoding``: how far features of the faster ways of
decoding are from the reference.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from extract_data import Lite0, NoOp, dataset, drawn, pictures
from extract_memory import figure, peak_of

from autods.containers import MemberReader
from autods.core.cores import usable_cores
from autods.core.root import DataRoot
from autods.encode.encoders.computing import exactly
from autods.encode.encoders.open_clip import OpenClipEncoder, load_encoder
from autods.encode.extract import ExtractOutcome, extract_dataset
from autods.encode.loader import Decoder, decoded_batches
from autods.encode.preprocessing import Preprocessing, cut
from autods.encode.timings import WAITING
from autods.errors import EncoderError
from autods.features.sets import open_features
from autods.index.samples import load_samples
from autods.manifest.schema import Manifest

BATCH = 64
MORE = 8  # times as many images where nothing is encoded, for a run of seconds
GPU = "extract, GPU decoding"
ENCODED = ("encode alone", "extract", GPU)
STREAM = 7_500_000  # images of the benchmark
DRAWN = {"large": (1600, 1200), "medium": (500, 375), "small": (64, 64)}  # without --images
SIZES = (1_000, 3_000, 10_000, 30_000, 100_000)


def main() -> None:
    options = arguments()
    part: Callable[[argparse.Namespace, Path], Any] = {
        "speed": speed,
        "memory": memory,
        "decoding": decoding,
    }[options.part]
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        found = part(options, Path(folder))
    print(json.dumps(found, indent=2))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["speed", "memory", "decoding"])
    parser.add_argument("--images", type=Path, action="append", help="folder of real images")
    parser.add_argument(
        "--drawn", nargs="+", choices=DRAWN, default=list(DRAWN), help="without --images"
    )
    parser.add_argument("--count", type=int, default=1024, help="images of each kind")
    parser.add_argument("--more", type=int, default=MORE, help="times as many, if not encoded")
    parser.add_argument("--batch-size", type=int, default=BATCH, help="images at once, of speed")
    parser.add_argument("--rounds", type=int, default=3, help="0: the one for warmth counts")
    parser.add_argument("--model", default="ViT-B-32", help="for decoding also: lite0")
    parser.add_argument("--pretrained", help="tag or file; default: random weights")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=usable_cores())
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="of memory")
    parser.add_argument("--figure", type=Path, help="where to draw the memory")
    parser.add_argument("--scratch", type=Path, help="folder for temporary data")
    return parser.parse_args()


def kinds(options: argparse.Namespace) -> dict[str, list[bytes]]:
    """Return the images of each kind by its name."""
    if options.images:
        return {folder.name: pictures(folder) for folder in options.images}
    return {name: drawn(*DRAWN[name], count=64) for name in options.drawn}


def speed(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    encoder = loaded(options)
    rows = []
    for name, images in kinds(options).items():
        root = DataRoot.open(folder / name)
        rows.append({"images": name, **compare(root, encoder, images, options)})
        shutil.rmtree(root.path)
    return rows


def loaded(options: argparse.Namespace) -> OpenClipEncoder:
    encoder = load_encoder(
        options.model,
        options.pretrained,
        None if options.pretrained else 0,
        options.precision,
        options.device,
    )
    assert isinstance(encoder, OpenClipEncoder)
    return encoder


def compare(
    root: DataRoot, encoder: OpenClipEncoder, images: list[bytes], options: argparse.Namespace
) -> dict[str, Any]:
    """Measure everything for one kind of images, in turns."""
    manifest = dataset(root, "bench", images, options.count)
    many = dataset(root, "many", images, options.count * options.more)
    half = cut(encoder.transform)
    whole = Preprocessing(encoder.transform, None, half.size)
    idle = NoOp(encoder.transform)
    ready = torch.rand((options.batch_size, 3, *half.size), device=encoder.device)
    workers, size = options.workers, options.batch_size
    takers: dict[str, Callable[[], Any]] = {
        "encode alone": lambda: bare(encoder, ready, options.count),
        "extract": lambda: extract(root, manifest, encoder, workers, size=size),
        GPU: lambda: extract(root, manifest, encoder, workers, "gpu", size),
        "decode alone": lambda: decode(root, many, half, workers, size),
        "extract, no-op encoder": lambda: extract(root, many, idle, workers, size=size),
        "decode alone, whole transform": lambda: decode(root, many, whole, workers, size),
    }
    if encoder.device.type != "cuda":
        del takers[GPU]
    else:  # the last is of interest on a CPU only
        del takers["decode alone, whole transform"]
        bare(encoder, ready, size)
    counts = {name: options.count * (1 if name in ENCODED else options.more) for name in takers}
    by, told = in_turn(takers, counts, options.rounds)
    started = {
        f"{name}, once started": once_started(told[name], workers * size)
        for name in ("extract", GPU)
        if name in by and options.count > 2 * workers * size
    }
    idles = {
        f"no-op / {name}": round(by["extract, no-op encoder"] / by[name], 3)
        for name in ("decode alone", "decode alone, whole transform")
        if name in by
    }
    return {
        "bytes": round(statistics.mean(map(len, images))),
        "images_per_second": {name: round(rate, 1) for name, rate in (by | started).items()},
        "extract / encode alone": round(by["extract"] / by["encode alone"], 3),
        **idles,
        "hours for 7.5 million": round(STREAM / by["extract"] / 3600, 1),
        "bottleneck": told["extract"].bottleneck,
        "start": round(told["extract"].timings.start, 2),
        "workers": workers,
        "threads": torch.get_num_threads(),
    }


def in_turn(
    takers: dict[str, Callable[[], Any]], counts: dict[str, int], rounds: int
) -> tuple[dict[str, float], dict[str, Any]]:
    """Return the median images/s of each, and what each gave last; a first round is for warmth."""
    seconds: dict[str, list[float]] = {name: [] for name in takers}
    told = {}
    for number in range(rounds + 1):
        for name, take in takers.items():
            began = time.perf_counter()
            try:
                told[name] = take()
            except EncoderError as error:
                if name != GPU:
                    raise
                print(f"{name}: {error}", file=sys.stderr, flush=True)
                continue
            taken = time.perf_counter() - began
            print(f"{name}: {counts[name] / taken:,.1f}/s", file=sys.stderr, flush=True)
            if number or not rounds:
                seconds[name].append(taken)
    return {name: counts[name] / statistics.median(s) for name, s in seconds.items() if s}, told


def once_started(outcome: ExtractOutcome, begun: int) -> float:
    """Return images/s without the start, in which each process decodes its first batch.

    Where the encoder waits for decoders, those ``begun`` images are not counted either.
    """
    timings = outcome.timings
    left = timings.images - (begun if timings.waited > WAITING else 0)
    return left / (outcome.seconds - timings.start)


def bare(encoder: OpenClipEncoder, ready: torch.Tensor, count: int) -> None:
    """Only encode batches that are there already."""
    images = ready.to(encoder.dtype)
    with exactly():
        for _ in range(-(-count // len(ready))):
            # open_clip models have no common typed base with encode_image
            encoder.model.encode_image(images).float().cpu().numpy()  # type: ignore[operator]


def decode(
    root: DataRoot, manifest: Manifest, first: Preprocessing, workers: int, size: int
) -> None:
    """Only read and decode, with the priority that decoders have; the pixels are dropped."""
    samples = load_samples(root, manifest.name)
    places = [samples.locate(i) for i in range(len(samples))]
    batches = [places[i : i + size] for i in range(0, len(places), size)]
    decoder = Decoder(MemberReader(root, manifest.name), first)
    for _ in decoded_batches(decoder, batches, size, workers, yielding=True):
        pass


def extract(
    root: DataRoot,
    manifest: Manifest,
    encoder: Any,
    workers: int,
    how: str = "reference",
    size: int = BATCH,
) -> ExtractOutcome:
    """Extract everything anew."""
    shutil.rmtree(root.features(encoder.name, manifest.name), ignore_errors=True)
    return extract_dataset(manifest, root, encoder, batch_size=size, workers=workers, decoding=how)


def decoding(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Compare the features of other ways of decoding with those of the reference."""
    encoder = Lite0() if options.model == "lite0" else loaded(options)
    ways = ["reference", "draft"] + (["gpu"] if options.device.startswith("cuda") else [])
    rows = []
    for name, images in kinds(options).items():
        root = DataRoot.open(folder / name)
        manifest = dataset(root, "bench", images, options.count)
        features, rates = {}, {}
        for how in ways:
            outcome = extract(root, manifest, encoder, options.workers, how)
            shards = open_features(root, encoder.name, manifest.name).shards
            features[how] = np.concatenate([s.features for s in shards]).astype(np.float64)
            rates[how] = outcome.timings.rates(outcome.processes)["decode"]
        for how in ways[1:]:
            found = cosines(features["reference"], features[how])
            rows.append({"images": name, "decoding": how, **spread(found), "decode/s": {
                way: round(rates[way], 1) for way in ("reference", how)
            }})  # fmt: skip
        shutil.rmtree(root.path)
    return rows


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the cosine of each pair of rows."""
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return (one * other).sum(axis=1) / lengths


def spread(cosine: np.ndarray) -> dict[str, float]:
    return {
        "mean cosine": round(float(cosine.mean()), 6),
        "lowest cosine": round(float(cosine.min()), 6),
        "equal": round(float((cosine > 1 - 1e-12).mean()), 3),
    }


def memory(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Measure the peak memory of growing datasets of tiny images, with and without workers."""
    images = drawn(16, 16, 100, "PNG")
    rows = []
    for size in options.sizes:
        root = DataRoot.open(folder / str(size))
        dataset(root, "bench", images, size)
        for workers in (0, options.workers):
            rows.append({"images": size, "workers": workers, **peak_of(root, workers)})
            print(rows[-1], file=sys.stderr, flush=True)
        shutil.rmtree(root.path)
    if options.figure:
        figure(rows, options.figure)
    return rows


if __name__ == "__main__":
    main()
