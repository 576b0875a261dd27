"""What makes generated classes harder than the Gaussian ones, which are LDA's home ground."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autods.core.registry import unknown

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Difficulty:
    """How the features of `synthetic` differ from Gaussian classes of equal size.

    Modes lie further apart than classes do, so that the mean of a class says little of it and no
    linear boundary will do: with few samples closed forms lead, with thousands a trained
    network. Labels are wrong in train and dev alone; every class has as many test samples.
    """

    modes: int = 6  # at most, of a class; at least two
    mode: float = 0.2  # distance of the modes from the centre of their class
    spread: float = 0.08  # distance of the centres of classes from that of their dataset
    nuisance: float = 0.35  # variation within a mode, along the shared directions
    tails: float = 4.0  # degrees of freedom of Student's t that variation follows
    label_noise: float = 0.05  # share of train and dev labels that name another class of the task
    imbalance: float = 0.7  # the r-th largest class of a task has about r ** -imbalance as many

    def lengths(self, n: int, generator: np.random.Generator) -> Floats:
        """Draw the factor on the variation of each of n rows: [n, 1], of mean square 1."""
        chi = generator.chisquare(self.tails, n) / (self.tails - 2)
        return (1 / np.sqrt(chi))[:, None]

    def class_sizes(self, rows: int, classes: int, generator: np.random.Generator) -> Ints:
        """Share ``rows`` among classes, at least one each, in a random order of their sizes."""
        weights = (1 + generator.permutation(classes)) ** -self.imbalance
        spare = (rows - classes) * weights / weights.sum()
        sizes: Ints = np.floor(spare).astype(np.int64)
        rest = rows - classes - int(sizes.sum())
        sizes[np.argsort(sizes - spare, kind="stable")[:rest]] += 1  # largest remainders
        return sizes + 1

    def reported(self, labels: Ints, classes: int, generator: np.random.Generator) -> Ints:
        """Return the labels with a share of them moved to another class at random."""
        wrong = generator.random(len(labels)) < self.label_noise
        other = (labels + generator.integers(1, classes, len(labels))) % classes
        return np.where(wrong, other, labels)


DIFFICULTIES: dict[str, Difficulty | None] = {"plain": None, "hard": Difficulty()}


def difficulty_of(name: str) -> Difficulty | None:
    """Return a difficulty by name; raise `UnknownName` if there is none."""
    if name not in DIFFICULTIES:
        raise unknown("difficulty", name, DIFFICULTIES)
    return DIFFICULTIES[name]
