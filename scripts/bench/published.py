"""Measure the import of a synthetic published archive, and compare every value of it.

The archive is written by the lmdb package and torch in the published layout: several datasets,
one of them with many label sets. The import runs in a process of its own, whose peak memory is
that of the system; then every stored value is compared with the float16 rounding of the float32
in the archive, read by the lmdb package and pickle, and every label with the lists.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import pickle
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import torch

from autods.core.root import DataRoot
from autods.features.sets import open_features
from autods.features.shards import CODES

# Dataset: its share of all features, its label sets, its classes.
SHAPES = {"inaturalist": (0.5, 1, 51), "celeba": (0.3, 8, 2), "boat": (0.2, 1, 9)}
DIM = 768
CHUNK = 8192

# What the child process runs. The peak is read from /proc: that of getrusage counts the parent.
PROGRAM = """
import json, sys, time
from pathlib import Path
from autods.interop.published import import_published
from autods.core.root import DataRoot

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

before, began, used = peak(), time.perf_counter(), time.process_time()
outcome = import_published(Path(sys.argv[1]), DataRoot(Path(sys.argv[2])))
print(json.dumps({
    "seconds": time.perf_counter() - began, "cpu": time.process_time() - used,
    "before": before, "peak": peak(), "imported": outcome.imported, "kept": outcome.kept,
    "refused": [str(error) for error in outcome.refused.values()],
}))
"""


def write_split(folder: Path, paths: list[str], dim: int, seed: int) -> None:
    """Write one database as the authors' toolkit does; values are pickled rows of batches."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(seed)
    size = len(paths) * (4 * dim + 6000) + (64 << 20)
    with (
        lmdb.open(str(folder), map_size=size, sync=False, lock=False) as environment,
        environment.begin(write=True) as transaction,
    ):
        for start in range(0, len(paths), CHUNK):
            part = paths[start : start + CHUNK]
            rows = generator.standard_normal((len(part), dim), np.float32)
            for path, row in zip(part, rows, strict=True):
                transaction.put(path.encode(), pickle.dumps(row, protocol=4))
        transaction.put(b"file_names", pickle.dumps(paths, protocol=4))


