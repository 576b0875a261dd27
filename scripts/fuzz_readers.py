"""The readers of files from strangers that `fuzz.py` tries: valid inputs, and what reads them.

Each reader makes a small valid input in a folder; `mutated` says which of its files are changed.
Those of single files are in `fuzz_files.py`.
"""

from __future__ import annotations

import json
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_files import FILES, Make, Reader
from fuzz_senders import SENDERS

from autods.core.root import DataRoot
from autods.errors import AutodsError

ENCODER, NAME = "made.up", "pets"
CLASSES = ["cat", "dog"]


# ---------------------------------------------------------------- manifests and configurations
def _shipped(kind: str) -> Make:
    def make(folder: Path) -> None:
        from autods.manifest.files import shipped_manifests

        names = {"datasets": ("colorectal", "malacca", "gtsrb", "indoor"), "streams": ("stream71",)}
        (folder / kind).mkdir()
        for name in names[kind]:
            text = (shipped_manifests() / kind / f"{name}.yaml").read_bytes()
            (folder / kind / f"{name}.yaml").write_bytes(text)

    return make


def read_manifests(folder: Path) -> None:
    """Load every manifest and stream of a folder."""
    from autods.manifest.catalogue import Catalogue

    catalogue, refused = Catalogue([folder]), None
    for path in sorted(folder.rglob("*.yaml")):
        load = catalogue.dataset if path.parent.name == "datasets" else catalogue.stream
        try:
            load(path.stem)
        except AutodsError as error:
            refused = error
    if refused is not None:
        raise refused


def make_config(folder: Path) -> None:
    """Write an options file."""
    text = "method: er\nepochs: 2\nlr: 0.1\nscenario: class-il\ner:\n  dropout: 0.5\n"
    (folder / "config.yaml").write_text(text)


def read_config(folder: Path) -> None:
    """Parse an options file as ``run --config`` does, without running anything."""
    import typer

    from bmc.cli.app import app

    commands: Any = typer.main.get_command(app)
    given = ["--config", str(folder / "config.yaml"), "--scenario", "class-il"]
    commands.commands["run"].make_context("run", given)


# ---------------------------------------------------------------- features
def make_features(folder: Path) -> None:
    """Write a feature set with embedded class names and a record."""
    from autods.features.class_names import ClassTexts, write_texts
    from autods.features.sets import seal_features
    from autods.features.shards import ShardData, ShardInfo, write_shard

    root = DataRoot.open(folder)
    encoder: dict[str, Any] = {"model": "made up"}
    for first, split in ((0, "train"), (9, "test")):
        labels = (np.arange(9) % 2).astype(np.int32)
        ids = np.arange(first, first + 9)
        data = ShardData(np.ones((9, 4), np.float16), {"class": labels, "other": labels}, ids,
                         ids.astype(np.uint64), {"paper": np.ones(9, np.uint8)})  # fmt: skip
        info = ShardInfo(NAME, split, "class", {"class": CLASSES, "other": CLASSES}, encoder,
                         "0" * 64, "", 0, 9, 0, 1, hashed="features")  # fmt: skip
        write_shard(root.shard(ENCODER, NAME, split, 0, 1), data, info)
    seal_features(root, ENCODER, NAME)
    rows = np.eye(2, 4, dtype=np.float16)
    names = {"class": CLASSES, "other": CLASSES}
    texts = ClassTexts(
        NAME, "class", names, names, dict.fromkeys(names, rows), "plain", ["{}"], "0" * 64, {}
    )
    write_texts(root.text(ENCODER, NAME, "plain"), texts)


def read_features(folder: Path) -> None:
    """Open a feature set, verify it, and read its class names."""
    from autods.checks.features import verify_features
    from autods.features.class_names import load_text
    from autods.features.sets import open_features

    root = DataRoot.open(folder)
    verify_features(root)
    stored = open_features(root, ENCODER, NAME)
    np.asarray(stored.take(stored.rows("train"))).sum()
    load_text(root, ENCODER, NAME, templates="plain")


def _import(*names: str, make: Make) -> Reader:
    def read(folder: Path) -> None:
        from autods.interop.imports.from_files import import_files

        import_files(folder / names[0], DataRoot.open(folder.parent / "root"), ENCODER)

    return Reader(make, read)


def _rows() -> tuple[Any, Any]:
    return np.ones((40, 4), np.float32), np.arange(40) % 2


