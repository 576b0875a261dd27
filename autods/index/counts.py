"""Compare the counts of a sample index with what the manifest expects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from autods.core.root import DataRoot
from autods.core.splits import SPLITS
from autods.index.samples import SampleIndex, load_samples
from autods.manifest.schema import Manifest

NAMED = 5  # classes whose number of images differs


@dataclass(frozen=True)
class Difference:
    """A count that differs from the expected one, and the source of the expectation."""

    what: str
    expected: int
    found: int
    source: str

    def __str__(self) -> str:
        source = f" ({self.source})" if self.source else ""
        return f"expected {self.expected:,} {self.what}{source}, the index has {self.found:,}"


def count_differences(manifest: Manifest, root: DataRoot) -> list[Difference]:
    """Compare numbers of images per split and class, and of classes per task.

    Numbers missing from the manifest are skipped; the published numbers of images are compared
    if protocol paper reproduces the published splits.
    """
    index = load_samples(root, manifest.name, manifest, addresses=False)
    return [*_images(manifest, index), *_of_classes(manifest, index), *_classes(manifest, index)]


def _images(manifest: Manifest, index: SampleIndex) -> Iterator[Difference]:
    expected, source = manifest.expected, manifest.expected.source or ""
    train, test = _train_and_test(index, "clean")
    pairs = [
        ("images", expected.total, train + test),
        ("training images", expected.train, train),
        ("test images", expected.test, test),
    ]
    if "paper" in index.protocols:
        train, test = _train_and_test(index, "paper")
        pairs += [
            ("training images of protocol paper", expected.published_train, train),
            ("test images of protocol paper", expected.published_test, test),
        ]
    for what, wanted, found in pairs:
        if wanted is not None and wanted != found:
            yield Difference(what, wanted, found, source)


def _of_classes(manifest: Manifest, index: SampleIndex) -> Iterator[Difference]:
    """Compare the number of images of each class, over all splits of protocol clean."""
    names = index.classes[index.default_task]
    labels = index.labels()
    used = labels[(index.split_numbers() >= 0) & (labels >= 0)]
    counts = dict(zip(names, np.bincount(used, minlength=len(names)).tolist(), strict=True))
    wrong = [
        Difference(f"images of class '{name}'", wanted, counts.get(name, 0), "")
        for name, wanted in manifest.expected.per_class.items()
        if counts.get(name, 0) != wanted
    ]
    yield from wrong[:NAMED]
    if len(wrong) > NAMED:
        right = len(manifest.expected.per_class)
        yield Difference("classes with the right number of images", right, right - len(wrong), "")


def _classes(manifest: Manifest, index: SampleIndex) -> Iterator[Difference]:
    wanted = manifest.expected.classes
    found = len(index.classes[manifest.default_task])
    if wanted is not None and wanted != found:
        yield Difference("classes", wanted, found, manifest.expected.source or "")
    for task, spec in manifest.tasks.items():
        names, count = spec.names(), len(index.classes[task])
        if names is not None and len(names) != count:
            yield Difference(f"classes of task '{task}'", len(names), count, "")


def _train_and_test(index: SampleIndex, protocol: str) -> tuple[int, int]:
    """Return the numbers of images of the default task; train and dev count together."""
    labelled = index.split_numbers(protocol)[index.labels() >= 0]
    _, train, dev, test = np.bincount(labelled + 1, minlength=len(SPLITS) + 1).tolist()
    return train + dev, test
