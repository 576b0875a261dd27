"""Features in two dimensions: principal components, or UMAP (an extra), of some of the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autods.checks.draws import at_most
from autods.checks.near import Joined, Rows
from autods.core.extras import require
from autods.core.registry import unknown
from autods.errors import UsageError
from autods.features.sets import StoredFeatures

METHODS = ("pca", "umap")
GROUPINGS = ("class", "dataset")
POINTS = 3000  # that are drawn
FITTED = 20_000  # rows that principal components are computed from

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """Points of a map.

    Attributes
    ----------
    title, method, encoder
        Of what, by which method, of whose features.
    xy
        float32 [n, 2].
    group
        int64 [n], positions in ``groups``.
    groups
        Names of the classes or datasets that colour the points.
    rows
        int64 [n], of the joined table.
    total
        Rows of which the points were drawn.
    explained
        Share of the variance along the two axes, of ``pca``; else ``None``.
    """

    title: str
    method: str
    encoder: str
    xy: Floats
    group: Rows
    groups: list[str]
    rows: Rows
    total: int
    explained: float | None


def map_features(
    sets: Sequence[StoredFeatures],
    title: str,
    *,
    method: str = "pca",
    by: str | None = None,
    points: int = POINTS,
    seed: int = 0,
) -> FeatureMap:
    """Place some rows of feature sets on a plane.

    Parameters
    ----------
    by
        What colours the points: ``class`` or ``dataset``; default: the classes of one dataset,
        else the datasets.
    points
        How many rows are drawn, equally from all groups as far as they have rows.

    Raises
    ------
    UnknownName, UsageError, FeatureMismatch
        For an unknown method or ``by``, umap without its package, fewer than three rows with a
        label, and features of different lengths.
    """
    by = by or ("class" if len(sets) == 1 else "dataset")
    for kind, value, known in (("method", method, METHODS), ("grouping", by, GROUPINGS)):
        if value not in known:
            raise unknown(kind, value, known)
    if method == "umap":
        require("--method umap", "umap")
    table = Joined(sets)
    group, groups = _groups(table, by)
    used = np.flatnonzero(group >= 0)
    if len(used) < 3:
        raise UsageError(
            f"'{title}' has {len(used)} images with a label in its splits: expected three or more; "
            "nothing was drawn."
        )
    generator = np.random.Generator(np.random.PCG64(seed))
    rows = at_most(used, group, points, generator)
    if method == "umap":
        xy, explained = _umap(table.units(rows), seed), None
    else:
        xy, explained = _principal(table, used, rows, generator)
    return FeatureMap(
        title, method, sets[0].encoder, xy, group[rows], groups, rows, len(used), explained
    )


def _groups(table: Joined, by: str) -> tuple[Rows, list[str]]:
    """Return the group of every row, -1 for those of no split, and the groups' names."""
    found: list[Rows] = []
    names: list[str] = []
    for stored in table.sets:
        task = stored.info.default_task
        labels = stored.labels(task).astype(np.int64)
        used = (stored.membership("clean") > 0) & (labels >= 0)
        own = [stored.dataset] if by == "dataset" else list(stored.info.class_names[task])
        number = np.zeros(len(labels), np.int64) if by == "dataset" else labels
        found.append(np.where(used, number + len(names), -1))
        several = by == "class" and len(table.sets) > 1
        names += [f"{stored.dataset}: {name}" for name in own] if several else own
    return np.concatenate(found), names


def _principal(
    table: Joined, used: Rows, rows: Rows, generator: np.random.Generator
) -> tuple[Floats, float]:
    """Return the first two principal components; signs are such that runs agree."""
    some = used if len(used) <= FITTED else np.sort(generator.permutation(used)[:FITTED])
    x = table.units(some)
    mean = x.mean(axis=0)
    x -= mean
    values, vectors = np.linalg.eigh((x.T @ x).astype(np.float64))
    axes = vectors[:, ::-1][:, :2]  # [d, 2]
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    xy = ((table.units(rows) - mean) @ axes).astype(np.float32)
    if xy.shape[1] < 2:  # one feature
        xy = np.pad(xy, ((0, 0), (0, 1)))
    total = float(values.sum())
    return xy, float(values[::-1][:2].sum()) / total if total > 0 else 1.0


def _umap(x: Floats, seed: int) -> Floats:
    import umap

    neighbours = min(15, len(x) - 1)
    made = umap.UMAP(n_neighbors=neighbours, metric="cosine", random_state=seed, n_jobs=1)
    return np.asarray(made.fit_transform(x), np.float32)