def make_npz(folder: Path) -> None:
    """Write features as npz."""
    x, y = _rows()
    np.savez_compressed(
        folder / "pets.npz", x_train=x, y_train=y, x_test=x, y_test=y, class_names=CLASSES
    )


def make_npy(folder: Path) -> None:
    """Write features as npy and csv."""
    (folder / NAME).mkdir()
    np.save(folder / NAME / "features.npy", _rows()[0])
    lines = [f"{row},{CLASSES[row % 2]},{'train' if row < 30 else 'test'}" for row in range(40)]
    (folder / NAME / "labels.csv").write_text("\n".join(["row,label,split", *lines]) + "\n")


def make_parquet(folder: Path) -> None:
    """Write features as Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    x, y = _rows()
    table = pa.table({"features": x.tolist(), "label": [CLASSES[k] for k in y]})
    pq.write_table(table, folder / "pets.parquet")


def make_safetensors(folder: Path) -> None:
    """Write features as safetensors."""
    from safetensors.numpy import save_file

    x, y = _rows()
    named = {"class_names": json.dumps(CLASSES)}
    save_file({"features": x, "labels": y.astype(np.int64)}, folder / "pets.safetensors", named)


def make_published(folder: Path) -> None:
    """Write a published archive: LMDB of pickled vectors, and metadata by ``torch.save``."""
    import lmdb
    import torch

    paths = {split: [f"{split}/{k}.jpg" for k in range(12)] for split in ("train", "val")}
    base = folder / "in" / "boat"
    for split, names in paths.items():
        place = base / "feats" / "clip" / split
        place.mkdir(parents=True)
        environment = lmdb.open(str(place), map_size=1 << 20, lock=False)
        with environment, environment.begin(write=True) as transaction:
            for k, name in enumerate(names):
                row = np.full(8, k, np.float32)
                transaction.put(name.encode(), pickle.dumps(row, protocol=4))
            transaction.put(b"file_names", pickle.dumps(names, protocol=4))
    lists = {
        s: [(name, CLASSES[k % 2]) for k, name in enumerate(names)] for s, names in paths.items()
    }
    torch.save(
        {"file_names": {"none": lists}, "class_names": {"none": CLASSES}}, base / "metadata.pickle"
    )


def read_published(folder: Path) -> None:
    """Import a published archive; the first dataset that is refused is the error."""
    from autods.interop.published import import_published

    outcome = import_published(
        folder / "in", DataRoot.open(folder.parent / "root"), extractor="clip"
    )
    for error in outcome.refused.values():
        raise error


def make_published_tar(folder: Path) -> None:
    """Write the same as a tar."""
    make_published(folder)
    with tarfile.open(folder / "in.tar", "w") as tar:
        tar.add(folder / "in", "in")
    import shutil

    shutil.rmtree(folder / "in")
    (folder / "in.tar").rename(folder / "in")


# ---------------------------------------------------------------- runs
def _stream() -> Any:
    from autods.streams.open import open_stream

    return open_stream("synthetic", scenario="class-il", max_tasks=2)


def make_run(folder: Path) -> None:
    """Write a finished run, and one that is begun."""
    from bmc.config import Config
    from bmc.runs.run import run

    run(_stream(), "er", Config(epochs=1, memory=20), folder / "run")
    (folder / "begun").mkdir()
    for name in ("config.json", "checkpoint.safetensors"):
        (folder / "begun" / name).write_bytes((folder / "run" / name).read_bytes())


def read_run(folder: Path) -> None:
    """List the runs, load them for a report, and a checkpoint to resume."""
    import torch

    from bmc.report import load_runs
    from bmc.report.listing import differing, list_runs
    from bmc.runs.folder import RunFolder

    differing(list_runs(folder))
    (loaded,) = load_runs([folder / "run"])
    str(loaded)
    loaded.samples("class-il")
    RunFolder(folder / "begun").load(torch.device("cpu"))


READERS: dict[str, Reader] = {
    "manifest": Reader(_shipped("datasets"), read_manifests),
    "stream": Reader(_shipped("streams"), read_manifests),
    "config": Reader(make_config, read_config),
    **FILES,
    "features": Reader(make_features, read_features),
    "npz import": _import("pets.npz", make=make_npz),
    "npy import": _import("pets", make=make_npy),
    "parquet import": _import("pets.parquet", make=make_parquet),
    "safetensors import": _import("pets.safetensors", make=make_safetensors),
    "published": Reader(make_published, read_published),
    "published tar": Reader(make_published_tar, read_published),
    "run": Reader(make_run, read_run),
    **SENDERS,
}
