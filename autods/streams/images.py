"""Images of a dataset or of a stream's task, for those who train encoders themselves.

Rows, order and labels are those of the features: `autods.streams.stream.Task.images` opens a task's
images, `open_images` those of an indexed dataset. What a set does is in `autods.streams.image_set`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from autods.containers import MemberReader
from autods.core.registry import unknown
from autods.core.root import DataRoot
from autods.core.splits import SPLITS
from autods.encode.plan import digest_samples
from autods.errors import FeatureMismatch, ImagesMissing
from autods.features.sets import StoredFeatures
from autods.index.samples import ADDRESS, SampleIndex, load_samples
from autods.streams.image_set import ImageFiles, ImageSet, Rows, Transform

if TYPE_CHECKING:
    from autods.manifest.catalogue import Catalogue

__all__ = ["ImageSet", "images_of_features", "open_images"]


def open_images(
    dataset: str,
    split: str = "train",
    root: DataRoot | Path | str | None = None,
    *,
    task: str | None = None,
    protocol: str = "clean",
    transform: Transform | None = None,
    workers: int = 0,
    rgb: bool = True,
    leave_out: Collection[int] = (),
    catalogue: Catalogue | None = None,
) -> ImageSet:
    """Open the images of one split of an indexed dataset; no features are needed.

    The rows are those of the index, by sample. Protocol ``clean`` of a stream also drops
    duplicates and unreadable images, which only extraction knows: see
    `autods.streams.stream.Task.images`.

    Parameters
    ----------
    root
        Data root; default: ``AUTODS_ROOT``, else the user's data folder.
    task
        Label set; default: the dataset's default one. Images without a label are left out.
    transform, workers, rgb
        See `ImageSet`.
    leave_out
        Samples that are not wanted, such as those of `ImageSet.unreadable`.
    catalogue
        Manifests; an index of another manifest than the dataset's is refused.

    Raises
    ------
    IndexMissing
        When the dataset is not indexed, or by another manifest.
    UnknownName, UsageError
        When there is no such split, protocol or label set.
    """
    from autods.manifest.catalogue import Catalogue

    root = DataRoot.open(root)
    catalogue = catalogue or Catalogue(root=root)
    manifest = catalogue.dataset(dataset) if dataset in catalogue.datasets() else None
    index = load_samples(root, dataset, manifest)
    task = task or index.default_task
    for kind, value, known in (
        ("split", split, SPLITS),
        ("protocol", protocol, index.protocols),
        (f"task of dataset '{dataset}'", task, index.classes),
    ):
        if value not in known:
            raise unknown(kind, value, known)
    labels = index.labels(task)
    rows = index.rows(split, protocol)
    rows = rows[labels[rows] >= 0]
    rows = rows[~np.isin(rows, np.array(sorted(leave_out), np.int64))]
    return ImageSet(
        _files(root, index),
        rows,
        labels[rows].astype(np.int64),
        index.classes[task],
        transform=transform,
        workers=workers,
        rgb=rgb,
    )


# Kept for as long as the features are: the tasks cut from one dataset share one index.
_CHECKED: WeakKeyDictionary[StoredFeatures, ImageFiles] = WeakKeyDictionary()


def images_of_features(
    root: DataRoot,
    stored: StoredFeatures,
    rows: Rows,
    labels: npt.NDArray[np.int64],
    class_names: Sequence[str],
    **options: Any,
) -> ImageSet:
    """Open the images that rows int64 [n] of stored features were made from, labelled int64 [n].

    The options are those of `ImageSet`. Raises `ImagesMissing` for imported features, as nobody
    knows which image a row is of, `IndexMissing` when the dataset is not indexed under this root,
    and `FeatureMismatch` when the index is not the one that the features were extracted by.
    """
    if stored not in _CHECKED:
        _CHECKED[stored] = _checked(root, stored)
    sample = np.concatenate([shard.sample for shard in stored.shards])[rows]
    return ImageSet(_CHECKED[stored], sample, labels, class_names, **options)


def _checked(root: DataRoot, stored: StoredFeatures) -> ImageFiles:
    expected = stored.info.samples_sha256
    if not expected:
        raise ImagesMissing(
            f"features of '{stored.dataset}' by '{stored.encoder}' were imported, not extracted "
            "from images under this root: which image a row is of is not known. Use "
            f"autods.streams.images.open_images('{stored.dataset}', split, root), or extract."
        )
    index = load_samples(root, stored.dataset)
    if (got := digest_samples(index)) != expected:
        raise FeatureMismatch(
            f"features of '{stored.dataset}' by '{stored.encoder}' were made from sample index "
            f"{expected[:12]}, {root.samples(stored.dataset)} is {got[:12]}; no image was opened. "
            f"Move the folder {stored.shards[0].path.parent} away and run `autods extract "
            f"{stored.dataset}` again."
        )
    return _files(root, index)


def _files(root: DataRoot, index: SampleIndex) -> ImageFiles:
    return ImageFiles(MemberReader(root, index.dataset), index.table.select(list(ADDRESS)))
