"""Seeded, stratified division of samples: pure functions of labels, groups, fraction and seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def hold_out(
    labels: npt.NDArray[Any], fraction: float, seed: int, at_least: int = 0
) -> npt.NDArray[np.bool_]:
    """Choose a stratified part of the samples, leaving at least one of each class.

    Every class gives its share, rounded up or down so that the whole comes out as near to
    ``fraction`` as it can; the samples within a class are drawn by numpy's PCG64.

    Parameters
    ----------
    labels
        Integer class numbers, [n]; any values.
    fraction
        Share to hold out, 0 <= fraction < 1.
    at_least
        Samples that every class gives even when its share is less.
    seed
        Seed of the draw. The same labels in the same order give the same result.

    Returns
    -------
    Mask [n], True for the samples that are held out.
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"fraction: expected 0 <= fraction < 1, got {fraction}")
    generator = np.random.Generator(np.random.PCG64(seed))
    shuffled = generator.permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]  # [n], classes in blocks
    sizes = np.unique(labels, return_counts=True)[1]  # [C]
    ends = np.cumsum(sizes)
    quota = np.diff(np.floor(ends * fraction + 0.5).astype(np.int64), prepend=0)
    quota = np.minimum(np.maximum(quota, at_least), sizes - 1)
    place = np.arange(len(labels)) - np.repeat(ends - sizes, sizes)  # rank within its class
    mask = np.zeros(len(labels), dtype=np.bool_)
    mask[by_class[place < np.repeat(quota, sizes)]] = True
    return mask


def hold_out_groups(
    labels: npt.NDArray[Any],
    groups: npt.NDArray[Any],
    fraction: float,
    seed: int,
    at_least: int = 0,
) -> npt.NDArray[np.bool_]:
    """Choose a part of the samples like `hold_out`, by whole groups.

    A group counts for the class of its first sample. Each class gives, in drawn order, the
    groups that bring it nearer to its share, and keeps at least one group.

    Parameters
    ----------
    labels
        Integer class numbers, [n].
    groups
        Integer group numbers, [n].
    fraction, seed
        As for `hold_out`.
    at_least
        1: every class with two groups gives one even when its share is less than half of it.

    Returns
    -------
    Mask [n], True for the samples that are held out.
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"fraction: expected 0 <= fraction < 1, got {fraction}")
    _, first, of_sample, sizes = np.unique(
        groups, return_index=True, return_inverse=True, return_counts=True
    )
    held = np.zeros(len(first), dtype=np.bool_)
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(first))
    of_class: dict[int, list[int]] = {}
    for group in order:
        of_class.setdefault(int(labels[first[group]]), []).append(int(group))
    for members in of_class.values():
        share, given = fraction * int(sizes[members].sum()), 0
        for group in members[:-1]:
            if given + sizes[group] / 2 <= share or (at_least and not given and fraction > 0):
                held[group] = True
                given += int(sizes[group])
    return np.asarray(held[of_sample])
