"""Load the features of one dataset, without a stream."""

from __future__ import annotations

from pathlib import Path
from typing import overload

from autods.core.registry import unknown, unknown_dataset
from autods.core.root import DataRoot
from autods.core.splits import SPLITS
from autods.manifest.catalogue import Catalogue
from autods.manifest.stream import StreamItem, StreamSpec
from autods.streams.feature_set import FeatureSet
from autods.streams.open import open_stream
from autods.streams.stream import Task


@overload
def load(
    name: str,
    encoder: str,
    split: None = None,
    *,
    label_set: str | None = None,
    protocol: str = "clean",
    normalize: str = "l2",
    root: DataRoot | Path | str | None = None,
    catalogue: Catalogue | None = None,
) -> Task: ...


@overload
def load(
    name: str,
    encoder: str,
    split: str,
    *,
    label_set: str | None = None,
    protocol: str = "clean",
    normalize: str = "l2",
    root: DataRoot | Path | str | None = None,
    catalogue: Catalogue | None = None,
) -> FeatureSet: ...


def load(
    name: str,
    encoder: str,
    split: str | None = None,
    *,
    label_set: str | None = None,
    protocol: str = "clean",
    normalize: str = "l2",
    root: DataRoot | Path | str | None = None,
    catalogue: Catalogue | None = None,
) -> Task | FeatureSet:
    """Load the features of one dataset: all splits with class names, or one split alone.

    Parameters
    ----------
    name
        Of the dataset.
    encoder
        Name of the encoder whose features are loaded, ``<model>.<pretrained>``.
    split
        ``train``, ``dev`` or ``test``; default: all three.
    label_set
        The labelling; default: the dataset's default one.
    protocol, normalize, root, catalogue
        As of `open_stream`.

    Returns
    -------
    Task or FeatureSet
        ``task.train``, ``task.dev`` and ``task.test`` are feature sets, ``task.class_names``
        names the classes, ``task.images("train")`` opens the images. A feature set has
        ``features`` float16 [n, d], read when they are first used, and ``labels`` int64 [n].

    Raises
    ------
    UnknownName, UsageError
        When there is no such dataset, split, label set or protocol.
    FeaturesMissing, FeatureMismatch, StoreError
        When features are absent, of another manifest, or damaged.
    """
    if split is not None and split not in SPLITS:
        raise unknown("split", split, SPLITS)
    root = DataRoot.open(root)
    catalogue = catalogue or Catalogue(root=root)
    known = {*catalogue.datasets(), *(dataset for _, dataset in root.feature_sets())}
    if name not in known:
        raise unknown_dataset("dataset", name, known, root.path)
    spec = StreamSpec(name=name, datasets=[StreamItem(dataset=name, task=label_set)])
    (task,) = open_stream(
        spec, root, encoder, protocol=protocol, normalize=normalize, catalogue=catalogue
    ).tasks
    return task if split is None else getattr(task, split)
