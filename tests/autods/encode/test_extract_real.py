"""Features of real images by the pipeline against a plain loop of open_clip."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from encode_tools import make_dataset
from PIL import Image
from published import OMNIGLOT, RAW

from autods.core.root import DataRoot
from autods.encode.encoders.open_clip import OpenClipEncoder, load_encoder
from autods.encode.extract import extract_dataset
from autods.features.sets import open_features
from autods.index.samples import load_samples

pytestmark = pytest.mark.skipif(not RAW.is_dir(), reason="no shared data beside the repository")

MODEL = "ViT-B-32"
EACH = 4  # images of each of four datasets


def some(paths: list[Path]) -> list[bytes]:
    """Return a few files from all over a list."""
    return [path.read_bytes() for path in sorted(paths)[:: max(1, len(paths) // EACH)][:EACH]]


def real_images() -> list[bytes]:
    """Return photographs, thumbnails and line drawings: colour, grey and black on white."""
    found = [
        *some(list((RAW / "flowers17").rglob("*.jpg"))),
        *some(list((RAW / "grocery").rglob("*.jpg"))),
        *some(list((RAW / "tinyimagenet").rglob("*.JPEG"))),
    ]
    with zipfile.ZipFile(min(OMNIGLOT.glob("*.zip"))) as archive:
        names = [name for name in archive.namelist() if name.endswith(".png")]
        found += [archive.read(name) for name in names[:: len(names) // EACH][:EACH]]
    assert len(found) == 4 * EACH
    return found


class Kept(OpenClipEncoder):
    """Keeps the features as the model gives them, in float32."""

    batches: list[np.ndarray] = []  # noqa: RUF012  (one test uses it)

    def encode(self, batch):
        self.batches.append(super().encode(batch))
        return self.batches[-1]


def test_features_of_real_images_are_those_of_a_plain_open_clip_loop(tmp_path):
    images = real_images()
    root = DataRoot.open(tmp_path / "root")
    named = {
        f"{'test' if i % 4 == 3 else 'train'}/{'ab'[i // 4 % 2]}/{i:02d}.png": data
        for i, data in enumerate(images)
    }
    manifest = make_dataset(root, named)
    encoder = load_encoder(MODEL, random_weights=0)
    assert isinstance(encoder, OpenClipEncoder)
    kept = Kept(**vars(encoder))
    extract_dataset(manifest, root, kept, batch_size=8)

    torch.manual_seed(0)
    model, _, preprocess = open_clip.create_model_and_transforms(MODEL)
    model.eval()
    stored = open_features(root, encoder.name, "drawn")
    paths = load_samples(root, "drawn").table["path"]
    shards = [(s.sample, s.features) for s in stored.shards]
    exact = iter(np.concatenate(list(whole(kept.batches, shards))))
    for samples, features in shards:
        for sample, feature in zip(samples, features.astype(np.float32), strict=True):
            data = named[paths[int(sample)].as_py().removeprefix("images/")]
            with Image.open(io.BytesIO(data)) as image, torch.inference_mode():
                expected = model.encode_image(preprocess(image)[None])[0].numpy()
            assert np.abs(next(exact) - expected).max() < 1e-4
            cosine = feature @ expected / np.linalg.norm(feature) / np.linalg.norm(expected)
            assert cosine > 0.99999


def whole(
    batches: list[np.ndarray], shards: list[tuple[np.ndarray, np.ndarray]]
) -> Iterator[np.ndarray]:
    """Yield the rows of each shard, without those that only fill the last batch up."""
    rest = iter(batches)
    for samples, _ in shards:
        count = -(-len(samples) // 8)
        yield np.concatenate([next(rest) for _ in range(count)])[: len(samples)]
