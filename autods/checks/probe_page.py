"""A probe as a page: accuracy with intervals, what is confused, with thumbnails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from autods.checks.probe import Probe
from autods.core.root import DataRoot
from autods.features.sets import StoredFeatures
from autods.pages.page import write_page
from autods.pages.palette import LEVELS
from autods.pages.thumbnails import Album, Pictures, Thumbnail

SHOWN = 6  # images of each direction of a confused pair
MATRIX = 40  # classes, at most, of a confusion matrix that is drawn
DARK = 6  # level from which text has the colour of the ground
WORST = 20  # classes that are listed, the worst first


def write_probe_page(
    out: Path, root: DataRoot, stored: StoredFeatures, found: Probe, command: str = ""
) -> Path:
    """Write the page; raises `UsageError` if jinja2 is not installed."""
    pictures, album = Pictures(root, stored.dataset, stored), Album()
    samples = np.concatenate([shard.sample for shard in stored.shards])
    classes = _by_class(found)

    def shots(right: int, taken: int) -> list[tuple[Thumbnail, str]]:
        chosen = np.flatnonzero((found.labels == right) & (found.best.predicted == taken))[:SHOWN]
        of = samples[found.rows[chosen]].tolist()
        return [(album.of(pictures.image(s)), pictures.path(s) or f"sample {s}") for s in of]

    names = found.class_names
    confused = [
        {
            "classes": (names[one], names[other]),
            "count": count,
            "directions": [
                {"right": names[i], "taken": names[j], "shots": shots(i, j)}
                for i, j in ((one, other), (other, one))
                if shots_of(found, i, j)
            ],
        }
        for one, other, count in found.confused()
    ]
    try:
        return write_page(
            out,
            "probe.html.jinja",
            "a page of a probe",
            title=f"Probe of {found.dataset}",
            command=command,
            found=found,
            confused=confused,
            classes=classes[:WORST],
            matrix=_matrix(found),
            why=pictures.why,
            left_out=album.left_out,
        )
    finally:
        pictures.close()


def shots_of(found: Probe, right: int, taken: int) -> int:
    """Count the test rows of a class that the best probe takes for another."""
    return int(((found.labels == right) & (found.best.predicted == taken)).sum())


def _by_class(found: Probe) -> list[dict[str, Any]]:
    """Return the classes that are in test, the worst first."""
    table = found.confusion()
    rows = []
    for number in np.flatnonzero(table.sum(axis=1)).tolist():
        count, own = int(table[number].sum()), int(table[number, number])
        others = table[number].copy()
        others[number] = -1
        taken = int(others.argmax()) if others.max() > 0 else None
        rows.append(
            {
                "name": found.class_names[number],
                "images": count,
                "accuracy": own / count,
                "taken": "" if taken is None else found.class_names[taken],
                "times": 0 if taken is None else int(others[taken]),
            }
        )
    return sorted(rows, key=lambda row: row["accuracy"])


def _matrix(found: Probe) -> list[dict[str, Any]] | None:
    """Return the rows of the confusion matrix with a colour for each cell."""
    if len(found.class_names) > MATRIX:
        return None
    table = found.confusion()
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    level = np.minimum((shares * len(LEVELS)).astype(int), len(LEVELS) - 1)
    level = np.where((table > 0) & (level == 0), 1, level)  # one mistake is seen, too
    return [
        {
            "name": name,
            "cells": [
                (int(table[i, j]), LEVELS[level[i, j]] if table[i, j] else "", i == j,
                 level[i, j] >= DARK)
                for j in range(len(table))
            ],
        }
        for i, name in enumerate(found.class_names)
    ]  # fmt: skip
