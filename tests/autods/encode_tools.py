"""Tiny real parts for the tests of encoding: a model of 20,000 weights, drawn images.

Run as a program it extracts in a process of its own, so that tests can kill it, or give
it a limit on the size of files, which acts as a full disk does.
"""

import io
import json
import os
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import open_clip
import torch
import typer
from archives import folders_layout, manifest_of
from PIL import Image

from autods.core.console import run_app
from autods.core.progress import Progress, Silent, console_progress
from autods.core.root import DataRoot
from autods.encode.encoders.open_clip import OpenClipEncoder, load_encoder
from autods.encode.extract import ExtractOutcome, extract_dataset
from autods.fetch.records import record_file
from autods.index.samples import index_dataset
from autods.manifest.schema import Manifest

MODEL = "tiny-test-vit"
CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 16, "width": 16, "heads": 1, "layers": 1},
}


class Touch:
    """Pickles to a call: what a malicious checkpoint holds."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def add_model(folder: Path, name: str = MODEL, **changes: object) -> str:
    """Make open_clip know the tiny model."""
    path = folder / f"{name}.json"
    own = path.with_name(f"{name}.{os.getpid()}")  # several processes may add the same one
    own.write_text(json.dumps({**CONFIG, **changes}), "utf-8")
    own.replace(path)
    open_clip.add_model_config(path)
    return name


def tiny_encoder(folder: Path, seed: int = 0) -> OpenClipEncoder:
    return load_encoder(add_model(folder), random_weights=seed)


def tiny_on(folder: Path, device: str, progress: Progress | None = None) -> OpenClipEncoder:
    """Build the tiny encoder on a device; with a folder bound, what engines call a factory."""
    encoder = load_encoder(add_model(folder), random_weights=0, device=device)
    assert isinstance(encoder, OpenClipEncoder)
    return encoder


def drawn(seed: int, fmt: str = "PNG", mode: str = "RGB") -> bytes:
    """Return a small image file with a gradient and noise."""
    noise = np.random.default_rng(seed).integers(0, 90, (24 + seed % 17, 40 - seed % 11, 3))
    ramp = np.linspace(0, 160, noise.shape[1]).astype(np.int64)[None, :, None]
    buffer = io.BytesIO()
    Image.fromarray((noise + ramp).astype(np.uint8)).convert(mode).save(buffer, fmt)
    return buffer.getvalue()


def make_dataset(
    root: DataRoot, images: Mapping[str, bytes], *, protocols: Mapping[str, object] | None = None
) -> Manifest:
    """Place images ``<split>/<class>/<name>`` as a folder of the dataset ``drawn``; index it."""
    for name, data in images.items():
        path = root.archive("drawn", "images") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    manifest = drawn_manifest(protocols)
    record_file(root, "drawn", manifest.files[0], root.archive("drawn", "images"), None)
    index_dataset(manifest, root, Silent())
    return manifest


def drawn_manifest(protocols: Mapping[str, object] | None = None) -> Manifest:
    images = {
        "name": "images",
        "checksum": "git:" + "0" * 40,  # of which the recorded tree counts
        "mirrors": [{"kind": "file", "url": "images"}],
    }
    labels = {"object": "{class}"}
    layout = folders_layout("images", "{split}/{class}/*", labels=labels, split="{split}")
    return manifest_of(
        {},
        layout,
        "drawn",
        files=[images],
        tasks={"object": {}},
        default_task="object",
        splits=protocols or {"clean": {"rule": "official"}},
    )


def many(n: int) -> dict[str, bytes]:
    """Return n drawn images: four classes, one image in five for testing."""
    return {
        f"{'test' if i % 5 == 4 else 'train'}/class{i % 4}/{i:04d}.png": drawn(i) for i in range(n)
    }


def slow() -> Progress:
    """A line for every batch, and time to be killed in."""
    progress = console_progress(interval=0.0)
    advance = progress.advance
    progress.advance = lambda amount: (advance(amount), time.sleep(0.005))
    return progress


def extract_here(root: DataRoot, config: Path, workers: int) -> ExtractOutcome:
    """Extract ``drawn`` in batches of 8 and shards of 40 images, one thread."""
    torch.set_num_threads(1)
    sizes = {"batch_size": 8, "shard_size": 40, "workers": workers}
    progress = slow()
    return extract_dataset(drawn_manifest(), root, tiny_encoder(config), **sizes, progress=progress)


def main(root: str, config: str, workers: str, limit: str = "") -> None:
    """Extract as the command line does: errors end as its errors do."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(lambda: extract_here(DataRoot.open(root), Path(config), int(workers)))
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
    sys.argv[1:] = []
    run_app(app)


if __name__ == "__main__":
    main(*sys.argv[1:])
