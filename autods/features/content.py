"""Whether shards still hold what was written: their bytes against the hash at their end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from autods.core.seals import CHANGED, is_whole, trailer_of
from autods.core.unchanged import remember, touched
from autods.errors import StoreError
from autods.features.shards import broken


def check_content(paths: Sequence[Path]) -> None:
    """Hash the shards of one folder that were touched since they were last hashed.

    Those of earlier versions have no hash, and are not checked. Raises `StoreError` unless the
    others hold what was written. HDF5 may read a damaged file for ever, so this comes first.
    """
    hashes = {path: written for path in paths if (written := trailer_of(path))}
    if not hashes:
        return
    folder = paths[0].parent
    if again := touched(folder, hashes):
        for path in again:
            if not is_whole(path):
                raise StoreError(broken(path, CHANGED))
        remember(folder, {path: hashes[path] for path in again})
