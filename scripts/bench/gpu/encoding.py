"""Extraction: the encoder alone, from pixels to features, and from image files to shards."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
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
EXTRACT = Path(__file__).parent.parent / "extract.py"


def encode(findings: Findings, device: torch.device, tiny: bool) -> None:
    """Measure images/s of the encoder alone and from pixels, at three precisions."""
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
    from autods.encode.loader import Decoded
    from autods.encode.preprocessing import cut

    encoder = built(precision, device)
    halves = cut(encoder.transform)
    ready = torch.rand(batch, 3, *halves.size, device=device)
    draws = np.random.default_rng(0)
    pixels = draws.integers(0, 255, (batch, *halves.shape)).astype(np.uint8)
    none = np.zeros(batch, np.uint64)
    decoded = Decoded(pixels, np.arange(batch), none, [], [], 0.0, 0.0)
    inputs = Inputs(encoder, halves, batch)
    alone = rate(lambda: encoder.encode(ready), batch, device, seconds)
    late: list[Any] = []

    def one_late() -> None:
        """Read the features of a batch when the next one is under way, as extraction does."""
        late.append(inputs.features(decoded)[0])
        if len(late) > 1 and hasattr(before := late.pop(0), "result"):
            before.result()

    whole = rate(one_late, batch, device, seconds)
    return {"encoder alone": alone, "from pixels": whole, "share": round(whole / alone, 3)}


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
