"""Check stored features exhaustively; opening a stream checks only what is cheap."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

import numpy as np

from autods.core.files import read_json
from autods.core.registry import unknown_dataset, unknown_encoder
from autods.core.root import DataRoot
from autods.core.seals import CHANGED, BrokenSealError, is_whole
from autods.encode.plan import digest_samples
from autods.errors import AutodsError
from autods.features.class_names import check_texts
from autods.features.sets import StoredFeatures, describe_features, read_all_shards, trailers
from autods.features.shards import CODES, FORMAT, READERS, Shard, broken
from autods.index.samples import load_samples

BLOCK = 65_536  # rows looked at once


def verify_features(
    root: DataRoot, encoder: str | None = None, names: Iterable[str] = ()
) -> list[str]:
    """Check feature sets and return their problems, one sentence each.

    Every shard opens and is complete, all shards of a set are there and belong together,
    features are finite, labels lie within their classes, sample ids increase through a split
    and belong to one split only, the counts agree with the sample index if there is one, and
    ``record.json`` says what the shards say. Embedded class names beside the features are of
    their classes and width, and of length 1.

    Without an encoder or names, all features under the root are checked; `UnknownName` if a
    named encoder or dataset has none.
    """
    # Finished or not: a folder that holds a shard or a record is looked at.
    files = [*root.path.glob("features/*/*/*.h5"), *root.path.glob("features/*/*/record.json")]
    folders = {path.parent for path in files} | {path.parent.parent for path in root.texts()}
    sets = sorted((folder.parent.name, folder.name) for folder in folders)
    if encoder is not None:
        if encoder not in (encoders := {one for one, _ in sets}):
            raise unknown_encoder(encoder, encoders, f"under {root.path}")
        sets = [(one, name) for one, name in sets if one == encoder]
    wanted = list(names)
    for name in wanted:
        if name not in (known := {one for _, one in sets}):
            raise unknown_dataset("dataset", name, known)
    return [
        problem
        for one, name in sets
        if not wanted or name in wanted
        for problem in (*_feature_set(root, one, name), *check_texts(root, one, name))
    ]


def unhashed_features(root: DataRoot, encoder: str | None, name: str) -> list[str]:
    """Return a note for each feature set of a dataset whose shards have no hashes."""
    notes = []
    for path in sorted(root.path.glob(f"features/{encoder or '*'}/{name}/record.json")):
        with suppress(AutodsError):  # `verify_features` tells it
            stored = read_all_shards(root, path.parent.parent.name, name)
            if old := len(stored.shards) - len(trailers(stored)):
                notes.append(
                    f"{path.parent}: {old} of {len(stored.shards)} shards have no hash: an earlier "
                    "version wrote them. They are read; a changed bit would not be found."
                )
    return notes


def _feature_set(root: DataRoot, encoder: str, name: str) -> Iterator[str]:
    folder = root.features(encoder, name)
    if not any(folder.glob("*.h5")) and not root.feature_record(encoder, name).exists():
        return  # class names embedded before anything was extracted
    changed = [path for path in sorted(folder.glob("*.h5")) if not is_whole(path)]
    if changed:
        yield from (broken(path, CHANGED) for path in changed)
        return
    try:
        stored = read_all_shards(root, encoder, name)
    except AutodsError as error:
        yield str(error)
        return
    for shard in stored.shards:
        yield from (f"{shard.path}: {problem}" for problem in _shard(shard, encoder, name))
    yield from (f"{encoder}/{name}: {problem}" for problem in _ids(stored))
    yield from _record(root, stored)
    yield from _index(root, stored)


def _shard(shard: Shard, encoder: str, name: str) -> Iterator[str]:
    """Yield the problems within one shard."""
    info = shard.info
    expected = f"{info.split}-{info.index:05d}-of-{info.count:05d}.h5"
    if shard.path.name != expected or info.dataset != name:
        yield f"expected {name}/{shard.path.name}, it says it is {info.dataset}/{expected}."
    if len(shard) + len(info.unreadable) != info.stop - info.start:
        yield (
            f"{len(shard)} rows and {len(info.unreadable)} unreadable images, expected "
            f"{info.stop - info.start} together."
        )
    blocks = range(0, len(shard), BLOCK)
    bad = sum(int((~np.isfinite(shard.features[i : i + BLOCK])).any(1).sum()) for i in blocks)
    if bad:
        yield f"{bad} rows hold numbers that are not finite."
    for task, labels in shard.labels.items():
        count = len(info.class_names[task])
        outside = int(((labels < -1) | (labels >= count)).sum())
        if outside:
            yield f"{outside} labels of task '{task}' are outside 0 to {count - 1}."
    for protocol, codes in shard.splits.items():
        if len(codes) and codes.max() > max(CODES.values()):
            yield f"split codes of protocol '{protocol}' are outside 0 to {max(CODES.values())}."


def _ids(stored: StoredFeatures) -> Iterator[str]:
    """Yield the problems of sample ids across all shards."""
    by_split: dict[str, list[Shard]] = {}
    for shard in stored.shards:
        by_split.setdefault(shard.info.split, []).append(shard)
    for split, shards in by_split.items():
        if (np.diff(np.concatenate([s.sample for s in shards])) <= 0).any():
            yield f"sample ids of {split} do not increase from row to row."
        stops = [0, *(shard.info.stop for shard in shards)]
        if [shard.info.start for shard in shards] != stops[:-1]:
            yield f"the row ranges of the {split} shards do not follow each other."
    ids = np.concatenate([shard.sample for shard in stored.shards])
    twice = len(ids) - len(np.unique(ids))
    if twice:
        yield f"{twice} samples occur in more than one row."


def _record(root: DataRoot, stored: StoredFeatures) -> Iterator[str]:
    path = root.feature_record(stored.encoder, stored.dataset)
    try:
        record = read_json(path)
    except FileNotFoundError:
        yield f"{path}: missing: the feature set is not finished. Run the same command again."
        return
    except BrokenSealError as error:
        yield broken(path, f"{error}")
        return
    except (ValueError, RecursionError) as error:
        yield f"{path}: not valid JSON: {error}."
        return
    if not isinstance(record, dict):
        yield f"{path}: expected an object, got {type(record).__name__}."
        return
    seals = record.pop("seals", None)
    actual = describe_features(stored)
    keys = actual.keys() | record.keys()
    if (version := record.get("format")) != FORMAT and version in [*READERS]:
        keys = (actual.keys() & record.keys()) - {"format"}  # others came or went since
    for key in sorted(keys):
        if record.get(key) != actual.get(key):
            yield (
                f"{path}: {key}: the shards say {actual.get(key)!s:.80}, the record says "
                f"{record.get(key)!s:.80}."
            )
    if seals is not None and seals != trailers(stored):
        yield f"{path}: its hashes are not those of the shards."


def _index(root: DataRoot, stored: StoredFeatures) -> Iterator[str]:
    """Compare with the sample index, if the dataset was indexed under this root."""
    info = stored.info
    if info.hashed != "image" or not root.samples(stored.dataset).is_file():
        return
    where = f"{stored.encoder}/{stored.dataset}"
    try:
        index = load_samples(root, stored.dataset)
    except AutodsError as error:
        yield str(error)
        return
    if index.fingerprint != info.fingerprint:
        yield (
            f"{where}: made from manifest {info.fingerprint[:12]}, the sample index from "
            f"{index.fingerprint[:12]}. Move {root.features(stored.encoder, stored.dataset)} away "
            f"and run `autods extract {stored.dataset}` again, or go back to the former manifest."
        )
        return
    if (today := digest_samples(index)) != info.samples_sha256:
        yield (
            f"{where}: made from sample index {info.samples_sha256[:12]}, the one that is here is "
            f"{today[:12]}: a sample, split or label has changed."
        )
    ids = np.concatenate([shard.sample for shard in stored.shards])
    if len(ids) and ids.max() >= len(index):
        yield f"{where}: sample {ids.max()} is not in the index of {len(index)} samples."
        return
    # Features of the default task only, or of the images that other tasks have, too.
    only_default = bool((stored.labels(info.default_task) >= 0).all())
    for split in CODES:
        shards = [shard for shard in stored.shards if shard.info.split == split]
        skipped = [int(row[0]) for shard in shards for row in shard.info.unreadable]
        present = np.concatenate([np.array(skipped, np.int64), *(s.sample for s in shards)])
        rows = index.rows(split)
        if only_default:
            rows = rows[index.labels()[rows] >= 0]
        missing = np.setdiff1d(rows, present)
        foreign = np.setdiff1d(present, rows)
        if len(missing) or len(foreign):
            yield (
                f"{where}: {split}: {len(missing)} samples of the index are missing, "
                f"{len(foreign)} rows are not of this split in the index."
            )
    for task in info.class_names:
        wrong = int((stored.labels(task) != index.labels(task)[ids]).sum())
        if wrong:
            yield f"{where}: {wrong} labels of task '{task}' differ from the index."
