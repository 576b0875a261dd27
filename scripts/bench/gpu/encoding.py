"""Extraction: the encoder alone, from pixels to features, and from image files to shards."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu.findings import Findings, synchronise

MODEL = "ViT-B-32"
SMALL = "ViT-S-32-alt"  # of a dry run: a fourth of the products
PRECISIONS = ("bf16", "fp32", "fp16")
SPARE = 2.0  # seconds of a part that remain when its program is stopped
APART = {"fp32": 0.001, "fp16": 0.01, "bf16": 0.05}  # shares of the largest feature, at most
EXTRACT = Path(__file__).parent.parent / "extract.py"


def encode(findings: Findings, device: torch.device, tiny: bool) -> None:
    """Compare features with those of the CPU; then measure images/s, at three precisions."""
    for precision, most in APART.items():
        name = f"{precision}, features beside float32 on the CPU"
        findings.measure(name, partial(apart, precision, device), most=most, needs=5)
    name = "JPEGs decoded there: features beside the reference"
    findings.measure(name, partial(decoded_apart, device), most=0.05, needs=5)
    name = "JPEGs decoded there: features that change from one time to the next"
    findings.measure(name, partial(changing, device, 16 if tiny else 160), most=0, needs=5)
    for batch in (8,) if tiny else (256, 64, 1024):
        for precision in PRECISIONS[1:2] if tiny else PRECISIONS:
            name = f"{precision}, batches of {batch}: images/s"
            body = partial(rates, precision, batch, device, 0.2 if tiny else 1.0)
            findings.measure(name, body, needs=8)


@cache
def built(precision: str, device: torch.device) -> Any:
    """Return the encoder, which is built once for all sizes of batches."""
    from autods.encode.encoders.open_clip import load_encoder

    return load_encoder(MODEL, None, 0, precision, str(device))


def rates(precision: str, batch: int, device: torch.device, seconds: float) -> dict[str, float]:
    """Return images/s of batches on the device, and of pixels on the host."""
    from autods.encode.inputs import Inputs
    from autods.encode.preprocessing import cut

    encoder = built(precision, device)
    halves = cut(encoder.transform)
    ready = torch.rand(batch, 3, *halves.size, device=device)
    draws = np.random.default_rng(0)
    pixels = draws.integers(0, 255, (batch, *halves.shape)).astype(np.uint8)
    decoded = pixels_of(pixels)
    inputs = Inputs(encoder, halves, batch)
    alone = rate(lambda: encoder.encode(ready), batch, device, seconds)
    late: list[Any] = []

    def one_late() -> None:
        """Read the features of a batch when the next one is under way, as extraction does."""
        late.append(inputs.features(decoded)[0])
        if len(late) > inputs.late:
            late.pop(0).result()

    whole = rate(one_late, batch, device, seconds)
    return {"encoder alone": alone, "from pixels": whole, "share": round(whole / alone, 3)}


def apart(precision: str, device: torch.device) -> float:
    """Return the largest difference between features here and on the CPU, as a share."""
    draws = np.random.default_rng(0)
    batches = [pixels_of(draws.integers(0, 256, (8, 3, 224, 224), np.uint8)) for _ in range(5)]
    return largest(
        features_of(small("fp32", torch.device("cpu")), batches),
        features_of(small(precision, device), batches),
    )


def decoded_apart(device: torch.device) -> float:
    """Return how far features are from those of images that Pillow decoded and resized."""
    from extract_data import drawn

    from autods.encode.decode import load_image
    from autods.encode.preprocessing import cut

    encoder, files = small("fp32", device), drawn(500, 375, 40)
    halves = cut(encoder.transform)
    pixels = np.stack([halves.pixels(load_image(file)[0]) for file in files])
    whole = [pixels_of(pixels[i : i + 8]) for i in range(0, 40, 8)]
    return largest(features_of(encoder, whole), features_of(encoder, jpegs_of(files)))


def changing(device: torch.device, count: int) -> float:
    """Return the share of features that are not the same bits when all is done again."""
    from extract_data import drawn

    encoder, batches = small("fp32", device), jpegs_of(drawn(500, 375, count))
    found = [features_of(encoder, batches) for _ in range(3)]
    return float(np.mean((found[0] != found[1]) | (found[0] != found[2])))


@cache
def small(precision: str, device: torch.device) -> Any:
    """Return a small encoder, whose weights are the same everywhere."""
    from autods.encode.encoders.open_clip import load_encoder

    return load_encoder(SMALL, None, 0, precision, str(device))


def pixels_of(pixels: np.ndarray) -> Any:
    """Return a batch whose images [b, 3, h, w] are decoded."""
    from autods.encode.loader import Decoded

    return Decoded(pixels, np.arange(len(pixels)), np.zeros(0, np.uint64), [], [], 0.0, 0.0)


def jpegs_of(files: list[bytes]) -> list[Any]:
    """Return batches of 8 whose files the device decodes."""
    empty = np.zeros((8, 3, 224, 224), np.uint8)
    return [
        replace(pixels_of(empty), files=list(enumerate(files[i : i + 8])))
        for i in range(0, len(files), 8)
    ]


def features_of(encoder: Any, batches: list[Any]) -> np.ndarray:
    """Return the features [n, d] of batches of 8, each read as late as an extraction does."""
    from autods.encode.inputs import Inputs
    from autods.encode.preprocessing import cut

    inputs = Inputs(encoder, cut(encoder.transform), 8)
    queued: deque[Any] = deque()
    found = []
    for batch in batches:
        queued.append(inputs.features(batch)[0])
        if len(queued) > inputs.late:
            found.append(queued.popleft().result())
    found += [features.result() for features in queued]
    return np.concatenate(found).astype(np.float32)


def largest(expected: np.ndarray, got: np.ndarray) -> float:
    """Return the largest difference as a share of the largest number expected."""
    return float(np.abs(got - expected).max() / np.abs(expected).max())


def rate(body: Callable[[], Any], count: int, device: torch.device, seconds: float) -> float:
    """Return images/s of a body that handles ``count``; its first call is for warmth."""
    body()
    synchronise(device)
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        body()
        done += count
    synchronise(device)
    return round(done / (time.perf_counter() - began), 1)


def files(findings: Findings, device: torch.device, tiny: bool) -> None:
    """Extract features of drawn JPEG files; on CUDA also with JPEGs decoded there."""
    precision = "bf16" if device.type == "cuda" else "fp32"
    findings.measure(
        "extract", partial(extracted, precision, device, tiny, findings.left()), needs=8
    )


def extracted(precision: str, device: torch.device, tiny: bool, seconds: float) -> Any:
    """Return what `extract.py speed` prints, whose progress says most even if it is stopped."""
    size = ["--rounds", "0", "--drawn", "medium"]
    if tiny:
        size += ["--count", "16", "--batch-size", "8", "--workers", "1", "--model", SMALL]
    else:  # many more than the decoders' first batches: their start takes seconds, too
        size += ["--count", "16384", "--batch-size", "256", "--more", "1"]
    command = [
        sys.executable,
        str(EXTRACT),
        "speed",
        "--device",
        str(device),
        "--precision",
        precision,
    ]
    with (
        tempfile.TemporaryFile("w+") as printed,
        tempfile.TemporaryFile("w+") as progress,
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch,
    ):
        command += ["--scratch", scratch]
        # files, not pipes: its decoders hold a pipe open longer than it lives
        with subprocess.Popen([*command, *size], stdout=printed, stderr=progress) as process:
            try:
                ended = f"ended with {process.wait(max(seconds - SPARE, 1))}"
            except subprocess.TimeoutExpired:
                process.kill()
                ended = "was stopped: its time was up"
        printed.seek(0)
        progress.seek(0)
        if process.returncode:
            raise RuntimeError(f"extract.py {ended}; its last words: {progress.read()[-400:]}")
        return json.loads(printed.read())
