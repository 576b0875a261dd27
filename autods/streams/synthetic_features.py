"""Features made from a seed: the counts of Stream71, and numbers that look like CLIP's.

The published shape is data, ``manifests/shapes/stream71.yaml``. Tasks in order, with global
class numbers, are `autods.streams.synthetic`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from autods.core.splits import SPLITS
from autods.manifest.catalogue import load
from autods.manifest.files import shipped_manifests
from autods.streams.difficulty import Difficulty

GENERATOR = 1  # raise when the same parameters give other numbers than before
BLOCK = 8192  # rows drawn at once; fixed, since every block has a seed of its own
DEFAULT_SCALE = 0.002  # about 36,000 training samples: a demo's size
TRAIN_PER_CLASS, TEST_PER_CLASS = 10, 3  # at least; train counts dev
TRAIN_PER_TASK, TEST_PER_TASK = 100, 30  # at least; train counts dev
DEV_SHARE = 0.1  # of train, and at least one sample per class
TEST_SHARE = 0.25  # of train, if every class has the same number of samples
RAW_LENGTH = 10.0  # factor on rows that are not normalised: raw CLIP rows are about 10 long

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class DatasetShape(BaseModel):
    """Counts of one dataset; ``stand_in`` names those that are plausible, not known."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    classes: int
    train: int  # with dev
    test: int
    stand_in: list[Literal["classes", "train", "test"]] = []


