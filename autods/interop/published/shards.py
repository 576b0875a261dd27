"""Write rows of published features as shards, in one pass over the database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from autods.core.halves import EXPECTED, unfit_rows, worst
from autods.core.progress import Progress
from autods.core.root import DataRoot
from autods.errors import FeatureMismatch, LayoutError
from autods.features.shards import CODES, ShardData, ShardInfo, write_shard
from autods.interop.imports.common import hash_rows
from autods.interop.published.lmdb_file import LmdbFile
from autods.interop.published.rows import Rows
from autods.interop.published.vectors import VectorReader

FILE_NAMES = b"file_names"  # the key of the list of all others
BLOCK = 2048  # features converted at once
SHARD = 16_384  # rows of a shard

Float16 = npt.NDArray[np.float16]


class Writers:
    """Writes all shards of one dataset; holds at most one shard of each split in memory.

    ``width`` is that of the encoder's other features, ``None`` if there are none yet.
    """

    def __init__(
        self, root: DataRoot, encoder: str, info: ShardInfo, width: int | None, progress: Progress
    ) -> None:
        self.root, self.encoder, self.info = root, encoder, info
        self.width, self.progress = width, progress

    def write(self, database: LmdbFile, where: str, rows: Rows, first: int) -> None:
        """Write the shards of one published split, whose first row is sample number ``first``."""
        splits = {
            name: _Split(self, name, rows, first)
            for name, code in CODES.items()
            if (rows.codes == code).any()
        }
        done = 0
        for features in self._blocks(database, where):
            hashes = hash_rows(features)
            low, high = np.searchsorted(rows.feature, (done, done + len(features)))
            places = rows.feature[low:high] - done
            for name, split in splits.items():
                chosen = np.flatnonzero(rows.codes[low:high] == CODES[name])
                split.add(features, hashes, places[chosen])
            done += len(features)
            self.progress.advance(len(features))

    def _blocks(self, database: LmdbFile, where: str) -> Iterator[Float16]:
        """Yield all features in the order of their keys, rounded to float16."""
        reader = VectorReader(where)
        keys: list[bytes] = []
        block = np.empty((0, 0), np.float32)
        for key, value in database.items():
            if key == FILE_NAMES:
                continue
            vector = reader.read(key, value)
            if not keys:
                self._check_width(where, len(vector))
                block = np.empty((BLOCK, len(vector)), vector.dtype)
            elif vector.dtype.itemsize > block.dtype.itemsize:
                block = block.astype(vector.dtype)
            block[len(keys)] = vector
            keys.append(key)
            if len(keys) == BLOCK:
                yield _rounded(block, keys, where)
                keys.clear()
        if keys:
            yield _rounded(block[: len(keys)], keys, where)

    def _check_width(self, where: str, width: int) -> None:
        self.width = self.width or width
        if width != self.width:
            raise FeatureMismatch(
                f"{where}: expected {self.width} dimensions as the other features by encoder "
                f"'{self.encoder}' have, got {width}; import it under another encoder name"
            )


class _Split:
    """The rows of one split as they come, written whenever a shard is full."""

    def __init__(self, writers: Writers, name: str, rows: Rows, first: int) -> None:
        self.writers, self.name, self.rows, self.first = writers, name, rows, first
        self.chosen = np.flatnonzero(rows.codes == CODES[name])
        self.features: list[Float16] = []
        self.hashes: list[npt.NDArray[np.uint64]] = []
        self.held = self.done = 0

    def add(
        self, features: Float16, hashes: npt.NDArray[np.uint64], places: npt.NDArray[np.int64]
    ) -> None:
        """Take the next rows: those at ``places`` of a block of features."""
        while len(places):
            room = min(SHARD, len(self.chosen) - self.done) - self.held
            taken, places = places[:room], places[room:]
            self.features.append(features[taken])
            self.hashes.append(hashes[taken])
            self.held += len(taken)
            if len(taken) == room:
                self._flush()

    def _flush(self) -> None:
        stop, total = self.done + self.held, len(self.chosen)
        index, count = self.done // SHARD, -(-total // SHARD)
        chosen = self.chosen[self.done : stop]
        data = ShardData(
            np.concatenate(self.features),
            {task: labels[chosen] for task, labels in self.rows.labels.items()},
            self.first + chosen,
            np.concatenate(self.hashes),
            # the published val is test, and train and dev together are the published train
            {"paper": np.full(len(chosen), CODES[self.name], np.uint8)},
        )
        info = replace(
            self.writers.info,
            split=self.name,
            start=self.done,
            stop=stop,
            index=index,
            count=count,
        )
        path = self.writers.root.shard(self.writers.encoder, info.dataset, self.name, index, count)
        write_shard(path, data, info)
        self.features, self.hashes, self.held, self.done = [], [], 0, stop


def _rounded(block: npt.NDArray[np.floating], keys: list[bytes], where: str) -> Float16:
    if (unfit := unfit_rows(block)).any():
        row = int(unfit.argmax())
        name = keys[row].decode(errors="replace")
        raise LayoutError(
            f"{where}: the value of '{name}': expected {EXPECTED}, got {worst(block[row])}"
        )
    return block.astype(np.float16)