def write_dataset(folder: Path, count: int, tasks: int, classes: int, dim: int) -> None:
    """Write one dataset: a tenth of its features is val."""
    lists: dict[str, dict[str, list[tuple[str, str]]]] = {f"task{t}": {} for t in range(tasks)}
    sizes = {"train": count - count // 10, "val": count // 10}
    for number, (split, size) in enumerate(sizes.items()):
        paths = [f"{folder.name}/{i % classes:03d}/{split}_{i:07d}.jpg" for i in range(size)]
        for t in range(tasks):
            order = np.random.default_rng(t).permutation(size)
            lists[f"task{t}"][split] = [(paths[i], f"class {(i + t) % classes:03d}") for i in order]
        write_split(folder / "feats" / "clip" / split, sorted(paths), dim, number)
    names = {t: sorted({y for _, y in pairs["train"]}) for t, pairs in lists.items()}
    torch.save({"file_names": lists, "class_names": names}, folder / "metadata.pickle")


def write_archive(folder: Path, samples: int, dim: int) -> Path:
    """Write the tar; the unpacked files are deleted one by one."""
    target = folder / "stream_feats.tar"
    with tarfile.open(target, "w") as archive:
        for name, (share, tasks, classes) in SHAPES.items():
            write_dataset(folder / name, int(samples * share), tasks, classes, dim)
            for path in sorted((folder / name).rglob("*")):
                if path.is_file():
                    archive.add(path, arcname=str(path.relative_to(folder)))
                    path.unlink()
    return target


def run_import(archive: Path, root: Path) -> dict[str, Any]:
    """Import in a child process; return its times and peak memory."""
    command = [sys.executable, "-c", PROGRAM, str(archive), str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def compare(archive: Path, root: Path, name: str, scratch: Path) -> dict[str, int]:
    """Compare every value and label of a dataset; return what was compared and what differs."""
    with tarfile.open(archive) as handle:
        chosen = [m for m in handle.getmembers() if m.name.startswith(f"{name}/")]
        handle.extractall(scratch, chosen, filter="data")
    lists = torch.load(scratch / name / "metadata.pickle", weights_only=True)["file_names"]
    (encoder,) = [path.name for path in (root / "features").iterdir()]
    stored = open_features(DataRoot(root), encoder, name)
    member, sample = stored.membership("paper"), np.concatenate([s.sample for s in stored.shards])
    counts = {"values": 0, "different": 0, "labels": 0, "wrong labels": 0}
    first = 0
    for split, codes in (("train", (CODES["train"], CODES["dev"])), ("val", (CODES["test"],))):
        rows = np.flatnonzero(np.isin(member, codes))
        rows = rows[np.argsort(sample[rows])]  # in the order of the keys
        if (sample[rows] != first + np.arange(len(rows))).any():
            raise SystemExit(f"{name}, {split}: rows are missing")
        first += len(rows)
        paths = _compare_values(scratch / name / "feats" / "clip" / split, stored, rows, counts)
        for task, found in lists.items():
            labels, names = stored.labels(task), stored.info.class_names[task]
            truth = dict(found[split])
            counts["labels"] += len(rows)
            counts["wrong labels"] += sum(
                names[labels[row]] != truth[path] for row, path in zip(rows, paths, strict=True)
            )
    return counts


def _compare_values(
    folder: Path, stored: Any, rows: np.ndarray, counts: dict[str, int]
) -> list[str]:
    paths: list[str] = []
    with (
        lmdb.open(str(folder), readonly=True, lock=False) as environment,
        environment.begin() as transaction,
    ):
        for key, value in transaction.cursor():
            if key == b"file_names":
                continue
            shard, row = locate(stored, int(rows[len(paths)]))
            published = pickle.loads(value).astype(np.float16)
            here = stored.shards[shard].features[row]
            counts["values"] += len(published)
            counts["different"] += int((published.view("u2") != here.view("u2")).sum())
            paths.append(key.decode())
    if len(paths) != len(rows):
        raise SystemExit(f"{folder}: {len(paths)} features published, {len(rows)} imported")
    return paths


def locate(stored: Any, row: int) -> tuple[int, int]:
    """Return shard and row within it."""
    shard = int(np.searchsorted(stored.starts, row, side="right")) - 1
    return shard, row - int(stored.starts[shard])


def refuses_malice(folder: Path, dim: int) -> bool:
    """Import a small archive with a value that would create a file; tell whether it did not."""
    marker = folder / "marker"
    place = folder / "evil" / "boat"
    write_dataset(place, 100, 1, 2, dim)
    evil = f"cposix\nsystem\n(S'touch {marker}'\ntR.".encode()
    database = str(place / "feats" / "clip" / "train")
    with lmdb.open(database, map_size=1 << 30) as environment, environment.begin(write=True) as new:
        new.put(f"boat/000/train_{0:07d}.jpg".encode(), evil)
    told = run_import(folder / "evil", folder / "evil_root")["refused"]
    return not marker.exists() and len(told) == 1 and "asks for 'posix.system'" in told[0]


def measure(samples: int, dim: int, folder: Path, compared: bool) -> dict[str, Any]:
    began = time.perf_counter()
    archive = write_archive(folder, samples, dim)
    written = time.perf_counter() - began
    digest = hashlib.file_digest(archive.open("rb"), "sha256").hexdigest()
    root = folder / "root"
    first = run_import(archive, root)
    if first["refused"]:
        raise SystemExit("\n".join(first["refused"]))
    again = run_import(archive, root)
    counts: dict[str, int] = {}
    for name in first["imported"] if compared else []:
        for key, number in compare(archive, root, name, folder / "scratch").items():
            counts[key] = counts.get(key, 0) + number
    unchanged = digest == hashlib.file_digest(archive.open("rb"), "sha256").hexdigest()
    return {
        "samples": sum(int(samples * share) for share, _, _ in SHAPES.values()),
        "dim": dim,
        "archive bytes": archive.stat().st_size,
        "seconds to write the archive": written,
        "seconds of the import": first["seconds"],
        "of these spent computing": first["cpu"],
        "samples/s": samples / first["seconds"],
        "seconds of a second import that keeps all": again["seconds"],
        "peak memory, MB": first["peak"] / 1024,
        "of it before the import, MB": first["before"] / 1024,
        "stored bytes": sum(p.stat().st_size for p in root.rglob("*.h5")),
        "archive unchanged": unchanged,
        "malicious value refused": refuses_malice(folder, dim),
        **counts,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=500_000)
    parser.add_argument("--dim", type=int, default=DIM)
    parser.add_argument("--no-compare", action="store_true", help="only time the import")
    parser.add_argument("--folder", type=Path, help="where the archive is written and deleted")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        result = measure(options.samples, options.dim, Path(folder), not options.no_compare)
    if options.json:
        print(json.dumps(result, indent=2))
        return
    for key, value in result.items():
        print(f"{key:45s} {value:,.1f}" if isinstance(value, float) else f"{key:45s} {value:,}")


if __name__ == "__main__":
    main()
