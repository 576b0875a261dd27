"""Labels that the features contradict: out-of-sample discriminant analysis, calibrated.

Each image is judged by a linear discriminant of the images of other folds (Fisher's,
`autods.checks.discriminant`). Its scores become probabilities by one temperature that is fitted on
the same out-of-sample scores (Guo et al. 2017). An image is suspicious if its own
label is improbable and one other likely.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from autods.checks.discriminant import SHRINKAGES, Head, Moments
from autods.checks.near import Joined, Rows
from autods.core.progress import Progress, Silent

IMPROBABLE = 0.02  # a suspicious label has at most this probability
LIKELY = 0.5  # and another class at least this one; both chosen in docs/benchmarks/audit.md
FOLDS = 5
BLOCK = 4096  # rows scored at once
LARGEST = 20  # rows of a group; of more, near-duplicates are a chain and not copies of one image
CALIBRATED = 20_000  # rows that the temperature is fitted on
TEMPERATURES = (1e-3, 10.0)

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class LabelScores:
    """What the other images say of the labels of n rows.

    Attributes
    ----------
    rows
        int64 [n], of the table; those that have a label.
    given, likely
        int64 [n], the label, and the most probable class but for it.
    p_given, p_likely
        float32 [n], their probabilities.
    accuracy
        Share of rows whose label is the most probable class.
    temperature
        By which scores are multiplied before the softmax.
    """

    rows: Rows
    given: Rows
    likely: Rows
    p_given: Floats
    p_likely: Floats
    accuracy: float
    temperature: float

    def suspicious(self, improbable: float = IMPROBABLE, likely: float = LIKELY) -> Rows:
        """Return positions int64 [m] of suspicious labels, the most suspicious first."""
        found = np.flatnonzero((self.p_given <= improbable) & (self.p_likely >= likely))
        return found[np.argsort(self.p_given[found], kind="stable")]


def score_labels(
    table: Joined,
    labels: Rows,
    group: Rows | None = None,
    progress: Progress | None = None,
    seed: int = 0,
) -> LabelScores | None:
    """Judge every label by the images of other folds; ``None`` if there are not two classes.

    Parameters
    ----------
    table
        Rows [N, d].
    labels
        int64 [N]; -1: none.
    group
        int64 [N]; rows of one number, such as copies of an image, share a fold, so that none
        vouches for another. Groups of more than `LARGEST` rows are taken apart.
    """
    progress = progress or Silent()
    rows = np.flatnonzero(labels >= 0)
    names, given = np.unique(labels[rows], return_inverse=True)
    if len(names) < 2:
        return None
    folds = _folds(rows if group is None else group[rows], seed)
    progress.start("judging labels", 2 * len(rows), "images")
    try:
        moments = _moments(table, rows, given, folds, len(names), progress)
        tried = [_calibrated(table, rows, given, folds, moments, s) for s in SHRINKAGES]
        _, temperature, heads = min(tried, key=lambda one: one[0])
        result = _judge(table, rows, given, folds, heads, temperature, progress)
    finally:
        progress.finish()
    likely, p_given, p_likely, accuracy = result
    return LabelScores(rows, names[given], names[likely], p_given, p_likely, accuracy, temperature)


def _folds(group: Rows, seed: int) -> Rows:
    """Draw the fold of every row; groups stay together, except chains of all too many."""
    _, number, size = np.unique(group, return_inverse=True, return_counts=True)
    chained = size[number] > LARGEST
    number[chained] = len(size) + np.arange(int(chained.sum()))
    _, number = np.unique(number, return_inverse=True)
    order = np.random.Generator(np.random.PCG64(seed)).permutation(int(number.max()) + 1)
    return order[number] % FOLDS


def _moments(
    table: Joined, rows: Rows, given: Rows, folds: Rows, classes: int, progress: Progress
) -> list[Moments]:
    """Return the moments for each fold, of the rows that are not in it."""
    of_fold = [Moments.empty(classes, table.sets[0].dim) for _ in range(FOLDS)]
    for fold, moments in enumerate(of_fold):
        own = np.flatnonzero(folds == fold)
        for start in range(0, len(own), BLOCK):
            chosen = own[start : start + BLOCK]
            moments.add(table.units(rows[chosen]), given[chosen])
            progress.advance(len(chosen))
    total = Moments.empty(classes, table.sets[0].dim)
    for moments in of_fold:
        total += moments
    return [total - moments for moments in of_fold]


def _calibrated(
    table: Joined, rows: Rows, given: Rows, folds: Rows, moments: list[Moments], shrinkage: float
) -> tuple[float, float, list[Head]]:
    """Return loss, temperature and discriminants: labels are likeliest under this factor."""
    step = max(1, len(rows) // CALIBRATED)
    heads = [of.head(shrinkage) for of in moments]
    scores, labels = [], []
    for fold, head in enumerate(heads):
        own = np.flatnonzero(folds == fold)[::step]
        scores.append(table.units(rows[own]) @ head.weights + head.bias)
        labels.append(given[own])
    score, label = np.concatenate(scores), np.concatenate(labels)
    known = np.isfinite(score[np.arange(len(label)), label])  # its class is in another fold
    score, label = score[known], label[known]
    if not len(label):
        return 0.0, 1.0, heads

    def loss(log_temperature: float) -> float:
        return -float(np.log(_own(_softmax(score * np.exp(log_temperature)), label)).mean())

    bounds = (float(np.log(TEMPERATURES[0])), float(np.log(TEMPERATURES[1])))
    found = minimize_scalar(loss, bounds=bounds, method="bounded")
    return float(found.fun), float(np.exp(found.x)), heads


def _judge(
    table: Joined,
    rows: Rows,
    given: Rows,
    folds: Rows,
    heads: list[Head],
    temperature: float,
    progress: Progress,
) -> tuple[Rows, Floats, Floats, float]:
    """Return each row's likeliest other class, both probabilities, and the accuracy."""
    likely = np.zeros(len(rows), np.int64)
    p_given, p_likely = np.ones(len(rows), np.float32), np.zeros(len(rows), np.float32)
    for fold, head in enumerate(heads):
        own = np.flatnonzero(folds == fold)
        for start in range(0, len(own), BLOCK):
            chosen = own[start : start + BLOCK]
            score = (table.units(rows[chosen]) @ head.weights + head.bias) * temperature
            at = np.arange(len(chosen)), given[chosen]
            unknown = ~np.isfinite(score[at])  # the only fold of its class: nothing is known
            probability = _softmax(score)
            p_given[chosen] = probability[at]
            probability[at] = -1
            likely[chosen] = probability.argmax(1)
            p_likely[chosen] = probability.max(1)
            p_given[chosen[unknown]], p_likely[chosen[unknown]] = 1, 0
            progress.advance(len(chosen))
    return likely, p_given, p_likely, float((p_given > p_likely).mean())


def _softmax(score: Floats) -> Floats:
    power = np.exp(score - score.max(axis=1, keepdims=True))
    return np.asarray(power / power.sum(axis=1, keepdims=True), np.float32)


def _own(probability: Floats, label: Rows) -> Floats:
    return np.maximum(probability[np.arange(len(label)), label], 1e-12)
