"""Read a dataset's ``metadata.pickle``: which file has which label, in which published split.

Known from the public source of its writer: a dict saved by ``torch.save`` with ``file_names``
(label set, then ``train`` or ``val``, then pairs of relative path and label) and
``class_names`` (label set, then the sorted labels of train). A dataset without label sets of
its own has one called ``none``. Labels are text or numbers; paths are text, numbers (rows of
a table) or objects of ``pathlib``; further keys (``corrupt_files``, ``subset_indices``) are of
no use here. Since no released file was at hand, what the source leaves open is accepted:
bytes for text, tuples or arrays for lists, ``None`` for ``none``, no level of label sets.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from autods.core import pickles
from autods.errors import ContainerError, LayoutError, UnsafePickle
from autods.interop.published.archive import SPLITS, Stored
from autods.manifest.schema import TASK

Positions = Mapping[bytes, int]  # key of a feature to its number in the order of the keys
ONLY = "class"  # what a dataset's only label set is called here, as in the manifests


@dataclass(frozen=True, eq=False)
class Listed:
    """The files of a split under one label set, in the published order.

    ``feature``, int64 [n], are numbers of features as in `Positions`; ``labels``, int32 [n],
    positions in the class names.
    """

    feature: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class LabelSet:
    """One labelling: its class names, and the list of each published split."""

    class_names: list[str]
    splits: dict[str, Listed]


def read_metadata(file: Stored, positions: Mapping[str, Positions]) -> dict[str, LabelSet]:
    """Return the label sets of a dataset by their names, in the order of the file.

    The class names are the published ones, followed by those that only occur as labels (of
    val, which the published list leaves out), sorted. ``positions`` maps the published split to
    each feature's key (the UTF-8 of its path) and number.

    Raises `UnsafePickle` if the file asks for anything but data; nothing of it is run.
    """
    try:
        with file.open() as handle:
            content = pickles.load_torch(handle)
    except UnsafePickle as error:
        raise UnsafePickle(f"{file.shown}: {error}") from None
    except ValueError as error:
        raise ContainerError(f"{file.shown}: not a file of torch.save: {error}") from None
    top = _mapping(file, "its content", content)
    del content  # what was read is freed: there can be millions of files
    if "file_names" not in top:
        raise _wrong(file, "its content", "a key 'file_names'", _listed(top))
    files, names = _mapping(file, "file_names", top.pop("file_names")), top.get("class_names", {})
    if set(SPLITS) <= set(files):
        files, names = {"none": files}, {"none": names}
    named = _mapping(file, "class_names", names)
    sets: dict[str, LabelSet] = {}
    for published in list(files):
        task = ONLY if published == "none" else published
        if not TASK.fullmatch(task) or task in sets:
            raise _wrong(
                file, "file_names", "distinct plain names of label sets", reprlib.repr(published)
            )
        where = f"file_names of '{published}'"
        splits = _mapping(file, where, files.pop(published))
        sets[task] = _label_set(file, where, splits, named.get(published, ()), positions)
    if not sets:
        raise _wrong(file, "file_names", "at least one label set", "none")
    return sets


def _label_set(
    file: Stored,
    where: str,
    splits: dict[str, Any],
    names: Any,
    positions: Mapping[str, Positions],
) -> LabelSet:
    for split in SPLITS:
        if split not in splits:
            raise _wrong(file, where, f"splits {' and '.join(SPLITS)}", _listed(splits))
    if isinstance(names, str | bytes) or not _is_row(names):
        raise _wrong(file, f"class_names beside {where}", "a list", type(names).__name__)
    class_names = [_text(file, "class_names", name) for name in names]
    number = {name: position for position, name in enumerate(class_names)}
    if len(number) < len(class_names):
        raise _wrong(file, f"class_names beside {where}", "distinct names", class_names)
    lists = {
        split: _read_list(file, f"{where}, {split}", splits.pop(split), number, positions[split])
        for split in SPLITS
    }
    # Labels beyond the published names are numbered as they came, and sorted among themselves.
    further = list(number)[len(class_names) :]
    renumbered = np.arange(len(number), dtype=np.int32)
    renumbered[len(class_names) + np.argsort(further)] = range(len(class_names), len(number))
    read = {
        split: Listed(feature, renumbered[labels]) for split, (feature, labels) in lists.items()
    }
    return LabelSet([*class_names, *sorted(further)], read)


def _read_list(
    file: Stored, where: str, rows: Any, number: dict[str, int], positions: Positions
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Return the feature and the label of every row; ``number`` grows by labels not in it."""
    if isinstance(rows, Mapping):
        rows = list(rows.items())
    if not _is_row(rows):
        raise _wrong(file, where, "a list of pairs", type(rows).__name__)
    features, labels = np.empty(len(rows), np.int64), np.empty(len(rows), np.int32)
    for place, row in enumerate(rows):
        if not _is_row(row) or len(row) != 2:
            raise _wrong(file, where, "pairs of path and label", reprlib.repr(row))
        path, label = row
        if type(path) is not str:
            path = _text(file, where, path)
        if type(label) is not str:
            label = _text(file, where, label)
        features[place] = positions.get(path_key(path), -1)
        labels[place] = number.setdefault(label, len(number))
    absent = np.flatnonzero(features < 0)
    if len(absent):
        expected = f"a feature of each of the {len(rows):,} files"
        got = f"none of {len(absent):,}, the first being '{_text(file, where, rows[absent[0]][0])}'"
        raise _wrong(file, where, expected, got)
    return features, labels


def path_key(path: str) -> bytes:
    """Return the key under which the features of a path are stored."""
    return path.encode(errors="surrogateescape")


def _is_row(value: Any) -> bool:
    return isinstance(value, list | tuple | np.ndarray)


def _text(file: Stored, where: str, value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="surrogateescape")
    if value is None or not isinstance(value, str | int | float | np.generic):
        raise _wrong(file, where, "text or a number", type(value).__name__)
    return str(value)


def _mapping(file: Stored, where: str, value: Any) -> dict[str, Any]:
    """Return a copy of a dict with text as keys; ``None`` counts as ``none``."""
    if not isinstance(value, Mapping):
        raise _wrong(file, where, "a dict", type(value).__name__)
    copied = {"none" if k is None else _text(file, where, k): v for k, v in value.items()}
    if len(copied) < len(value):
        raise _wrong(file, where, "distinct keys", _listed(copied))
    return copied


def _listed(found: Mapping[str, Any]) -> str:
    return f"only {', '.join(found) or 'none'}"[:200]


def _wrong(file: Stored, where: str, expected: str, got: object) -> LayoutError:
    return LayoutError(f"{file.shown}: {where}: expected {expected}, got {got}")
