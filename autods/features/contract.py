"""What a shard must be, stated and checked in one place; run in a child process for HDF5's sake.

See `autods.features.shards` for what the arrays and attributes mean.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from autods.core.limited import ParserFailed, call
from autods.errors import StoreError
from autods.features.shards import CODES, READERS, SHARD_SPLITS, Array, ShardInfo, broken

if TYPE_CHECKING:
    import h5py

ARRAYS = {"features": "<f2", "label": "<i4", "sample": "<i8", "content_hash": "<u8"}
GROUPS = {"labels": "<i4", "splits": "|u1"}  # arrays by label set, and by protocol
KINDS = {f.name: (int, np.integer) if f.type == "int" else str for f in fields(ShardInfo)}
HASHED = ("image", "features")
MOST = 1000  # arrays in a group


def check_shard(path: Path) -> None:
    """Raise `StoreError` unless a file is a shard as the format has them.

    Everything is checked but the bytes against their hash, and that features are finite.
    """
    try:
        with path.open("rb") as handle:
            problem = call(f"{__name__}:problem_of", handle)
    except OSError as error:
        what = "it does not exist" if isinstance(error, FileNotFoundError) else str(error)
        raise StoreError(broken(path, f"cannot be read as a feature shard: {what}")) from None
    except ParserFailed as error:
        raise StoreError(broken(path, f"cannot be read as a feature shard: {error}")) from None
    if problem == "incomplete":
        raise StoreError(broken(path, "was not written to its end"))
    if isinstance(problem, tuple):
        raise StoreError(
            f"{path}: expected format version {max(READERS)}, got {problem[0]}; nothing was read. "
            "Use the version of autods that wrote it, or extract again."
        )
    if problem is not None:
        raise StoreError(broken(path, f"is no feature shard: {problem}"))


def problem_of(handle: BinaryIO) -> str | tuple[str] | None:
    """Return what is wrong with a shard, ``None`` if nothing is; a version that is not read."""
    import h5py

    size = handle.seek(0, os.SEEK_END)
    with h5py.File(handle, "r") as file:
        attributes = dict(file.attrs)
        if "format" not in attributes:
            return "incomplete"
        version: Any = attributes["format"]
        if not isinstance(version, int | np.integer):
            return "its format version is no number"
        if version not in READERS:
            return (str(version),)
        complete = attributes.get("complete", False)
        if not isinstance(complete, np.bool_ | bool | np.integer) or not complete:
            return "incomplete"
        for name, kind in KINDS.items():
            if name in attributes and not isinstance(attributes[name], kind):
                return f"attribute '{name}' is of another type"
        info = READERS[int(version)](attributes)
        return next(_problems(file, size, info), None)


def _problems(file: h5py.File, size: int, info: ShardInfo) -> Iterator[str]:
    """Yield the problems, those first without which the later ones cannot be looked for."""
    arrays: dict[str, h5py.Dataset] = {}
    yield from _arrays(file, size, arrays)
    yield from _shapes(arrays)
    yield from _facts(info)
    yield from _values(info, arrays)


def _arrays(file: h5py.File, size: int, arrays: dict[str, h5py.Dataset]) -> Iterator[str]:
    """Collect the arrays by their names; yield what is no plain array of the right type."""
    import h5py

    for name in file:
        if name not in ARRAYS and name not in GROUPS:
            yield f"it holds '{name}', which no shard has"
        if not isinstance(file.get(name, getlink=True), h5py.HardLink):
            yield f"'{name}' is a link to somewhere else"
        if name in ARRAYS:
            yield from _array(file, name, ARRAYS[name], size, arrays)
            continue
        group = file.get(name)
        if not isinstance(group, h5py.Group) or len(group) > MOST:
            yield f"'{name}' is no group of arrays"
        for inner in group:
            if not isinstance(group.get(inner, getlink=True), h5py.HardLink):
                yield f"'{name}/{inner}' is a link to somewhere else"
            yield from _array(file, f"{name}/{inner}", GROUPS[name], size, arrays)
    if missing := [name for name in ARRAYS if name not in arrays]:
        yield f"it has no array '{missing[0]}'"


def _array(
    file: h5py.File, name: str, dtype: str, size: int, arrays: dict[str, h5py.Dataset]
) -> Iterator[str]:
    import h5py

    array = file.get(name)
    if not isinstance(array, h5py.Dataset):
        yield f"'{name}' is no array"
        return
    if array.is_virtual or array.external:
        yield f"the values of '{name}' lie in other files"
    if array.dtype != np.dtype(dtype) or array.dtype.str != dtype:
        yield f"'{name}' is of type {array.dtype.str}, expected {dtype}"
    offset = array.id.get_offset()
    if not array.size:
        pass  # it has no values, and no place
    elif array.chunks or offset is None:
        yield f"'{name}' is not stored contiguously"
    elif offset + array.size * array.dtype.itemsize > size:
        yield f"'{name}' ends after the file"
    arrays[name] = array


def _shapes(arrays: Mapping[str, h5py.Dataset]) -> Iterator[str]:
    features = arrays["features"].shape
    if len(features) != 2 or not features[1]:
        yield f"'features' has shape {features}, expected [n, d]"
    for name, array in arrays.items():
        if name != "features" and array.shape != features[:1]:
            yield f"'{name}' has shape {array.shape}, expected {features[:1]}"


def _facts(info: ShardInfo) -> Iterator[str]:
    """Yield what is wrong with the attributes."""
    texts = (info.dataset, info.default_task, info.fingerprint, info.samples_sha256)
    if not all(isinstance(text, str) for text in texts):
        yield "its attributes hold no texts"
    if info.split not in SHARD_SPLITS or info.hashed not in HASHED:
        yield f"its split is '{info.split}', its hashes are of '{info.hashed}'"
    if not 0 <= info.start <= info.stop or not 0 <= info.index < info.count:
        yield f"it is number {info.index} of {info.count}, rows {info.start} to {info.stop}"
    if not isinstance(info.encoder, dict) or not isinstance(info.origin, dict):
        yield "its encoder or origin are no keys with values"
    named = info.class_names
    if not isinstance(named, dict) or not all(_is_list(names, str) for names in named.values()):
        yield "its class names are no lists of texts"
    elif info.default_task not in named:
        yield f"it has no class names of its label set '{info.default_task}'"
    kinds = (int, str, str)
    if not isinstance(info.unreadable, list) or not all(
        isinstance(row, list) and len(row) == len(kinds) and all(map(isinstance, row, kinds))
        for row in info.unreadable
    ):
        yield "its list of unreadable images is none"


def _values(info: ShardInfo, arrays: Mapping[str, h5py.Dataset]) -> Iterator[str]:
    further = {n.removeprefix("labels/"): a for n, a in arrays.items() if n.startswith("labels/")}
    labels = {info.default_task: arrays["label"], **further}
    if set(labels) != set(info.class_names):
        yield "its labels and its class names are of different label sets"
    for task, array in labels.items():
        count = len(info.class_names[task])
        if wrong := _outside(array[()], -1, count):
            yield f"{wrong} labels of task '{task}' are outside 0 to {count - 1}"
    for name, array in arrays.items():
        if name.startswith("splits/") and _outside(array[()], 0, 1 + (last := max(CODES.values()))):
            yield f"split codes of protocol '{name[7:]}' are outside 0 to {last}"
    sample = arrays["sample"][()]
    if len(sample) and (sample[0] < 0 or (np.diff(sample) <= 0).any()):
        yield f"sample ids of {info.split} do not increase from 0 on"


def _outside(values: Array, least: int, end: int) -> int:
    return int(((values < least) | (values >= end)).sum())


def _is_list(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(one, kind) for one in value)
