"""Measure images read from archives against torchvision's `ImageFolder` on the same images.

Both deliver batches of the same tensors: each image is decoded by PIL, made RGB and given to
the same transform, in a `DataLoader` of the same settings, in the same shuffled order. The
readers take turns in every round, over warm files, and medians are compared. Before that,
all tensors of both are compared.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import CenterCrop, Compose, PILToTensor, Resize, ToTensor

from autods.core.files import hash_file, hash_tree
from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.fetch.records import record_file
from autods.index.samples import index_dataset
from autods.manifest.schema import Manifest
from autods.streams.images import ImageSet, open_images

RAW = Path(__file__).resolve().parents[3] / "shared" / "data" / "raw"
BATCH = 64
TRANSFORMS = {  # the first costs next to nothing, so that the readers show
    "flowers17": Compose([Resize(224), CenterCrop(224), ToTensor()]),
    "tinyimagenet": PILToTensor(),
    "omniglot": PILToTensor(),
}


def flowers17() -> Iterator[tuple[str, bytes]]:
    for path in sorted((RAW / "flowers17" / "jpg").glob("*.jpg")):
        yield f"class{(int(path.stem[-4:]) - 1) // 80:02d}/{path.name}", path.read_bytes()


def tinyimagenet() -> Iterator[tuple[str, bytes]]:
    for path in sorted((RAW / "tinyimagenet" / "tiny-imagenet-200" / "train").rglob("*.JPEG")):
        yield f"{path.parts[-3]}/{path.name}", path.read_bytes()


def omniglot() -> Iterator[tuple[str, bytes]]:
    for archive in sorted((RAW / "omniglot" / "python").glob("*.zip")):
        with zipfile.ZipFile(archive) as file:
            for name in sorted(name for name in file.namelist() if name.endswith(".png")):
                _, alphabet, character, image = name.split("/")
                yield f"{alphabet}-{character}/{image}", file.read(name)


SOURCES = {"flowers17": flowers17, "tinyimagenet": tinyimagenet, "omniglot": omniglot}


def spread(found: list[tuple[str, bytes]], count: int) -> list[tuple[str, bytes]]:
    """Return so many of a list, evenly spread; all if there are fewer."""
    return found[:: max(1, -(-len(found) // count))]


def unpack(name: str, folder: Path, count: int) -> ImageFolder:
    """Write all images as ``train``, and one more as the test split that a manifest must have."""
    for number, (path, data) in enumerate(spread(list(SOURCES[name]()), count)):
        for split in ("train", "test")[: 1 + (not number)]:
            target = folder / split / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
    return ImageFolder(str(folder / "train"), TRANSFORMS[name])


def pack(images: Path, kind: str, target: Path) -> None:
    if kind == "folder":
        target.symlink_to(images)
        return
    paths = sorted(path for path in images.rglob("*") if path.is_file())
    if kind == "tar":
        with tarfile.open(target, "w") as file:
            for path in paths:
                file.add(path, path.relative_to(images).as_posix())
        return
    how = zipfile.ZIP_DEFLATED if kind == "deflated zip" else zipfile.ZIP_STORED
    with zipfile.ZipFile(target, "w", how) as file:
        for path in paths:
            file.write(path, path.relative_to(images).as_posix())


def indexed(source: str, images: Path, kind: str, root: DataRoot) -> ImageSet:
    """Pack the folder of images, index it, and open all of its train split."""
    name = f"bench_{source}"  # not that of a shipped manifest
    file = f"images{ {'tar': '.tar', 'folder': ''}.get(kind, '.zip') }"
    target = root.archive(name, file)
    target.parent.mkdir(parents=True)
    pack(images, kind, target)
    whole = f"tree:{hash_tree(target)}" if target.is_dir() else ""
    checksum = whole or f"sha256:{hash_file(target, 'sha256')}"
    manifest = Manifest.model_validate(
        {
            "name": name,
            "title": name,
            "homepage": None,
            "citation": None,
            "licence": None,
            "access": "open",
            "files": [
                {
                    "name": file,
                    "checksum": checksum,
                    "mirrors": [{"kind": "file", "url": str(target)}],
                }
            ],
            "layout": {
                "family": "class-folders",
                "files": [file],
                "pattern": "{split}/{class}/*",
                "labels": {"class": "{class}"},
                "split": "{split}",
            },
            "tasks": {"class": {}},
            "default_task": "class",
            "splits": {"clean": {"rule": "official", "dev_fraction": 0.0}},
        }
    )
    record_file(root, name, manifest.files[0], target, None)
    index_dataset(manifest, root, Silent())
    return open_images(name, "train", root, transform=TRANSFORMS[source])


def loader(dataset: Dataset[Any], workers: int) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(0)
    return DataLoader(
        dataset,
        BATCH,
        shuffle=True,
        generator=generator,
        num_workers=workers,
        persistent_workers=workers > 0,
    )


def check_same(folder: ImageFolder, images: ImageSet) -> None:
    if folder.targets != images.targets:
        raise SystemExit("the labels differ")
    for i in range(len(folder)):
        if not torch.equal(folder[i][0], images[i][0]):
            raise SystemExit(f"image {i} differs: {images.path(i)}")


def rate(batches: DataLoader[Any], seconds: float) -> tuple[float, float]:
    """Return the images per second of whole epochs that take ``seconds`` or longer.

    Returns
    -------
    By the clock, and by the processor time of this process, which other processes on the same
    cores hardly change; the latter means nothing where workers do the work.
    """
    began, busy, seen = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - began < seconds:
        for _, labels in batches:
            seen += len(labels)
    return seen / (time.perf_counter() - began), seen / (time.process_time() - busy)


def measure(options: argparse.Namespace, name: str, workers: int, place: Path) -> dict[str, Any]:
    folder = unpack(name, place / "images", options.images)
    sets = {
        kind: indexed(name, place / "images", kind, DataRoot.open(place / kind))
        for kind in options.kinds
    }
    for images in sets.values():
        check_same(folder, images)
    loaders = {"ImageFolder": loader(folder, workers)}
    loaders |= {kind: loader(images, workers) for kind, images in sets.items()}
    rounds: list[dict[str, tuple[float, float]]] = []
    for number in range(options.rounds + 1):  # the first warms up and starts the workers
        turns = list(loaders)[number % len(loaders) :] + list(loaders)[: number % len(loaders)]
        found = {kind: rate(loaders[kind], options.seconds) for kind in turns}
        rounds += [found] * bool(number)
    row = {
        "dataset": name,
        "workers": workers,
        "images": len(folder),
        "bytes_per_image": int(np.mean([Path(p).stat().st_size for p, _ in folder.samples])),
    }
    for clock, unit in enumerate(("s", "cpu_s")[: 1 + (not workers)]):
        rates = {kind: [one[kind][clock] for one in rounds] for kind in loaders}
        ratios = {k: [a / b for a, b in zip(rates[k], rates["ImageFolder"], strict=True)]
                  for k in sets}  # fmt: skip
        row[f"images_per_{unit}"] = {k: statistics.median(v) for k, v in rates.items()}
        row["ratio" if unit == "s" else "cpu_ratio"] = {
            kind: [statistics.median(found), min(found), max(found)]
            for kind, found in ratios.items()
        }
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", nargs="+", choices=SOURCES, default=list(SOURCES))
    kinds = ["zip", "deflated zip", "tar", "folder"]
    parser.add_argument("--kinds", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--images", type=int, default=1000, help="of each dataset, at most")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="per reader and round")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = []
    for name in options.datasets:
        for workers in options.workers:
            with tempfile.TemporaryDirectory() as place:
                results.append(measure(options, name, workers, Path(place)))
    if options.json:
        print(json.dumps(results, indent=2))
        return
    columns = ["ImageFolder", *options.kinds]
    print(f"{'images/s':<16}{'workers':>10}" + "".join(f"{column:>22}" for column in columns))
    for row in results:
        for ratio, rates in (("ratio", "images_per_s"), ("cpu_ratio", "images_per_cpu_s")):
            if ratio not in row:
                continue
            cells = [f"{row[rates]['ImageFolder']:,.0f}"]
            for middle, low, high in row[ratio].values():
                cells.append(f"{middle:.2f} ({low:.2f} to {high:.2f})")
            how = f"{row['workers']}{', cpu' if ratio == 'cpu_ratio' else ''}"
            print(f"{row['dataset']:<16}{how:>10}" + "".join(f"{cell:>22}" for cell in cells))


if __name__ == "__main__":
    main()
