"""Fetch the files of a dataset into its archive folder; `autods.fetch.many`: of many datasets.

A target exists only whole and verified. The package is also the verb `autods.verbs.fetch`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from autods.core.face import make_callable
from autods.core.files import held
from autods.core.progress import Progress
from autods.core.refusals import FULL, refusal, refused_file
from autods.core.root import DataRoot
from autods.errors import DiskFull, FetchError
from autods.fetch.mirrors import KINDS, check_mirrors, most_useful, users_mirrors
from autods.fetch.one_file import Action, FetchedFile, decide, fetch_file
from autods.fetch.records import missing_files, verify_archives
from autods.fetch.sources import (  # noqa: F401  (each registers its kind)
    ftp,
    gdrive,
    git,
    http,
    huggingface,
    kaggle,
    local,
)
from autods.fetch.sources.base import SOURCES, Source
from autods.manifest.sources import Release

__all__ = [
    "KINDS",
    "SOURCES",
    "Action",
    "FetchedFile",
    "Source",
    "decide",
    "fetch_dataset",
    "fetch_file",
    "missing_files",
    "verify_archives",
]

make_callable(__name__, "autods.verbs")


def fetch_dataset(
    manifest: Release, root: DataRoot, progress: Progress, mirrors: Sequence[str] = ()
) -> list[FetchedFile]:
    """Fetch all files of a dataset into the data root, in the order of its manifest.

    Files that are already there are kept; one that no mirror gives does not keep the others
    from being fetched. ``mirrors`` are tried
    before those of the manifest: http, https or ftp addresses or local folders, below which a
    file is at ``<dataset>/<file>``. Different datasets may be fetched from several threads.

    Raises the `FetchError` that the user can do most about, see `autods.fetch.mirrors.USEFUL`;
    `Busy` if another process works on this dataset; `UsageError` for a mirror that cannot be.
    """
    files: list[FetchedFile] = []
    errors: list[FetchError] = []
    check_mirrors(mirrors)
    lock = held(root.record(manifest.name), manifest.name, progress.note)
    with unwritable_explained(manifest.name, root), lock:
        for entry in manifest.files:
            tried = [users_mirrors(mirrors, manifest.name, entry), entry.mirrors]
            try:
                files.append(fetch_file(manifest.name, entry, tried, root, progress))
            except FetchError as error:
                errors.append(error)
    if errors:
        raise most_useful(manifest.name, "\n".join(error.message for error in errors), errors)
    return files


@contextmanager
def unwritable_explained(dataset: str, root: DataRoot) -> Iterator[None]:
    """Turn an `OSError` of what is written below the root into a `FetchError`."""
    try:
        yield
    except OSError as error:
        kind = DiskFull if error.errno in FULL else FetchError
        why, cure = refusal(error)
        raise kind(
            f"{dataset}: cannot write {refused_file(error) or root.path}: {why}; what has arrived "
            "stays and will be continued.",
            f"{cure} (--root), then run the same command again.",
        ) from None
