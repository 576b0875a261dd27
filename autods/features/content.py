"""Shards that are opened: still what was written, by the hash at their end, and as they must be."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from autods.core.cores import usable_cores
from autods.core.seals import CHANGED, is_whole, trailer_of
from autods.core.unchanged import remember, touched
from autods.errors import StoreError
from autods.features.contract import check_shard
from autods.features.shards import Shard, broken, read_shard

MOST = 4  # threads that hash


def open_shards(paths: Sequence[Path]) -> list[Shard]:
    """Map shards of one folder into memory, checked as `check_content` does."""
    check_content(paths)
    return [read_shard(path) for path in paths]


def check_content(paths: Sequence[Path]) -> None:
    """Check the shards of one folder that were touched since they were last checked.

    They are hashed and must be as `autods.features.contract` says; those of earlier versions have
    no hash, and are checked without it each time. Raises `StoreError` otherwise. HDF5 may read a
    damaged file for ever, so this comes first. Threads hash while the child process that reads
    HDF5 is at work, for which this one would only wait.
    """
    hashes = {path: trailer_of(path) for path in paths}
    if not hashes:
        return
    folder = paths[0].parent
    hashed = {path: written for path, written in hashes.items() if written}
    again = touched(folder, hashed)
    hashing = ThreadPoolExecutor(min(MOST, usable_cores()))
    try:
        whole = {path: hashing.submit(is_whole, path) for path in again}
        for path in paths:
            if path in whole:
                _check_changed(path, whole[path])
            elif path not in hashed:
                check_shard(path)
    finally:
        hashing.shutdown(cancel_futures=True)
    if again:
        remember(folder, {path: hashes[path] for path in again})


def _check_changed(path: Path, whole: Future[bool]) -> None:
    """Check a shard that may have changed: that it has its hash first of all."""
    try:
        check_shard(path)
    except StoreError:
        if whole.result():
            raise
    if not whole.result():
        raise StoreError(broken(path, CHANGED))
