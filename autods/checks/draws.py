"""Rows drawn at random, class by class."""

from __future__ import annotations

import numpy as np

from autods.checks.discriminant import Rows


def held_out(rows: Rows, labels: Rows, generator: np.random.Generator) -> tuple[Rows, Rows]:
    """Return what is left and a fifth of each class that has two rows at least, both ascending.

    ``labels`` are those of all rows, by number.
    """
    order, place, count = _by_class(rows, labels, generator)
    size = np.repeat(count, count)
    held = place < np.where(size > 1, np.maximum(1, size // 5), 0)
    return np.sort(order[~held]), np.sort(order[held])


def at_most(rows: Rows, labels: Rows, most: int, generator: np.random.Generator) -> Rows:
    """Return at most so many rows, ascending; a small class keeps all of its own.

    ``labels`` are those of all rows, by number.
    """
    if len(rows) <= most:
        return rows
    order, place, _ = _by_class(rows, labels, generator)
    return np.sort(order[np.argsort(place, kind="stable")[:most]])


def _by_class(rows: Rows, labels: Rows, generator: np.random.Generator) -> tuple[Rows, Rows, Rows]:
    """Return shuffled rows by class, the place of each within its class, the rows of each class."""
    shuffled = generator.permutation(rows)
    order = shuffled[np.argsort(labels[shuffled], kind="stable")]
    _, first, count = np.unique(labels[order], return_index=True, return_counts=True)
    return order, np.arange(len(order)) - np.repeat(first, count), count
