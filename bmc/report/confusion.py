"""What was taken for what: the class-il answers of groups, over classes, tasks and datasets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bmc.report.finished import Run
from bmc.report.groups import Group

Numbers = npt.NDArray[np.int64]


class NamedClass(NamedTuple):
    """One class of a comparison; tasks of any order have it under one number."""

    name: str
    task: str
    dataset: str


class Pair(NamedTuple):
    """How often class ``label`` was taken for another: samples, and their share of the class."""

    label: int
    answer: int
    samples: int
    share: float


@dataclass(frozen=True)
class Confusion:
    """The answers of a group, all of its runs together.

    ``label``, ``answer`` and ``count``, int64 [m], are the pairs that occur; classes are numbered
    as in the `Classes` that made it.
    """

    group: Group
    label: Numbers
    answer: Numbers
    count: Numbers
    classes: int

    def recall(self) -> tuple[npt.NDArray[np.float64], Numbers]:
        """Return the share of right answers and the samples of each class, [C]; NaN without any."""
        samples = self._sum(self.label, self.count)
        right = self.label == self.answer
        hits = self._sum(self.label[right], self.count[right])
        with np.errstate(invalid="ignore"):
            return hits / samples, samples // max(1, len(self.group.runs))

    def over(self, unit: Numbers, units: int) -> npt.NDArray[np.float64]:
        """Return the shares of answers [U, U] by the unit of each class, int64 [C]; rows are true.

        A row without samples is zero.
        """
        table = np.zeros((units, units))
        np.add.at(table, (unit[self.label], unit[self.answer]), self.count)
        shares: npt.NDArray[np.float64] = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
        return shares

    def mistakes(self, most: int) -> list[Pair]:
        """Return the pairs of classes that are taken for each other most often."""
        wrong = np.flatnonzero(self.label != self.answer)
        order = np.lexsort((self.answer[wrong], self.label[wrong], -self.count[wrong]))
        samples = self._sum(self.label, self.count)
        return [
            Pair(
                int(self.label[k]), int(self.answer[k]), int(self.count[k]),
                float(self.count[k] / samples[self.label[k]]),
            )
            for k in wrong[order[:most]]
        ]  # fmt: skip

    def _sum(self, of: Numbers, count: Numbers) -> Numbers:
        found: Numbers = np.bincount(of, weights=count, minlength=self.classes).astype(np.int64)
        return found


class Classes:
    """The classes of all runs of a comparison, in the order of the first that has them."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.all: list[NamedClass] = []
        self._first: dict[str, int] = {}
        for run in runs:
            for task in run.tasks:
                if task.name not in self._first:
                    self._first[task.name] = len(self.all)
                    names = task.class_names or [f"class {k}" for k in range(task.classes)]
                    self.all += [NamedClass(name, task.name, task.dataset) for name in names]

    def numbers(self, run: Run) -> Numbers:
        """Return the number here of each class of a run, int64 [classes of the run]."""
        parts = [self._first[task.name] + np.arange(task.classes) for task in run.tasks]
        return np.concatenate(parts)

    def confusion(self, group: Group) -> Confusion | None:
        """Count the answers of a group; ``None`` if a run did not store them.

        Raises `UsageError` if what a run stored is damaged.
        """
        count = len(self.all)
        keys: list[Numbers] = []
        for run in group.runs:
            answers = run.answers()
            if answers is None:
                return None
            number = self.numbers(run)
            keys += [number[said.label] * count + number[said.answer] for said in answers.values()]
        pairs, counts = np.unique(np.concatenate(keys), return_counts=True)
        return Confusion(group, pairs // count, pairs % count, counts.astype(np.int64), count)

    def units(self) -> tuple[str, list[str], Numbers]:
        """Return what answers are set out by, names, and the unit of each class, int64 [C].

        Datasets; the tasks of a single dataset; the classes of a single task.
        """
        kinds: Iterator[tuple[str, list[Any]]] = iter((
            ("dataset", [c.dataset for c in self.all]),
            ("task", [c.task for c in self.all]),
        ))  # fmt: skip
        for kind, of in kinds:
            names = list(dict.fromkeys(of))
            if len(names) > 1:
                place = {name: k for k, name in enumerate(names)}
                return kind, names, np.array([place[name] for name in of], np.int64)
        return "class", [c.name for c in self.all], np.arange(len(self.all))
