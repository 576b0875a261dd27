"""Metrics as pure functions of the accuracy matrix R. Nothing here changes its input.

R is float [S, T]: row s holds the accuracy on each of the T tasks after ``learned[s]`` tasks
were learned (NaN: not measured). A run that is measured after every task has S = T and
``learned = 1 ... T``; other evaluation grids have fewer rows. Tasks are numbered in
the order of the stream, so task j is learned in the first row with ``learned[s] > j``.

A task that was never measured, a column of NaN, changes no metric: each is that of the other
tasks, and NaN if nothing is left to take it of.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float64]

GRID = "; in a report over the rows that all its runs have, absent if they share only the last"
ON_GRID = ("average_incremental_micro", "bwt_gem", "forgetting_chaudhry", "learning_accuracy")

DEFINITIONS = {
    "final_mean": "mean over tasks j of R[last, j] (task-macro; the paper's headline)",
    "final_micro": "accuracy over all test samples after the last task",
    "average_incremental_micro": "mean over rows of the accuracy on all test samples seen so far "
    f"(iCaRL){GRID}",
    "bwt_gem": "mean over tasks j learned before the last row of R[last, j] - R[row of j, j] "
    f"(GEM, arXiv 1706.08840){GRID}",
    "forgetting_chaudhry": "mean over tasks j learned before the last row of "
    "max over earlier rows l of R[l, j], minus R[last, j]; the last row is not in the maximum "
    f"(arXiv 1801.10112){GRID}",
    "fwt_gem": "mean over tasks j learned after the first row of the accuracy on j in the row "
    "before it was learned, minus b_j, that of the untrained model (GEM, arXiv 1706.08840); "
    "task-il only: in class-il an unseen class cannot be the answer; in a report absent unless all "
    "runs were measured after the same tasks",
    "learning_accuracy": f"mean over tasks j of R[row of j, j], the first row with j learned{GRID}",
    "intransigence": "mean over tasks j of a*_j - R[row of j, j], a*_j the final accuracy of joint "
    f"training in the same order and seed (arXiv 1801.10112){GRID}",
    "worst_task": "minimum over tasks j of R[last, j]",
    "dataset_id": "share of test samples predicted as a class of the right dataset (task-macro)",
    "within_dataset": "final_mean / dataset_id: class accuracy once the dataset is right",
}


def final_mean(R: Matrix) -> float:
    """Mean over tasks of the last row."""
    return _mean(R[-1])


def final_micro(R: Matrix, sizes: Sequence[int]) -> float:
    """Accuracy over all test samples in the last row; ``sizes`` are the test counts [T]."""
    return _micro(R[-1], np.asarray(sizes, float))


def average_incremental_micro(R: Matrix, sizes: Sequence[int]) -> float:
    """Mean over rows of the micro accuracy on the tests seen so far (iCaRL).

    NaN when several tasks were measured for the first time in the only row: nothing was
    incremental.
    """
    rows = [row for row in R if not np.isnan(row).all()]
    if len(rows) == 1 and np.count_nonzero(~np.isnan(rows[0])) > 1:
        return float("nan")
    return _mean(_micro(row, np.asarray(sizes, float)) for row in rows)


def bwt_gem(R: Matrix, learned: Sequence[int]) -> float:
    """Backward transfer of GEM: last accuracy minus accuracy when learned; NaN for one row."""
    return _mean(R[-1, j] - R[s, j] for j, s in _first_rows(learned) if s < len(R) - 1)


def forgetting_chaudhry(R: Matrix, learned: Sequence[int]) -> float:
    """Forgetting of Chaudhry et al. 2018; the maximum excludes the last row, so it can be < 0."""
    return _mean(np.max(R[s:-1, j]) - R[-1, j] for j, s in _first_rows(learned) if s < len(R) - 1)


def fwt_gem(before: Vector, untrained: Vector) -> float:
    """Forward transfer of GEM: what earlier tasks did for tasks that were not learned yet.

    ``before`` is the accuracy [T] on each task in the row before it was learned (NaN in the first
    group), ``untrained`` that before any training (b). NaN when nothing was measured ahead.
    """
    return _mean(np.asarray(before, float) - np.asarray(untrained, float))


def intransigence(R: Matrix, learned: Sequence[int], joint: Vector) -> float:
    """How much worse tasks were learned than by joint training, of accuracy ``joint`` [T]."""
    return _mean(joint[j] - R[s, j] for j, s in _first_rows(learned))


def within_dataset(final: float, dataset_id: float) -> float:
    """Class-il accuracy once the dataset is right; NaN when no dataset ever was."""
    return final / dataset_id if dataset_id else float("nan")


def learning_accuracy(R: Matrix, learned: Sequence[int]) -> float:
    """Mean accuracy on each task in the row in which it was learned."""
    return _mean(R[s, j] for j, s in _first_rows(learned))


def worst_task(R: Matrix) -> float:
    """Lowest accuracy of the last row."""
    return float(min(_known(R[-1]), default=np.nan))


def summary(R: Matrix, learned: Sequence[int], sizes: Sequence[int]) -> dict[str, float]:
    """Return all metrics that follow from one accuracy matrix, by name."""
    return {
        "final_mean": final_mean(R),
        "final_micro": final_micro(R, sizes),
        "average_incremental_micro": average_incremental_micro(R, sizes),
        "bwt_gem": bwt_gem(R, learned),
        "forgetting_chaudhry": forgetting_chaudhry(R, learned),
        "learning_accuracy": learning_accuracy(R, learned),
        "worst_task": worst_task(R),
    }


def _first_rows(learned: Sequence[int]) -> list[tuple[int, int]]:
    """Return (task j, first row s with learned[s] > j) for every learned task."""
    rows = np.searchsorted(np.asarray(learned), np.arange(learned[-1]), side="right")
    return list(enumerate(int(s) for s in rows))


def _known(values: Iterable[float]) -> list[float]:
    return [float(value) for value in values if not np.isnan(value)]


def _mean(values: Iterable[float]) -> float:
    """Return the mean of the values that are not NaN; NaN if there is none."""
    known = _known(values)
    return float(np.mean(known)) if known else float("nan")


def _micro(row: npt.NDArray[np.float64], sizes: npt.NDArray[np.float64]) -> float:
    known = ~np.isnan(row)
    total = sizes[known].sum()
    return float((row[known] * sizes[known]).sum() / total) if total else float("nan")