class StreamShape(BaseModel):
    """Counts of a published stream, and of its datasets in their order."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    classes: int
    train: int
    test: int
    datasets: list[DatasetShape]


@lru_cache(maxsize=1)
def published_shape() -> StreamShape:
    """Return the shape of Stream71: 71 datasets, 2,866 classes, 6.77 M training images."""
    return load(shipped_manifests() / "shapes" / "stream71.yaml", StreamShape)


@dataclass(frozen=True)
class Recipe:
    """How the features are made; the defaults are calibrated (see `autods.streams.synthetic`).

    A row is ``mean + (group + domain + class + mode + nuisance) @ basis + noise``. All terms
    but the first and the last live in ``rank`` directions shared by all tasks, of which the
    first hold most of the energy. Numbers are root-mean-square lengths.
    """

    rank: int = 40  # directions that carry information and nuisance
    groups: int = 14  # sets of similar datasets, five or six each
    mean: float = 0.7  # the common direction: CLIP features lie in a narrow cone
    group: float = 0.2  # centre of a group of datasets
    domain: float = 0.17  # centre of a dataset within its group
    spread: float = 0.25  # centre of a class within its dataset
    easiness: tuple[float, float] = (0.8, 1.3)  # range of the factor on spread, over datasets
    mode: float = 0.18  # distance of a class's modes from its centre
    several_modes: float = 0.5  # share of classes that have two or three modes
    nuisance: float = 0.33  # variation within a class, along the shared directions
    decay: float = 0.5  # exponent: nuisance of direction k is about k ** -decay
    signal_decay: float = 1.1  # centres decay as nuisance ** signal_decay
    noise: float = 0.12  # variation within a class, the same in every direction


@dataclass(eq=False, kw_only=True)
class SyntheticFeatures:
    """The generator: features of any block of any task, independent of all others.

    The seed fixes everything, whatever tasks are asked for and in whatever order. `Recipe` has
    the constants of the model; the other options are those of `synthetic_stream`.
    """

    seed: int = 0
    scale: float = DEFAULT_SCALE
    classes: int = field(default_factory=lambda: published_shape().classes)
    per_class: int | None = None
    dim: int = 512
    normalize: str = "l2"
    recipe: Recipe = Recipe()
    difficulty: Difficulty | None = None  # None: Gaussian modes, classes of equal size

    def __post_init__(self) -> None:
        if hard := self.difficulty:
            self.recipe = replace(
                self.recipe, mode=hard.mode, spread=hard.spread, nuisance=hard.nuisance,
                several_modes=1.0,
            )  # fmt: skip

    @property
    def shape(self) -> StreamShape:
        """The published counts."""
        return published_shape()

    def parameters(self) -> dict[str, Any]:
        """Return all that determines the numbers of every task."""
        given = {key: value for key, value in asdict(self).items() if value is not None}
        return {"generator": GENERATOR, **given}

    @cached_property
    def class_counts(self) -> list[int]:
        """Classes of each of the 71 tasks."""
        full = np.array([dataset.classes for dataset in self.shape.datasets])
        spare = (self.classes - 2 * len(full)) * (full - 2) / (full - 2).sum()  # above 2 each
        counts = np.floor(spare).astype(np.int64)
        rest = self.classes - 2 * len(full) - int(counts.sum())
        counts[np.argsort(counts - spare, kind="stable")[:rest]] += 1  # largest remainders
        return [int(count) + 2 for count in counts]

    @property
    def groups(self) -> Ints:
        """Group of similar datasets that each of the 71 tasks belongs to: int64 [71]."""
        return self._world.groups

    def sizes(self, task: int) -> dict[str, int]:
        """Return the number of samples of each split of a task."""
        published, classes = self.shape.datasets[task], self.class_counts[task]
        if self.per_class is not None:
            shares = {"train": 1.0, "dev": DEV_SHARE, "test": TEST_SHARE}
            return {k: classes * max(1, round(v * self.per_class)) for k, v in shares.items()}
        factor = self.scale * classes / published.classes
        train = max(round(factor * published.train), TRAIN_PER_CLASS * classes, TRAIN_PER_TASK)
        test = max(round(factor * published.test), TEST_PER_CLASS * classes, TEST_PER_TASK)
        dev = max(round(DEV_SHARE * train), classes)
        return {"train": train - dev, "dev": dev, "test": test}

    def labels(self, task: int, split: str) -> Ints:
        """Return class numbers within the task: int64 [n].

        They take turns, 0, 1, ..., 0, 1, ..., unless a difficulty makes classes unequal and
        labels wrong.
        """
        classes, made_from = self.class_counts[task], self._made_from(task, split)
        if self.difficulty is None or split == "test":
            return made_from
        return self.difficulty.reported(
            made_from, classes, self._generator(4, task, SPLITS.index(split))
        )

    def _made_from(self, task: int, split: str) -> Ints:
        """Return the classes that the features of a split are drawn from: int64 [n]."""
        rows, classes = self.sizes(task)[split], self.class_counts[task]
        if self.difficulty is None or split == "test":
            return np.arange(rows) % classes
        sizes = self.difficulty.class_sizes(rows, classes, self._generator(3, task))
        order = self._generator(3, task, SPLITS.index(split)).permutation(rows)
        return np.repeat(np.arange(classes), sizes)[order]

    def features(self, task: int, split: str) -> npt.NDArray[np.float16]:
        """Return all features of one split of one task: float16 [n, d]."""
        out = np.empty((self.sizes(task)[split], self.dim), np.float16)
        start = 0
        for part in self.blocks(task, split):
            out[start : start + len(part)] = part
            start += len(part)
        return out

    def blocks(self, task: int, split: str) -> Iterator[npt.NDArray[np.float16]]:
        """Yield the features of one split of one task, at most 8,192 rows at once.

        For writing big streams to shards without holding them: at scale 1 the largest
        task has 2.7 M rows.
        """
        labels, (centres, n_modes) = self._made_from(task, split), self._centres(task)
        for number, start in enumerate(range(0, len(labels), BLOCK)):
            generator = self._generator(2, task, SPLITS.index(split), number)
            part = labels[start : start + BLOCK]
            mode = (generator.random(len(part)) * n_modes[part]).astype(np.int64)
            yield self._draw(centres[part, mode], generator)

    def _generator(self, *place: int) -> np.random.Generator:
        """Return the generator of one place; no place shares numbers with another."""
        return np.random.Generator(np.random.PCG64([self.seed, *place]))

    def _draw(self, h: Floats, generator: np.random.Generator) -> npt.NDArray[np.float16]:
        """Draw one row around each centre [n, rank]: float16 [n, d].

        Computed in float64: what differs in the last bits between linear algebra libraries
        and numbers of threads is gone after rounding to float16.
        """
        recipe, world = self.recipe, self._world
        hard = self.difficulty
        length: float | Floats = 1.0 if hard is None else hard.lengths(len(h), generator)
        h = h + length * world.nuisance * generator.standard_normal(h.shape)  # [n, rank]
        x: Floats = h @ world.basis + world.mean  # [n, d]
        noise = generator.standard_normal(x.shape, dtype=np.float32)
        x += noise * np.float32(recipe.noise / math.sqrt(self.dim))
        if self.normalize == "none":
            x *= RAW_LENGTH
        else:
            x /= np.sqrt(np.einsum("nd,nd->n", x, x))[:, None]
        return x.astype(np.float16)

    @cached_property
    def _world(self) -> _World:
        """What all tasks share, always drawn for all 71."""
        recipe, generator, n_tasks = self.recipe, self._generator(0), len(self.shape.datasets)
        mean = generator.standard_normal(self.dim)
        basis = generator.standard_normal((recipe.rank, self.dim)) / math.sqrt(self.dim)
        profile = (1 + np.arange(recipe.rank) / 2) ** -recipe.decay
        signal = _unit(profile**recipe.signal_decay)
        centres = generator.standard_normal((recipe.groups, recipe.rank)) * signal
        groups = generator.permutation(n_tasks) % recipe.groups
        easiness = np.geomspace(*recipe.easiness, n_tasks)[generator.permutation(n_tasks)]
        return _World(
            mean=recipe.mean * _unit(mean),
            basis=basis,
            nuisance=recipe.nuisance * _unit(profile),
            signal=signal,
            group_centres=centres,
            groups=groups,
            easiness=easiness,
        )

    def class_centres(self, task: int) -> Floats:
        """Return the centres of a task's modes before they meet ``basis``: [C, modes, rank].

        Drawn for all published classes, then cut, so a smaller stream has the same ones. The
        modes of a class with one mode are equal.
        """
        return self._centres(task)[0]

    def _centres(self, task: int) -> tuple[Floats, Ints]:
        """Return `class_centres` and the number of modes in use, int64 [C]."""
        recipe, world, generator = self.recipe, self._world, self._generator(1, task)
        published = self.shape.datasets[task].classes
        domain = generator.standard_normal(recipe.rank) * world.signal
        spread = generator.standard_normal((published, 1, recipe.rank)) * world.signal
        most = 3 if self.difficulty is None else self.difficulty.modes
        modes = generator.standard_normal((published, most, recipe.rank)) * world.signal
        several = generator.random(published) < recipe.several_modes
        n_modes = np.where(several, generator.integers(2, most + 1, published), 1)
        modes[~several] = 0
        centres = recipe.group * world.group_centres[world.groups[task]] + recipe.domain * domain
        centres = centres + world.easiness[task] * (recipe.spread * spread + recipe.mode * modes)
        kept = self.class_counts[task]
        return centres[:kept], n_modes[:kept]


@dataclass(frozen=True, eq=False)
class _World:
    """What all tasks share; r = rank, T = 71."""

    mean: Floats  # [d]
    basis: Floats  # [r, d]
    nuisance: Floats  # [r], standard deviations
    signal: Floats  # [r], of length 1
    group_centres: Floats  # [groups, r]
    groups: Ints  # [T], the group of each task
    easiness: Floats  # [T]


def _unit(vector: Floats) -> Floats:
    """Scale a vector to length 1."""
    return vector / math.sqrt(float(np.dot(vector, vector)))
