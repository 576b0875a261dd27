"""Feature sets: all shards of one dataset by one encoder, as one table of rows.

``record.json`` beside the shards is written last: a feature set without it is not
finished. Writing single shards is the business of `autods.features.shards`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from autods.core.files import read_json, write_json
from autods.core.registry import nearest
from autods.core.root import DataRoot
from autods.core.seals import BrokenSealError, trailer_of
from autods.core.shell import quoted
from autods.errors import FeatureMismatch, FeaturesMissing, StoreError
from autods.features.content import open_shards
from autods.features.encoder_names import typed_options
from autods.features.shards import (
    CODES,
    FORMAT,
    SHARD_NAME,
    SHARD_SPLITS,
    Array,
    Shard,
    ShardInfo,
    broken,
)


@dataclass(frozen=True, eq=False, repr=False)
class StoredFeatures:
    """All shards of one dataset by one encoder, as one table of N rows.

    Rows are numbered over the shards in the order train, dev, test, extra.
    """

    encoder: str
    dataset: str
    shards: tuple[Shard, ...]

    def __repr__(self) -> str:
        return (
            f"StoredFeatures({self.dataset!r} by {self.encoder!r}, {self.starts[-1]:,} rows, "
            f"{self.dim} dimensions, {len(self.shards)} shards)"
        )

    @property
    def info(self) -> ShardInfo:
        """What all shards have in common (that of the first shard)."""
        return self.shards[0].info

    @property
    def dim(self) -> int:
        """Width d of the features."""
        return int(self.shards[0].features.shape[1])

    @cached_property
    def starts(self) -> npt.NDArray[np.int64]:
        """First row of each shard, and N: int64 [shards + 1]."""
        return np.cumsum([0, *map(len, self.shards)], dtype=np.int64)

    @cached_property
    def content_hash(self) -> npt.NDArray[np.uint64]:
        """Content hash of every row: uint64 [N]."""
        return np.concatenate([shard.content_hash for shard in self.shards])

    def labels(self, task: str) -> npt.NDArray[np.int32]:
        """Class number of every row in a task's own numbering, -1 for none: int32 [N]."""
        return np.concatenate([shard.labels[task] for shard in self.shards])

    def membership(self, protocol: str) -> npt.NDArray[np.uint8]:
        """Split of every row under a protocol, as `CODES`: uint8 [N].

        If no shard stores the protocol, the split is the one the shard belongs to.
        """
        return np.concatenate(
            [
                shard.splits[protocol]
                if protocol in shard.splits
                else np.full(len(shard), CODES.get(shard.info.split, 0), np.uint8)
                for shard in self.shards
            ]
        )

    def rows(self, split: str, protocol: str = "clean") -> npt.NDArray[np.int64]:
        """Return the rows of a split under a protocol, ascending: int64 [n]."""
        return np.flatnonzero(self.membership(protocol) == CODES[split])

    def take(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float16]:
        """Return the features of ascending rows: float16 [n, d].

        Neighbouring rows of one shard come as a view of the memory map, nothing is copied;
        anything else is gathered into new memory.
        """
        cuts = np.searchsorted(rows, self.starts)
        pieces = [
            _pick(shard.features, rows[cuts[i] : cuts[i + 1]] - self.starts[i])
            for i, shard in enumerate(self.shards)
            if cuts[i + 1] > cuts[i]
        ]
        if not pieces:
            return self.shards[0].features[:0]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def gather(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float16]:
        """Copy the features of rows in any order: float16 [n, d]. Only their pages are read."""
        out = np.empty((len(rows), self.dim), np.float16)
        shard_of = np.searchsorted(self.starts, rows, side="right") - 1
        for number in np.unique(shard_of):
            own = shard_of == number
            out[own] = self.shards[number].features[rows[own] - self.starts[number]]
        return out


def open_features(root: DataRoot, encoder: str, dataset: str) -> StoredFeatures:
    """Open a finished feature set.

    Raises `FeaturesMissing` when there is none (the message names the command that makes it),
    `StoreError` when a shard named by the record is missing or damaged, and `FeatureMismatch`
    when shards come from different encoders or manifests.
    """
    record_path = root.feature_record(encoder, dataset)
    if not record_path.is_file():
        raise features_missing(root, encoder, dataset)
    try:
        record = read_json(record_path)
        expected, seals = record["shards"], record.get("seals")
        if not _is_of(expected, int) or not (seals is None or _is_of(seals, str)):
            raise ValueError("of shards by name it has no numbers of rows, or no hashes")
    except BrokenSealError as error:
        raise StoreError(broken(record_path, f"{error}")) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise StoreError(broken(record_path, "is not the record of a feature set")) from None
    stored = read_all_shards(root, encoder, dataset)
    lengths = {shard.path.name: len(shard) for shard in stored.shards}
    if lengths != expected:
        different = sorted(set(lengths.items()) ^ set(expected.items()))[0][0]
        raise StoreError(
            f"{record_path}: lists {len(expected)} shards, the folder holds {len(lengths)}; they "
            f"differ first at {different}; nothing was changed. Run the same extract or import "
            "command again."
        )
    if seals is not None and seals != trailers(stored):
        different = sorted(set(seals.items()) ^ set(trailers(stored).items()))[0][0]
        path = stored.shards[0].path.with_name(different)
        raise StoreError(broken(path, "is not the shard that the record states"))
    return stored


def _is_of(value: Any, kind: type) -> bool:
    return isinstance(value, dict) and all(type(one) is kind for one in value.values())


def list_features(root: DataRoot, encoder: str) -> list[str]:
    """List the datasets that have finished features by an encoder, sorted."""
    folder = root.path / "features" / encoder
    return sorted(path.parent.name for path in folder.glob("*/record.json"))


