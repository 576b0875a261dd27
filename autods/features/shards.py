"""HDF5 feature shards: write one, read one. `autods.features.sets` opens all of a dataset.

A shard holds contiguous arrays, so a reader maps them into memory and never keeps an
HDF5 handle.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from autods.core.files import atomic
from autods.core.halves import EXPECTED, unfit_rows, worst
from autods.core.json_texts import parse_json
from autods.core.seals import HEX_DIGITS, trailer_of, with_trailer
from autods.core.splits import SPLITS
from autods.errors import StoreError

FORMAT = 2
SHARD_SPLITS = (*SPLITS, "extra")  # extra: unused by protocol clean, used by another
# Membership in ``splits/<protocol>``; 0 is unused.
CODES = {split: code for code, split in enumerate(SPLITS, start=1)}
SHARD_NAME = re.compile(r"(train|dev|test|extra)-(\d{5})-of-(\d{5})\.h5")

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class ShardData:
    """Arrays of one shard, all of length n.

    ``splits`` has protocol to uint8 [n] (`CODES`), if its splits are not the shard's.
    """

    features: npt.NDArray[np.float16]  # float16 [n, d], as the encoder gives them (not normalised)
    labels: Mapping[str, npt.NDArray[np.int32]]  # task to int32 [n], -1 for none
    sample: npt.NDArray[np.int64]  # int64 [n], strictly increasing: rows of the sample index
    content_hash: npt.NDArray[np.uint64]  # uint64 [n]; see ``ShardInfo.hashed``
    splits: Mapping[str, npt.NDArray[np.uint8]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.sample)


@dataclass(frozen=True)
class ShardInfo:
    """What a shard is: stored as attributes, so that a shard alone is enough to train from.

    ``origin`` is for imported features: source file, padding, held-out part.
    """

    dataset: str
    split: str
    default_task: str
    class_names: Mapping[str, Sequence[str]]  # task name to its ordered class names
    encoder: Mapping[str, Any]  # its provenance
    fingerprint: str  # sha256 of the manifest, or of the file that was imported
    samples_sha256: str  # `digest_samples` of the index; empty for imports
    start: int  # range within the split, unreadable images included
    stop: int
    index: int  # number of the shard
    count: int  # shards of the split
    unreadable: Sequence[Sequence[Any]] = ()  # ``[sample, path, reason]``
    hashed: str = "image"  # what ``content_hash`` is of: ``image`` or ``features``
    origin: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, kw_only=True)
class Shard(ShardData):
    """One shard on disk: read-only memory maps of its arrays, and what it is."""

    path: Path
    info: ShardInfo


def write_shard(path: Path, data: ShardData, info: ShardInfo) -> None:
    """Write one shard atomically; the same input gives the same bytes.

    Raises `ValueError` for wrong lengths or dtypes, and for rows that float16 does not hold (not
    finite, or so small that digits are lost), of which whoever converts them tells the user. When
    the disk is full, no file is left.
    """
    attributes = {**plain_values(asdict(info)), "format": FORMAT, "normalisation": "none"}
    attributes["complete"] = True
    # Alignment suits memory maps.
    layout = {"alignment_threshold": 1, "alignment_interval": 64}
    write_hdf5(path, _arrays(data, info), attributes, **layout)


def read_shard(path: Path) -> Shard:
    """Map one shard into memory; only its attributes are read.

    Raises `StoreError` for a file that is absent, cut off, damaged or of another format version.
    """
    try:
        if 0 < len(trailer_of(path)) < HEX_DIGITS:
            raise ValueError("it was cut off")
        with h5py.File(path, "r", locking=False) as file:
            _check_whole(path, file)
            info = READERS[int(file.attrs["format"])](file.attrs)
            locations = {name: _location(file[name]) for name in _dataset_names(file)}
        raw = np.memmap(path, dtype=np.uint8, mode="r")
        arrays = {name: _map(raw, *location) for name, location in locations.items()}
        labels = {n[7:]: a for n, a in arrays.items() if n.startswith("labels/")}
        return Shard(
            features=arrays["features"],
            labels={info.default_task: arrays["label"], **labels},
            sample=arrays["sample"],
            content_hash=arrays["content_hash"],
            splits={n[7:]: a for n, a in arrays.items() if n.startswith("splits/")},
            path=path,
            info=info,
        )
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        cause = "it does not exist" if isinstance(error, FileNotFoundError) else f"{error}"
        raise StoreError(broken(path, f"cannot be read as a feature shard: {cause}")) from None


def _arrays(data: ShardData, info: ShardInfo) -> dict[str, Array]:
    """Name every array as the file does, with its little-endian dtype."""
    further = {t: a for t, a in data.labels.items() if t != info.default_task}
    arrays: dict[str, tuple[Array, str]] = {
        "features": (data.features, "<f2"),
        "label": (data.labels[info.default_task], "<i4"),
        "sample": (data.sample, "<i8"),
        "content_hash": (data.content_hash, "<u8"),
        **{f"labels/{task}": (array, "<i4") for task, array in sorted(further.items())},
        **{f"splits/{name}": (array, "|u1") for name, array in sorted(data.splits.items())},
    }
    for name, (array, dtype) in arrays.items():
        if array.dtype != np.dtype(dtype) or len(array) != len(data):
            raise ValueError(
                f"shard array '{name}': expected {np.dtype(dtype)} of length {len(data)}, "
                f"got {array.dtype} of length {len(array)}"
            )
    if data.features.ndim != 2 or data.features.shape[1] == 0:
        raise ValueError(f"shard features: expected [n, d > 0], got {data.features.shape}")
    if (unfit := unfit_rows(data.features)).any():
        row = int(unfit.argmax())
        raise ValueError(
            f"shard features, row {row}: expected {EXPECTED}, got {worst(data.features[row])}"
        )
    if set(data.labels) != set(info.class_names):
        raise ValueError("shard labels and class names are of different tasks")
    return {name: np.ascontiguousarray(array, dtype) for name, (array, dtype) in arrays.items()}


def plain_values(record: Mapping[str, Any]) -> dict[str, str | int]:
    """Return a record as attributes of a file: texts and integers as they are, the rest as JSON."""
    return {
        key: value if isinstance(value, str | int) else json.dumps(value, sort_keys=True)
        for key, value in record.items()
    }


def read_values(attrs: Mapping[str, Any], record: type, without: str = "") -> dict[str, Any]:
    """Return the fields of a dataclass from attributes as `plain_values` gives them."""
    plain: dict[Any, Any] = {"str": str, "int": int}  # fields of other types are JSON
    wanted = [f for f in fields(record) if f.name != without]
    return {f.name: plain.get(f.type, parse_json)(attrs[f.name]) for f in wanted}


def write_hdf5(
    path: Path, arrays: Mapping[str, Array], attributes: Mapping[str, str | int], **layout: int
) -> None:
    """Write an HDF5 file and its hash atomically, with options of ``h5py.File`` for its layout.

    Made in memory: on a full disk HDF5 can neither write nor close, and takes the process down.
    """
    # v110 keeps attributes above 64 KiB (class names).
    memory: Any = {"driver": "core", "backing_store": False, "libver": ("v110", "v110")}
    with h5py.File("memory", "w", **memory, **layout) as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array, track_times=False)
        for key, value in attributes.items():
            file.attrs[key] = value
        file.flush()
        image = bytes(file.id.get_file_image())
    with atomic(path) as temporary:
        temporary.write_bytes(with_trailer(image))


def _check_whole(path: Path, file: h5py.File) -> None:
    version = file.attrs.get("format")
    if version is not None and version not in READERS:
        raise StoreError(
            f"{path}: expected format version {FORMAT}, got {version}; nothing was read. "
            "Use the version of autods that wrote it, or extract again."
        )
    if not file.attrs.get("complete", False):
        raise StoreError(broken(path, "was not written to its end"))


def _info(attrs: Mapping[str, Any]) -> ShardInfo:
    return ShardInfo(**read_values(attrs, ShardInfo))


# By format version: the current one, and the one before it, so that a new format does not mean
# to extract everything again. Shards of version 1 do not say which sample index they are of.
READERS: dict[int, Callable[[Mapping[str, Any]], ShardInfo]] = {
    FORMAT: _info,
    1: lambda attrs: _info({**attrs, "samples_sha256": ""}),
}


def _dataset_names(file: h5py.File) -> list[str]:
    names: list[str] = []
    file.visititems(lambda n, obj: names.append(n) if isinstance(obj, h5py.Dataset) else None)
    return names


def _location(dataset: h5py.Dataset) -> tuple[int, np.dtype[Any], tuple[int, ...]]:
    """Return offset in bytes, dtype and shape; an array without rows has no location."""
    offset = dataset.id.get_offset()
    if offset is None and dataset.size:
        raise ValueError(f"array '{dataset.name}' is not stored contiguously")
    return offset or 0, dataset.dtype, dataset.shape


def _map(raw: Array, offset: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    size = int(np.prod(shape)) * dtype.itemsize
    return raw[offset : offset + size].view(dtype).reshape(shape)


def broken(path: Path, what: str) -> str:
    """Return the message about an unusable file of a feature set, with the cure."""
    return (
        f"{path}: {what}; it was not used and not changed. Delete this file and run the same "
        "extract or import command again: only what is missing is made anew."
    )
