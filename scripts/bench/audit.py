"""Audit measured: planted copies of real images, planted wrong labels, and time at many rows.

    python scripts/bench/audit.py copies --images /path/to/raw --out /tmp/audit   # needs Lite0
    python scripts/bench/audit.py labels --features /path/to/npz --share 0.03
    python scripts/bench/audit.py time --rows 100000

`copies` encodes images and copies of some (half size, JPEG of quality 20, mirrored) by the trained
network of `extract_data.Lite0`, keeps the features in ``--out``, and counts which pairs are found
by features at some cosines, and by features and pixels.
`labels` moves some labels of stored features to another class at random and counts which are.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from autods.checks.label_scores import score_labels
from autods.checks.near import SKETCH, THRESHOLD, Joined, near_pairs
from autods.checks.near_findings import DIFFER
from autods.checks.pixels import Judged, SmallPictures
from autods.checks.small_pictures import small_picture
from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.encode.decode import load_image
from autods.features.sets import StoredFeatures, seal_features
from autods.features.shards import ShardData, ShardInfo, write_shard

COPIED = 120  # images of each dataset that get a copy of each kind
THRESHOLDS = (0.85, 0.9, 0.93, 0.95, 0.97)
KINDS: dict[str, Callable[[Image.Image], tuple[Image.Image, str, dict[str, int]]]] = {
    "half size": lambda i: (i.resize((max(1, i.width // 2), max(1, i.height // 2))), "PNG", {}),
    "JPEG 20": lambda i: (i, "JPEG", {"quality": 20}),
    "mirrored": lambda i: (ImageOps.mirror(i), "PNG", {}),
}


def stored(root: Path, x: npt.NDArray[np.float16], y: npt.NDArray[np.int32]) -> StoredFeatures:
    """Write arrays [n, d] and [n] as a finished feature set."""
    n, names = len(x), [f"class {k}" for k in range(int(y.max()) + 1)]
    info = ShardInfo(
        dataset="data", split="train", default_task="class", class_names={"class": names},
        encoder={"model": "bench"}, fingerprint="0" * 64, samples_sha256="", start=0, stop=n,
        index=0, count=1, hashed="features",
    )  # fmt: skip
    data = ShardData(x, {"class": y}, np.arange(n), np.arange(n, dtype=np.uint64))
    write_shard(DataRoot(root).shard("bench.a", "data", "train", 0, 1), data, info)
    return seal_features(DataRoot(root), "bench.a", "data")


def images(folder: Path, name: str) -> list[bytes]:
    """Return the image files of a folder but those of `val/images`, or 1,000 of the first zip.

    ``<name>_rest`` are the next 1,000.
    """
    found, first = folder / name.removesuffix("_rest"), 1000 * name.endswith("_rest")
    if archives := sorted(found.rglob("*.zip")):
        with zipfile.ZipFile(archives[0]) as archive:
            members = sorted(m for m in archive.namelist() if m.endswith(".png"))
            return [archive.read(member) for member in members[first : first + 1000]]
    paths = sorted(p for p in found.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    return [path.read_bytes() for path in paths if path.parts[-3:-1] != ("val", "images")]


def copy(data: bytes, kind: str) -> bytes:
    """Return a copy of an image file."""
    image, form, options = KINDS[kind](Image.open(io.BytesIO(data)).convert("RGB"))
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def encoded(folder: Path, name: str, out: Path) -> dict[str, npt.NDArray[np.generic]]:
    """Return features of images and of copies, with the source and kind of each copy; kept."""
    kept = out / f"{name}.npz"
    if not kept.exists():
        import torch
        from extract_data import Lite0

        net = Lite0()

        def encode(files: list[bytes]) -> npt.NDArray[np.float16]:
            made = []
            for start in range(0, len(files), 32):
                batch = [Image.open(io.BytesIO(f)) for f in files[start : start + 32]]
                made.append(net.encode(torch.stack([net.transform(image) for image in batch])))
            return np.concatenate(made).astype(np.float16)

        files = images(folder, name)
        chosen = np.sort(np.random.default_rng(0).permutation(len(files))[:COPIED])
        copies = [(int(i), kind) for i in chosen for kind in KINDS]
        out.mkdir(parents=True, exist_ok=True)
        np.savez(
            kept,
            x=encode(files), xc=encode([copy(files[i], kind) for i, kind in copies]),
            src=[i for i, _ in copies], kind=[kind for _, kind in copies],
        )  # fmt: skip
    with np.load(kept) as arrays:
        return dict(arrays)


def seconds(action: Callable[[], Any]) -> tuple[Any, float]:
    """Return a result and the seconds of processor time that it took."""
    began = time.process_time()
    return action(), time.process_time() - began


def copies(args: argparse.Namespace) -> None:
    """Print recall by kind, and pairs found that are not planted, by threshold."""
    print("| dataset | images | cosine | " + " | ".join(KINDS) + " | pairs not planted |")
    print("|---|---:|---:|" + "---:|" * (len(KINDS) + 1))
    for name in args.names.split(","):
        z = encoded(args.images, name, args.out)
        n, source = len(z["x"]), z["src"].astype(int)
        x = np.concatenate([z["x"], z["xc"]]).astype(np.float16)
        owner = np.concatenate([np.arange(n), source])  # rows of one image share it
        with tempfile.TemporaryDirectory() as folder:
            table = Joined([stored(Path(folder), x, np.zeros(len(x), np.int32))])
            files = images(args.images, name)
            files += [copy(files[i], str(kind)) for i, kind in zip(source, z["kind"], strict=True)]
            decoded, decoding = seconds(lambda f=files: [load_image(data)[0] for data in f])
            levels, reading = seconds(lambda d=decoded: np.stack([small_picture(i) for i in d]))
            judged = Judged(table, SmallPictures(table, [levels], [np.arange(len(x))]))
            tries = {f"{t}": list(near_pairs(table, t)) for t in THRESHOLDS}
            features = seconds(lambda t=table: list(near_pairs(t)))[1]
            found, both = seconds(lambda j=judged: list(j.pairs(THRESHOLD, Silent())))
            apart = sum(int((p.pixels < DIFFER).sum()) for p in found)
            tries[f"{THRESHOLD}, pixels"] = [p[~(p.pixels < DIFFER)] for p in found]
        for threshold, found in tries.items():
            a, b = (np.concatenate([getattr(p, k) for p in found]) for k in ("a", "b"))
            own = (a < n) & (b >= n) & (owner[a] == owner[b])
            hit = set(b[own].tolist())
            recall = [
                np.mean([n + i in hit for i in np.flatnonzero(z["kind"] == kind)]) for kind in KINDS
            ]
            between = int(((owner[a] != owner[b]) & (b < n)).sum())
            cells = " | ".join(f"{100 * r:.0f} %" for r in recall)
            print(f"| {name} | {n:,} | {threshold} | {cells} | {between:,} |")
        print(
            f"  {judged.added} added, {apart} apart, {judged.crowded} crowded; decoding "
            f"{decoding:.2f} s, small pictures {reading:.2f} s, comparing features {features:.2f} "
            f"s, pixels {both - features:.2f} s"
        )


def labels(args: argparse.Namespace) -> None:
    """Print precision and recall of planted wrong labels at the default threshold."""
    print("| dataset | rows | classes | agree | planted | flagged | precision | recall | AP |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for name in args.names.split(","):
        with np.load(args.features / f"{name}.npz") as z:
            x, right = z["x_train"].astype(np.float16), z["y_train"].astype(np.int64)
        rng, count = np.random.default_rng(args.seed), int(right.max()) + 1
        wrong = rng.random(len(right)) < args.share
        given = np.where(wrong, (right + rng.integers(1, count, len(right))) % count, right)
        with tempfile.TemporaryDirectory() as folder:
            table = Joined([stored(Path(folder), x, given.astype(np.int32))])
            scores = score_labels(table, given)
        assert scores is not None
        flagged = scores.suspicious()
        order = wrong[np.argsort(scores.p_given, kind="stable")]
        precisions = np.cumsum(order) / np.arange(1, len(order) + 1)
        hits = wrong[flagged]
        print(
            f"| {name} | {len(x):,} | {count} | {scores.accuracy:.1%} | {wrong.sum():,} | "
            f"{len(flagged):,} | {hits.mean() if len(hits) else 0:.2f} | "
            f"{hits.sum() / wrong.sum():.2f} | {precisions[order].mean():.2f} |"
        )


def timed(args: argparse.Namespace) -> None:
    """Print seconds and memory for rows like pooled features, and what a million would take."""
    rng = np.random.default_rng(0)
    x = np.empty((args.rows, args.dim), np.float16)
    means = rng.gamma(0.5, size=(1000, args.dim))
    mix = rng.normal(size=(64, args.dim)) * 0.3
    for start in range(0, args.rows, 10_000):
        kind = rng.integers(0, 1000, min(10_000, args.rows - start))
        noise = rng.normal(size=(len(kind), 64)) @ mix
        noise += 0.3 * rng.normal(size=noise.shape)
        x[start : start + len(kind)] = np.maximum(means[kind] + noise, 0)
    y = rng.integers(0, 1000, args.rows).astype(np.int32)
    with tempfile.TemporaryDirectory() as folder:
        table = Joined([stored(Path(folder), x, y)])
        del x
        began = time.perf_counter(), time.process_time()
        pairs = sum(len(found.a) for found in near_pairs(table))
        near = time.perf_counter() - began[0], time.process_time() - began[1]
        began = time.perf_counter(), time.process_time()
        score_labels(table, y.astype(np.int64))
        judged = time.perf_counter() - began[0], time.process_time() - began[1]
    columns = min(192, SKETCH // (4 * 1_000_000)) / min(192, SKETCH // (4 * args.rows))
    scale = args.rows / 1e6
    print(
        f"{args.rows:,} rows of {args.dim}: near-duplicates {near[0]:.0f} s ({near[1]:.0f} s of "
        f"processor, {pairs:,} pairs), labels {judged[0]:.0f} s ({judged[1]:.0f} s); a million "
        f"rows, in hours of one processor: {near[1] / scale**2 * columns / 3600:.2f} and "
        f"{judged[1] / scale / 3600:.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("copies")
    one.add_argument("--images", type=Path, required=True)
    one.add_argument("--names", default="flowers17,omniglot,omniglot_rest,grocery,tinyimagenet")
    one.add_argument("--out", type=Path, required=True)
    one.set_defaults(run=copies)
    two = commands.add_parser("labels")
    two.add_argument("--features", type=Path, required=True)
    two.add_argument("--names", default="clip_animehero2,dtd10,fer2013,grocery,gtsrb")
    two.add_argument("--share", type=float, default=0.03)
    two.add_argument("--seed", type=int, default=1)
    two.set_defaults(run=labels)
    three = commands.add_parser("time")
    three.add_argument("--rows", type=int, default=100_000)
    three.add_argument("--dim", type=int, default=1280)
    three.set_defaults(run=timed)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
