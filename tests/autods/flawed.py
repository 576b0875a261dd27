"""A small dataset with every flaw that counts and audits look for, fetched and recorded."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from archives import folders_layout, make_zip, manifest_of, placed
from PIL import Image

from autods.core.root import DataRoot
from autods.manifest.schema import Manifest

SPLITS = {"clean": {"rule": "official", "dev_fraction": 0}, "paper": {"rule": "official"}}


def picture(number: int, mode: str = "RGB", size: tuple[int, int] = (9, 8)) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 255, (size[1], size[0], 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


def flawed_members() -> dict[str, bytes]:
    """Return 10 cats and 10 dogs of train, 4 and 4 of test, one eel, and the flaws."""
    counts = {"train/cat": 10, "train/dog": 10, "train/eel": 1, "test/cat": 4, "test/dog": 4}
    plain = [f"{folder}/{i:03d}.png" for folder, count in counts.items() for i in range(count)]
    files = {name: picture(number) for number, name in enumerate(plain)}
    files["train/cat/000.png"] = picture(100, "L", (5, 30))
    return (
        files
        | {
            "train/cat/901.png": files["train/cat/001.png"],  # a copy within train
            "train/dog/901.png": files["train/cat/002.png"],  # the same under another class
            "test/cat/902.png": files["train/cat/003.png"],  # train in test
            "test/dog/903.png": files["test/dog/001.png"],  # a copy within test
            "train/dog/904.png": files["train/dog/004.png"][:60],
            "train/dog/905.png": b"",
        }
    )


def make_flawed(tmp_path: Path, **changes: Any) -> tuple[DataRoot, Manifest]:
    """Write the dataset's archive, put it below a root, and return the root and the manifest."""
    archive = make_zip(tmp_path / "source" / "pets.zip", flawed_members())
    layout = folders_layout("pets.zip", "{split}/{class}/*", split="{split}")
    root = DataRoot(tmp_path / "root")
    files = {"pets.zip": archive}
    manifest = manifest_of(files, layout, "pets", **{"splits": SPLITS, **changes})
    return root, placed(root, manifest, files)


def write_manifest(manifest: Manifest, folder: Path) -> Path:
    """Write a manifest where ``--manifests`` finds it."""
    folder.mkdir(parents=True, exist_ok=True)
    values = manifest.model_dump(mode="json", by_alias=True)
    text = yaml.safe_dump(values, sort_keys=False)
    (folder / f"{manifest.name}.yaml").write_text(text, encoding="utf-8")
    return folder