def list_encoders(root: DataRoot) -> list[str]:
    """List the encoders that have finished features of any dataset, sorted."""
    return sorted({p.parent.parent.name for p in root.path.glob("features/*/*/record.json")})


def seal_features(root: DataRoot, encoder: str, dataset: str) -> StoredFeatures:
    """Check that all shards are present and fit together; write ``record.json`` last."""
    stored = read_all_shards(root, encoder, dataset)
    described = describe_features(stored)
    if seals := trailers(stored):
        described["seals"] = seals
    write_json(root.feature_record(encoder, dataset), described)
    return stored


def trailers(stored: StoredFeatures) -> dict[str, str]:
    """Return the sha256 at the end of each shard, by name; earlier versions wrote none."""
    paths = [shard.path for shard in stored.shards]
    return {path.name: written for path in paths if (written := trailer_of(path))}


def describe_features(stored: StoredFeatures) -> dict[str, Any]:
    """Return the content of a feature set's ``record.json``, derived from its shards alone."""
    info = stored.info
    splits = dict.fromkeys(SHARD_SPLITS, 0)
    for shard in stored.shards:
        splits[shard.info.split] += len(shard)
    return {
        "format": FORMAT,
        "dataset": stored.dataset,
        "encoder": dict(info.encoder),
        "fingerprint": info.fingerprint,
        "samples_sha256": info.samples_sha256,
        "dim": stored.dim,
        "default_task": info.default_task,
        "classes": {task: len(names) for task, names in info.class_names.items()},
        "hashed": info.hashed,
        "origin": dict(info.origin),
        "splits": splits,
        "shards": {shard.path.name: len(shard) for shard in stored.shards},
        "unreadable": [list(row) for shard in stored.shards for row in shard.info.unreadable],
    }


def read_all_shards(root: DataRoot, encoder: str, dataset: str) -> StoredFeatures:
    """Open every shard of a feature set, finished or not, and check that they fit together.

    Those that were touched since they were last hashed are hashed again.
    """
    folder = root.features(encoder, dataset)
    found = [m for p in sorted(folder.glob("*.h5")) if (m := SHARD_NAME.fullmatch(p.name))]
    if not found:
        raise features_missing(root, encoder, dataset)
    counts: dict[str, set[int]] = {split: set() for split in SHARD_SPLITS}
    for match in found:
        counts[match[1]].add(int(match[3]))
    for split, sizes in counts.items():
        names = {m[0] for m in found if m[1] == split}
        wanted = {root.shard(encoder, dataset, split, i, c).name for c in sizes for i in range(c)}
        if len(sizes) > 1 or names != wanted:
            raise StoreError(
                f"{folder}: expected one whole set of {split} shards, missing or of another "
                f"count: {', '.join(sorted(names ^ wanted)[:3] or sorted(names)[:3])}; nothing was "
                "changed. Run the same extract command again, or move the folder away first."
            )
    ordered = sorted(found, key=lambda m: (SHARD_SPLITS.index(m[1]), int(m[2])))
    paths = [folder / match[0] for match in ordered]
    shards = tuple(open_shards(paths))
    for shard in shards[1:]:
        check_same_source(shards[0], shard)
    return StoredFeatures(encoder, dataset, shards)


def check_same_source(first: Shard, other: Shard) -> None:
    """Raise `FeatureMismatch` unless two shards of a dataset come from the same source."""
    one, two = _source(first), _source(other)
    different = [key for key in one.keys() | two.keys() if one.get(key) != two.get(key)]
    if different:
        key = min(different)
        raise FeatureMismatch(
            f"{first.path.name} and {other.path.name} in {other.path.parent} do not belong "
            f"together: {key} is {one.get(key)!s:.80} in the first and {two.get(key)!s:.80} in "
            "the second; nothing was changed. Move the folder away and extract or import again."
        )


def _source(shard: Shard) -> dict[str, Any]:
    """Return what all shards of a feature set share."""
    info = shard.info
    return {
        "dataset": info.dataset,
        "manifest sha256": info.fingerprint,
        "sample index sha256": info.samples_sha256,
        "class names": info.class_names,
        "default task": info.default_task,
        "hashed": info.hashed,
        "origin": info.origin,
        "dimensions": shard.features.shape[1],
        **{f"encoder {key}": value for key, value in info.encoder.items()},
    }


def _pick(features: Array, rows: npt.NDArray[np.int64]) -> Array:
    first, last = int(rows[0]), int(rows[-1])
    if last - first + 1 == len(rows):
        return features[first : last + 1]
    return features[rows]


def features_missing(root: DataRoot, encoder: str, dataset: str) -> FeaturesMissing:
    """Build the error for a dataset without features by this encoder: which encoders have some."""
    others = sorted(
        path.parent.parent.name
        for path in root.path.joinpath("features").glob(f"*/{dataset}/record.json")
    )
    started = any(root.features(encoder, dataset).glob("*.h5"))
    state = "are not finished" if started else "were not extracted or imported yet"
    have = f"features of '{dataset}' exist for: {', '.join(others)}" if others else ""
    if near := nearest(encoder, others):
        have = f"did you mean {', '.join(near)}? {have[0].upper()}{have[1:]}"
    return FeaturesMissing(
        f"features of dataset '{dataset}' by encoder '{encoder}' {state} under {root.path}; "
        f"{have or 'no encoder has features of it'}. Run `autods extract {quoted(dataset)} "
        f"{typed_options(encoder)} --root {quoted(root.path)}`, or `autods import-features` for "
        "features made elsewhere."
    )
