"""Seeded, stratified division of samples: pure functions of labels, groups, fraction and seed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt


def hold_out(
    labels: npt.NDArray[Any], fraction: float, seed: int, at_least: int = 0
) -> npt.NDArray[np.bool_]:
    """Choose a stratified part of the samples, leaving at least one of each class: a mask [n].

    Each class of ``labels`` [n] contributes its share, rounded so that the total is as close to
    ``fraction`` (0 <= fraction < 1) as possible, and not less than ``at_least``; samples within
    a class are drawn by numpy's PCG64. The same labels in the same order give the same result.
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
    rank = np.arange(len(labels)) - np.repeat(ends - sizes, sizes)  # within its class
    mask = np.zeros(len(labels), dtype=np.bool_)
    mask[by_class[rank < np.repeat(quota, sizes)]] = True
    return mask


def hold_out_groups(
    labels: npt.NDArray[Any],
    groups: npt.NDArray[Any],
    fraction: float,
    seed: int,
    at_least: int = 0,
) -> npt.NDArray[np.bool_]:
    """Choose a part of the samples like `hold_out`, by whole groups: a mask [n].

    In drawn order, a group is taken if that brings its classes nearer to their shares (the
    sum of their squared distances, each relative to the size of the class), and if every
    class keeps another group. ``groups`` [n] are numbers; a group may hold several classes.

    With ``at_least`` 1, a class that would give nothing, since its groups are few or large, gives
    the one that fits best, if every class keeps another.
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"fraction: expected 0 <= fraction < 1, got {fraction}")
    unique, of_sample = np.unique(groups, return_inverse=True)
    sizes, contents = _contents(labels, of_sample, len(unique))
    of_class: list[list[int]] = [[] for _ in sizes]
    drawn = np.random.Generator(np.random.PCG64(seed)).permutation(len(unique)).tolist()
    for group in drawn:
        for label in contents[group]:
            of_class[label].append(group)
    kept, given = [len(members) for members in of_class], [0] * len(sizes)
    held: set[int] = set()

    def is_spare(group: int) -> bool:
        return group not in held and all(kept[label] > 1 for label in contents[group])

    def change(group: int) -> float:
        return math.fsum(
            count * (count + 2 * (given[label] - fraction * sizes[label])) / sizes[label] ** 2
            for label, count in contents[group].items()
        )

    def take(group: int) -> None:
        held.add(group)
        for label, count in contents[group].items():
            kept[label] -= 1
            given[label] += count

    def serve(of_few: float) -> None:
        """Take a group of each class that gave none and has fewer than ``of_few`` groups."""
        for label, members in enumerate(of_class):
            spare = [] if given[label] else [group for group in members if is_spare(group)]
            if spare and len(members) < of_few:
                take(min(spare, key=change))

    if at_least and fraction:
        serve(1 / fraction)  # first, since the shares of the others can make up for it
    for group in drawn:
        if is_spare(group) and change(group) <= 0:
            take(group)
    if at_least and fraction:
        serve(math.inf)
    return np.isin(of_sample, list(held))


def _contents(
    labels: npt.NDArray[Any], groups: npt.NDArray[Any], count: int
) -> tuple[list[int], list[dict[int, int]]]:
    """Return the size of each class, and for each group the number of samples by class."""
    _, of_sample, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    pairs, amounts = np.unique(groups * len(sizes) + of_sample, return_counts=True)
    contents: list[dict[int, int]] = [{} for _ in range(count)]
    for pair, amount in zip(pairs.tolist(), amounts.tolist(), strict=True):
        group, label = divmod(pair, len(sizes))
        contents[group][label] = amount
    return sizes.tolist(), contents
