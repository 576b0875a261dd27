"""Import the features that the authors of the Stream benchmark published.

Their archive, tar or unpacked, holds an LMDB of pickled float32 vectors per dataset, extractor
and published split, and a ``metadata.pickle`` per dataset with the labels; it is read in place.

- The published ``val`` is test. Of the published ``train``, a seeded part is held out as dev,
  stratified by the first label set that labels a row, the default one first.
- Protocol ``paper`` is just that: train and dev together are the published train.
- Protocol ``clean`` is the same division; a stream that is opened under it leaves out rows
  of train and dev whose float16 features also occur in test, and further copies.
- Features are the published numbers rounded to float16.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from autods.core.progress import Progress, Silent
from autods.core.registry import unknown
from autods.core.root import DataRoot
from autods.errors import AutodsError, UsageError
from autods.interop.imports.common import check_request
from autods.interop.published.archive import PublishedDataset, is_published, open_published
from autods.interop.published.datasets import Request, import_dataset
from autods.interop.published.spec import STREAM, FeatureArchive, load_archive

__all__ = ["STREAM", "PublishedOutcome", "import_published", "is_published", "load_archive"]


@dataclass(frozen=True)
class PublishedOutcome:
    """What an import did to each dataset.

    ``refused`` says why nothing was imported; ``without`` lists datasets that have features of
    other extractors only; ``extractors`` counts the datasets of each.
    """

    encoder: str
    imported: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    refused: dict[str, AutodsError] = field(default_factory=dict)
    without: dict[str, list[str]] = field(default_factory=dict)
    extractors: dict[str, int] = field(default_factory=dict)


def import_published(
    source: Path,
    root: DataRoot,
    *,
    archive: FeatureArchive | None = None,
    extractor: str | None = None,
    encoder: str | None = None,
    names: Collection[str] = (),
    dev_fraction: float = 0.1,
    seed: int = 0,
    progress: Progress | None = None,
    failed: Callable[[str, AutodsError], None] = lambda name, error: None,
) -> PublishedOutcome:
    """Import every dataset of a published archive; one that is refused does not stop the others.

    A dataset is finished when its record exists: running the same import again keeps it, and
    makes the unfinished ones anew, to the same bytes. No ``names``: all datasets. Of the published
    train, ``dev_fraction`` is held out, stratified. ``failed`` is called with each refused dataset.

    Raises `UsageError` if the archive has no features of the extractor, `ContainerError` or
    `UnsafePath` if it cannot be read as a whole.
    """
    archive = archive or load_archive(STREAM)
    extractor = extractor or archive.extractor
    encoder = encoder or archive.known(extractor).encoder
    check_request(encoder, dev_fraction, seed)
    datasets = _named(open_published(source), archive)
    found = [one for dataset in datasets.values() for one in dataset.features]
    outcome = PublishedOutcome(
        encoder, extractors={one: found.count(one) for one in sorted(set(found))}
    )
    if extractor not in outcome.extractors:
        raise UsageError(
            f"{source}: expected features of extractor '{extractor}', got those of "
            f"{', '.join(outcome.extractors)}; nothing was imported. Name one of these with "
            "--extractor."
        )
    for name in names:
        if name not in datasets:
            raise unknown("dataset of the archive", name, datasets)
    request = Request(root, archive, extractor, encoder, dev_fraction, seed, progress or Silent())
    for name, dataset in datasets.items():
        if names and name not in names:
            continue
        if not names and dataset.features and extractor not in dataset.features:
            outcome.without[name] = sorted(dataset.features)
            continue
        try:
            made = import_dataset(request, name, dataset)
            (outcome.imported if made else outcome.kept).append(name)
        except AutodsError as error:
            outcome.refused[name] = error
            failed(name, error)
    return outcome


def _named(
    datasets: Mapping[str, PublishedDataset], archive: FeatureArchive
) -> dict[str, PublishedDataset]:
    """Give the datasets their names here."""
    named = {archive.renamed.get(d.folder, d.folder.lower()): d for d in datasets.values()}
    if len(named) < len(datasets):
        raise UsageError(
            f"expected folders with different names of datasets, got {', '.join(datasets)}; "
            "nothing was imported. Rename one of them."
        )
    return dict(sorted(named.items()))
