"""Build archives of features in the layout that the authors' toolkit exports.

Known from the public source of its writer: one transaction per published split puts the
pickled rows of a float32 batch under the UTF-8 of their sorted paths, then the pickled list
of the paths under ``file_names``; the environment is copied, which leaves a ``data.mdb``; and
``metadata.pickle`` comes from ``torch.save``.
"""

import pickle
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import torch

MAP = 1 << 30  # bytes; only those that are written take space

Lists = Mapping[str, Sequence[tuple[Any, Any]]]  # published split to pairs of path and label


def as_numpy_1(data: bytes) -> bytes:
    """Give a pickle of protocol 4 the name that NumPy 1 has for the module of arrays."""
    new, old = b"\x8c\x16numpy._core.multiarray", b"\x8c\x15numpy.core.multiarray"
    if new not in data:
        return data
    size = int.from_bytes(data[3:11], "little") - 1  # of the frame, which is the whole pickle
    return data[:3] + size.to_bytes(8, "little") + data[11:].replace(new, old)


def pickled(value: Any) -> bytes:
    """Pickle as Python 3.10 with NumPy 1 does."""
    return as_numpy_1(pickle.dumps(value, protocol=4))


def vectors_of(paths: Sequence[Any], dim: int, seed: int = 0) -> dict[Any, np.ndarray]:
    """Return path to random float32 [dim], of the size that CLIP features have."""
    rows = np.random.default_rng(seed).normal(0, 1.5, (len(paths), dim)).astype(np.float32)
    return dict(zip(paths, rows, strict=True))


def write_database(
    folder: Path,
    vectors: Mapping[Any, Any],
    *,
    dumps: Callable[[Any], bytes] = pickled,
    file_names: bytes | None = b"",
) -> Path:
    """Write one split as the toolkit does; return its ``data.mdb``.

    ``file_names``: the value of that key, ``b""`` for the sorted paths, ``None`` for none.
    """
    scratch = folder.with_name(folder.name + ".scratch")
    for place in (scratch, folder):
        place.mkdir(parents=True)
    paths = sorted(vectors)
    how = {"map_size": MAP, "writemap": True, "lock": False, "sync": False}
    with lmdb.open(str(scratch), **how) as environment:
        with environment.begin(write=True) as transaction:
            for path in paths:
                transaction.put(str(path).encode(), dumps(vectors[path]))
            if file_names is not None:
                transaction.put(b"file_names", file_names or pickled(paths))
        environment.copy(str(folder))
    for file in scratch.iterdir():
        file.unlink()
    scratch.rmdir()
    return folder / "data.mdb"


def write_dataset(
    root: Path,
    name: str,
    sets: Mapping[Any, Lists],
    *,
    extractor: str = "clip",
    dim: int = 8,
    seed: int = 0,
    vectors: Mapping[str, Mapping[Any, Any]] | None = None,
    dumps: Callable[[Any], bytes] = pickled,
) -> dict[str, Mapping[Any, Any]]:
    """Write metadata and features of one dataset; return published split to its vectors."""
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(metadata_of(sets), folder / "metadata.pickle", pickle_protocol=2)
    written = {}
    for number, split in enumerate(("train", "val")):
        paths = sorted({path for lists in sets.values() for path, _ in lists[split]}, key=str)
        written[split] = (vectors or {}).get(split) or vectors_of(paths, dim, seed + number)
        write_database(folder / "feats" / extractor / split, written[split], dumps=dumps)
    return written


def metadata_of(sets: Mapping[Any, Lists]) -> dict[str, Any]:
    """Return what the toolkit saves: the class names are those of train, sorted by NumPy."""
    names = {task: list(np.unique([y for _, y in lists["train"]])) for task, lists in sets.items()}
    files = {t: {s: list(pairs) for s, pairs in lists.items()} for t, lists in sets.items()}
    return {"file_names": files, "class_names": names}


def tar_of(folder: Path, target: Path, mode: str = "w") -> Path:
    """Pack the datasets below a folder as the published tar."""
    with tarfile.open(target, mode) as archive:
        for path in sorted(folder.iterdir()):
            archive.add(path, arcname=f"stream_feats/{path.name}")
    return target


def simple_sets(classes: int = 3, train: int = 12, val: int = 6, prefix: str = "zip/") -> dict:
    """Return one label set ``none``: paths ``<prefix><class>/<number>.jpg``."""
    lists = {
        split: [(f"{prefix}c{i % classes}/{split}{i:03d}.jpg", f"c{i % classes}") for i in range(n)]
        for split, n in (("train", train), ("val", val))
    }
    return {"none": lists}
