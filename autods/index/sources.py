"""Whether the files that hold the samples are still what was indexed.

Published files have the checksum of the manifest (`autods.fetch.records`), converted copies the
hash of their stamp (`autods.containers.convert`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from autods.containers.convert import has_changed
from autods.core.root import DataRoot
from autods.core.seals import CHANGED
from autods.errors import ContainerError
from autods.fetch.records import is_unchanged, read_record


def is_whole(root: DataRoot, dataset: str, container: str) -> bool:
    """Tell whether a file that the index names is there, and unchanged if it is a copy."""
    path = root.dataset(dataset) / container
    return path.exists() and not has_changed(path)


def changed_copies(
    root: DataRoot, dataset: str, index: Mapping[str, Any], *, always: bool = False
) -> Iterator[str]:
    """Yield a sentence for each converted copy that is not what was written.

    ``index`` is the entry in the dataset's record. Copies are hashed if they were touched, or
    ``always``.
    """
    for container in index.get("containers", ()):
        path = root.dataset(dataset) / container
        if path.is_file() and has_changed(path, always=always):
            yield f"{path}: {CHANGED}. Run 'autods index {dataset}': it is made again."


def check_sources(root: DataRoot, dataset: str, note: Callable[[str], None]) -> None:
    """Hash what holds the samples and was touched since it was last hashed.

    Raises `ContainerError` for a file that is not what was fetched or converted.
    """
    record = read_record(root, dataset)
    index, recorded = record.get("index", {}), record.get("files", {})
    for sentence in changed_copies(root, dataset, index):
        raise ContainerError(f"{sentence} Nothing was read from it.")
    paths = [Path(container).parts for container in index.get("containers", ())]
    for name in sorted({parts[1] for parts in paths if parts[0] == "archives"}):
        known, target = recorded.get(name), root.archive(dataset, name)
        if known and target.exists() and not is_unchanged(root, dataset, name, known, note):
            raise ContainerError(
                f"{target}: it changed after it was fetched and verified; nothing was read from "
                f"it. Run 'autods fetch {dataset}': it is set aside and fetched again."
            )
