"""The folders of manifests that the datasets under a root came from, kept in ``manifests.json``.

Datasets of one's own are thus found without ``--manifests`` again. Shipped manifests are not noted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from autods.core.files import locked, read_json, write_json
from autods.core.root import DataRoot
from autods.errors import Busy, ManifestError

FORMAT = 1
SECONDS = 10.0  # to wait for another process that writes it


def remembered_folders(root: DataRoot) -> dict[str, Path]:
    """Return the names of datasets to the folders their manifests came from.

    `ManifestError` for a file that is not what was written.
    """
    path = root.manifests()
    try:
        empty: dict[str, Any] = {"format": FORMAT, "datasets": {}}
        content = read_json(path) if path.exists() else empty
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}, expected {FORMAT}")
        folders = {str(name): str(folder) for name, folder in content["datasets"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ManifestError(
            f"{path}: expected the folders of manifests that this root remembers, got: {error}; "
            "nothing was done. Delete this file, and name the folders once more with --manifests."
        ) from None
    return {name: root.path / folder for name, folder in folders.items()}


def remember(root: DataRoot, folders: Mapping[str, Path | None], names: Iterable[str]) -> None:
    """Note where the manifests of datasets came from; ``None``: shipped, so nothing is noted.

    Only datasets that have files under the root are noted. A root that cannot be written is left
    as it is.
    """
    here = set(root.datasets())
    wanted = {name: folders.get(name) for name in names if name in here}
    if all(remembered_folders(root).get(name) == folder for name, folder in wanted.items()):
        return
    with suppress(OSError, Busy), locked(root.manifests(), timeout=SECONDS):
        known = remembered_folders(root) | wanted
        texts = {name: _written(root, folder) for name, folder in known.items() if folder}
        write_json(root.manifests(), {"format": FORMAT, "datasets": texts})


def _written(root: DataRoot, folder: Path) -> str:
    """Return a folder as it is noted: relative if it lies in the root, which may be moved."""
    below = folder.is_relative_to(root.path)
    return folder.relative_to(root.path).as_posix() if below else str(folder)
