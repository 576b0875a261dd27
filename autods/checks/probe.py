"""Are these features any good for these classes? Three probes, their accuracy, what is confused.

Settings are chosen on dev rows, or on a fifth of train if there are no dev rows. The probes then
learn from train and dev together, and are measured once on test.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from autods.checks.discriminant import SHRINKAGES, Floats, Rows
from autods.checks.draws import at_most, held_out
from autods.checks.intervals import wilson
from autods.checks.near import Joined
from autods.checks.probe_models import discriminant, linear, nearest
from autods.core.progress import Progress, Silent
from autods.errors import UsageError
from autods.features.sets import StoredFeatures

MOST = 20_000  # rows learned from, drawn equally from classes; more change little and take long
PAIRS = 12  # of classes that are most confused

Model = Callable[[Floats, Rows, Floats, float, int], Rows]


def _neighbours(x: Floats, y: Rows, asked: Floats, setting: float, classes: int) -> Rows:
    return nearest(x, y, asked, int(setting), classes)


# What it is called, what is chosen, the values, the model.
PROBES: dict[str, tuple[str, tuple[float, ...], Model]] = {
    "kNN": ("neighbours", (1, 5, 10, 20), _neighbours),
    "LDA": ("shrinkage", SHRINKAGES, discriminant),
    "linear": ("C", (1.0, 10.0, 100.0, 1000.0), linear),
}


@dataclass(frozen=True, eq=False)
class Answer:
    """What one probe says of the test rows."""

    name: str
    setting: str  # what was chosen, "neighbours 5"
    chosen_on: float  # accuracy where it was chosen
    predicted: Rows  # int64 [n], classes
    accuracy: float
    interval: tuple[float, float]  # of 95 %
    seconds: float


@dataclass(frozen=True, eq=False)
class Probe:
    """Probes of one feature set.

    Attributes
    ----------
    learned, left_out
        Rows that were learned from, and those of train and dev that `MOST` leaves out.
    rows, labels
        int64 [n], test rows of the feature set and their classes.
    chance
        Share of the test rows that the most frequent class has.
    drawn
        Whether settings were chosen on a fifth of train, for want of dev rows.
    """

    dataset: str
    encoder: str
    class_names: list[str]
    learned: int
    left_out: int
    rows: Rows
    labels: Rows
    chance: float
    drawn: bool
    answers: list[Answer] = field(default_factory=list)

    @property
    def best(self) -> Answer:
        """The probe that did best where settings were chosen: test rows have no say."""
        return max(self.answers, key=lambda answer: answer.chosen_on)

    def confusion(self) -> Rows:
        """Count test rows by class and answer of the best probe: int64 [C, C]."""
        count = len(self.class_names)
        table = np.zeros((count, count), np.int64)
        np.add.at(table, (self.labels, self.best.predicted), 1)
        return table

    def confused(self) -> list[tuple[int, int, int]]:
        """Return pairs of classes and how many test rows of either are taken for the other."""
        table = self.confusion()
        both = np.triu(table + table.T, 1)
        ranked = np.argsort(-both, axis=None, kind="stable")[:PAIRS]
        pairs = [(*divmod(int(place), len(table)), int(both.flat[place])) for place in ranked]
        return [pair for pair in pairs if pair[2]]


def probe(
    stored: StoredFeatures,
    task: str | None = None,
    protocol: str = "clean",
    progress: Progress | None = None,
    seed: int = 0,
) -> Probe:
    """Learn the classes from stored features, three ways.

    Raises
    ------
    UsageError
        When there is one class only, or no test or train row has a label.
    """
    progress = progress or Silent()
    task = task or stored.info.default_task
    names, labels = list(stored.info.class_names[task]), stored.labels(task).astype(np.int64)
    rows = {split: stored.rows(split, protocol) for split in ("train", "dev", "test")}
    rows = {split: of[labels[of] >= 0] for split, of in rows.items()}
    _check(stored, rows, labels)
    generator = np.random.Generator(np.random.PCG64(seed))
    drawn = not len(rows["dev"])
    if drawn:
        rows["train"], rows["dev"] = held_out(rows["train"], labels, generator)
    both, test = np.concatenate([rows["train"], rows["dev"]]), rows["test"]
    used = {
        "train": at_most(rows["train"], labels, MOST, generator),
        "dev": at_most(rows["dev"], labels, MOST // 4, generator),
        "both": at_most(both, labels, MOST, generator),
        "test": test,
    }
    data = {key: (Joined([stored]).units(of), labels[of]) for key, of in used.items()}
    learned = len(used["both"])
    chance = float(np.bincount(labels[test]).max()) / len(test)
    result = Probe(
        *(stored.dataset, stored.encoder, names, learned, len(both) - learned),
        *(test, labels[test], chance, drawn),
    )
    steps = sum(len(values) + 1 for _, values, _ in PROBES.values())
    progress.start(f"probing {stored.dataset}", steps, "fits")
    try:
        for name in PROBES:
            result.answers.append(_answer(name, data, len(names), progress))
    finally:
        progress.finish()
    return result


def _answer(
    name: str, data: dict[str, tuple[Floats, Rows]], classes: int, progress: Progress
) -> Answer:
    """Choose a probe's setting on dev, learn from all, judge test."""
    what, values, model = PROBES[name]
    began, chosen_on = time.perf_counter(), []
    asked, right = data["dev"]
    for value in values:
        guess = model(*data["train"], asked, value, classes)
        chosen_on.append(float((guess == right).mean()) if len(right) else 0.0)
        progress.advance(1)
    value = values[int(np.argmax(chosen_on))]
    test, labels = data["test"]
    predicted = model(*data["both"], test, value, classes)
    progress.advance(1)
    hits = int((predicted == labels).sum())
    return Answer(
        name=name,
        setting=f"{what} {value:g}",
        chosen_on=max(chosen_on),
        predicted=predicted,
        accuracy=hits / len(test),
        interval=wilson(hits, len(test)),
        seconds=time.perf_counter() - began,
    )


def _check(stored: StoredFeatures, rows: dict[str, Rows], labels: Rows) -> None:
    for split, of in rows.items():
        if split != "dev" and not len(of):
            raise UsageError(
                f"dataset '{stored.dataset}' has no {split} image with a label by "
                f"'{stored.encoder}': expected some to "
                f"{'learn from' if split == 'train' else 'judge by'}; "
                "nothing was probed. Give the manifest a split with a test part (`rule: random` "
                "draws one), index and extract again."
            )  # fmt: skip
    if len(np.unique(labels[rows["train"]])) < 2:
        raise UsageError(
            f"dataset '{stored.dataset}' has one class only: expected two or more to tell apart; "
            "nothing was probed. A folder of images needs a folder for each class."
        )
