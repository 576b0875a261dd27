"""Shards that are opened: still what was written, by the hash at their end, and as they must be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from autods.core.seals import CHANGED, is_whole, trailer_of
from autods.core.unchanged import remember, touched
from autods.errors import StoreError
from autods.features.contract import check_shard
from autods.features.shards import Shard, broken, read_shard


def open_shards(paths: Sequence[Path]) -> list[Shard]:
    """Map shards of one folder into memory, checked as `check_content` does."""
    check_content(paths)
    return [read_shard(path) for path in paths]


def check_content(paths: Sequence[Path]) -> None:
    """Check the shards of one folder that were touched since they were last checked.

    They are hashed and must be as `autods.features.contract` says; those of earlier versions have
    no hash, and are checked without it each time. Raises `StoreError` otherwise. HDF5 may read a
    damaged file for ever, so this comes first.
    """
    hashes = {path: trailer_of(path) for path in paths}
    if not hashes:
        return
    folder = paths[0].parent
    hashed = {path: written for path, written in hashes.items() if written}
    again = touched(folder, hashed)
    for path in again:
        if not is_whole(path):
            raise StoreError(broken(path, CHANGED))
    for path in [*again, *(path for path in paths if path not in hashed)]:
        check_shard(path)
    if again:
        remember(folder, {path: hashes[path] for path in again})
