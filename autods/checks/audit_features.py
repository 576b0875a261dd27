"""Audit by features: near-duplicates within and between datasets, and suspicious labels.

Findings are plain JSON; every image is named by dataset and sample, and by its path where the
index is here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from autods.checks.audit_scan import Scanner
from autods.checks.label_scores import IMPROBABLE, LIKELY, LabelScores, score_labels
from autods.checks.near import THRESHOLD, Joined, Pairs, Rows
from autods.checks.near_findings import NearDuplicates, find_near
from autods.checks.pixels import Judged, SmallPictures
from autods.checks.small_pictures import Levels
from autods.core.progress import Progress
from autods.core.root import DataRoot
from autods.errors import ContainerError, UsageError
from autods.features.sets import open_features
from autods.features.shards import CODES
from autods.pages.thumbnails import Pictures

SURE = 1e-9  # no probability is nearer to 0 or 1 than this
LISTED = 1000  # pairs and labels that findings name, of each dataset and between all
SPLIT_NAMES = {0: "extra", **{code: name for name, code in CODES.items()}}

Findings = dict[str, Any]


def audit_features(
    root: DataRoot,
    encoder: str,
    names: Sequence[str],
    progress: Progress,
    threshold: float = THRESHOLD,
    scanner: Scanner | None = None,
) -> Findings:
    """Compare all images of the datasets, and judge their labels.

    With a ``scanner`` that makes small pictures, images that are at hand are compared themselves,
    too: see `Judged`.

    Returns
    -------
    dict
        ``encoder``, ``threshold``, ``pairs`` in all; ``between``, the pairs of datasets that share
        images, with ``examples``; ``pixels`` (``images`` compared, pairs that they ``added``,
        ``crowded`` images, pairs put ``apart``, with ``alike`` of these); and ``datasets``, by
        name: ``near`` (counts in images, examples best first) and ``labels`` (accuracy, number of
        suspicious ones, a ranked list), ``None`` where there are not two classes.

    Raises
    ------
    FeaturesMissing, FeatureMismatch, StoreError
        When features are absent, have different lengths, or are damaged.
    UsageError
        When the threshold is not one.
    """
    if not 0 < threshold <= 1:
        raise UsageError(
            f"--threshold: expected a cosine above 0 and up to 1, got {threshold}; nothing was "
            "compared."
        )
    sets = [open_features(root, encoder, name) for name in names]
    table = Joined(sets)
    pictures = [Pictures(root, stored.dataset, stored) for stored in sets]
    samples = [np.concatenate([s.sample for s in one.shards]) for one in sets]
    levels = [_levels(root, one, scanner, progress) for one in pictures]
    judged = Judged(table, SmallPictures(table, levels, samples))
    near = find_near(sets, judged.pairs(threshold, progress))
    album = _Album(table, near, pictures, samples)
    return {
        "encoder": encoder,
        "threshold": threshold,
        "improbable": IMPROBABLE,
        "likely": LIKELY,
        "pairs": near.total,
        "between": near.between(),
        "examples": album.pairs(near.kept[table.set_of(near.kept.a) != table.set_of(near.kept.b)]),
        "pixels": {
            "images": int(judged.small.known.sum()),
            "added": judged.added,
            "crowded": judged.crowded,
            "apart": near.apart,
            "alike": album.pairs(near.alike),
        },
        "datasets": {
            stored.dataset: _dataset(number, near, album, progress)
            for number, stored in enumerate(sets)
        },
    }


def _levels(
    root: DataRoot, pictures: Pictures, scanner: Scanner | None, progress: Progress
) -> Levels | None:
    """Return the small pictures of a dataset's samples, if its images are at hand."""
    if scanner is None or pictures.index is None:
        return None
    try:
        return scanner.small_pictures(root, pictures.dataset, progress)
    except ContainerError as error:
        progress.note(f"{pictures.dataset}: only its features are compared: {error}")
        return None


def _dataset(number: int, near: NearDuplicates, album: _Album, progress: Progress) -> Findings:
    """Return the findings within one dataset."""
    a, b = near.table.set_of(near.kept.a), near.table.set_of(near.kept.b)
    inside = near.kept[(a == number) & (b == number)]
    return {
        "rows": int(near.table.sets[number].starts[-1]),
        "why_no_images": album.pictures[number].why,
        "near": {**near.within(number), "examples": album.pairs(inside)},
        "labels": _labels(number, near, album, progress),
    }


def _labels(
    number: int, near: NearDuplicates, album: _Album, progress: Progress
) -> Findings | None:
    """Judge the labels of one dataset; copies of an image share a fold."""
    stored = near.table.sets[number]
    start, stop = near.table.starts[number : number + 2]
    labels = stored.labels(stored.info.default_task).astype(np.int64)
    scores = score_labels(Joined([stored]), labels, near.group[start:stop], progress)
    if scores is None:
        return None
    found = scores.suspicious()
    return {
        "judged": len(scores.rows),
        "accuracy": round(scores.accuracy, 4),
        "suspicious": len(found),
        "list": [album.label(number, scores, position) for position in found[:LISTED].tolist()],
    }


class _Album:
    """Names images for people."""

    def __init__(
        self,
        table: Joined,
        near: NearDuplicates,
        pictures: Sequence[Pictures],
        samples: Sequence[Rows],
    ) -> None:
        self.table, self.near = table, near
        self.pictures, self._samples = pictures, samples
        self._names = [s.info.class_names[s.info.default_task] for s in table.sets]

    def image(self, row: int) -> Findings:
        number = int(self.table.set_of(np.array([row]))[0])
        sample = int(self._samples[number][row - self.table.starts[number]])
        label = int(self.near.label[row])
        return {
            "dataset": self.table.sets[number].dataset,
            "sample": sample,
            "path": self.pictures[number].path(sample),
            "split": SPLIT_NAMES[int(self.near.split[row])],
            "class": self._names[number][label] if label >= 0 else "",
        }

    def pairs(self, pairs: Pairs) -> list[Findings]:
        """Name the images of the first pairs."""
        pairs = pairs[:LISTED]
        return [
            {
                "cosine": round(float(cosine), 4),
                "pixels": None if np.isnan(pixels) else round(float(pixels), 4),
                "images": [self.image(int(a)), self.image(int(b))],
            }
            for a, b, cosine, pixels in zip(
                pairs.a, pairs.b, pairs.cosine, pairs.pixels, strict=True
            )
        ]

    def label(self, number: int, scores: LabelScores, position: int) -> Findings:
        """Name a suspicious label."""
        return {
            **self.image(int(scores.rows[position] + self.table.starts[number])),
            "likely": self._names[number][int(scores.likely[position])],
            "p_given": float(f"{max(scores.p_given[position], SURE):.3g}"),
            "p_likely": float(f"{min(scores.p_likely[position], 1 - SURE):.9g}"),
        }
