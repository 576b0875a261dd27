"""A stream of several datasets for the tests of interop: cut into tasks, in another order."""

from pathlib import Path

import numpy as np

from autods.core.root import DataRoot
from autods.core.splits import SPLITS
from autods.interop.imports.from_files import import_files
from autods.streams.open import open_stream
from autods.streams.stream import Stream

ENCODER = "tiny.a"
SIZES = {"birds": 5, "cats": 3, "frogs": 11}
SHARED = "other"  # a class that every dataset has
DIM = 8


def make_root(folder: Path) -> DataRoot:
    """Import three datasets; no two samples are alike, and development parts are cut off."""
    rng = np.random.default_rng(0)
    for name, classes in SIZES.items():
        labels = {"train": np.arange(12 * classes) % classes, "test": np.arange(4 * classes)}
        arrays = {
            "class_names": np.array([SHARED, *(f"{name[:-1]} {c}" for c in range(1, classes))])
        }
        for split, numbers in labels.items():
            y = rng.permutation(numbers % classes)
            arrays[f"x_{split}"] = rng.normal(size=(len(y), DIM)).astype(np.float32) + y[:, None]
            arrays[f"y_{split}"] = y
        np.savez(folder / f"{name}.npz", **arrays)
    root = DataRoot.open(folder / "root")
    import_files(folder, root, ENCODER)
    return root


def open_mixed(root: DataRoot, scenario: str) -> Stream:
    """Open all datasets as five tasks in an order of its own."""
    stream = open_stream(
        "all", root, ENCODER, scenario=scenario, order=3, classes_per_task=4, normalize="none"
    )
    assert [task.name for task in stream.tasks] != sorted(task.name for task in stream.tasks)
    assert len({len(task.class_names) for task in stream.tasks}) > 1
    assert all(len(getattr(task, split)) for task in stream.tasks for split in SPLITS)
    return stream


def names_by_label(stream: Stream) -> dict[int, str]:
    """Return the name of each class by its global label, from the tasks themselves."""
    return {
        task.class_offset + k: name
        for task in stream.tasks
        for k, name in enumerate(task.class_names)
    }
