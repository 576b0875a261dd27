"""scikit-learn: batches of a stream for ``partial_fit``, and the accuracy matrix R."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from autods.errors import UsageError
from autods.interop.arrays import feature_set
from autods.streams.stream import Stream, Task

Matrix = npt.NDArray[np.float64]
Batch = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]

SCORES = ("decision_function", "predict_proba", "predict_log_proba")
ROWS = 4096  # test samples scored at once


def task_batches(
    task: Task, batch_size: int = 64, *, epochs: int = 1, seed: int = 0
) -> Iterator[Batch]:
    """Yield shuffled training batches: features float32 [b, d] and global labels int64 [b].

    Every sample comes once per epoch, in the order of `FeatureSet.batches` with seed
    ``(seed, task, epoch)``.
    """
    for epoch in range(epochs):
        for x, y in task.train.batches(batch_size, (seed, task.index, epoch)):
            yield x.numpy(), y.numpy()


def learn_stream(
    estimator: Any,
    stream: Stream,
    *,
    batch_size: int = 64,
    epochs: int = 1,
    seed: int = 0,
    split: str = "test",
) -> Matrix:
    """Train by ``partial_fit`` task after task; return R, float64 [T, T].

    Row t is `accuracies` after task t, on ``split``. The estimator is trained in place; all
    classes of the stream are announced in the first call, as ``partial_fit`` demands.
    """
    if not hasattr(estimator, "partial_fit"):
        raise UsageError(
            f"{type(estimator).__name__} has no partial_fit: it cannot learn task after task. "
            "Choose an estimator that has, such as SGDClassifier; nothing was trained."
        )
    R = np.full((len(stream.tasks), len(stream.tasks)), np.nan)
    classes = np.arange(stream.n_classes)
    for task in stream.tasks:
        for x, y in task_batches(task, batch_size, epochs=epochs, seed=seed):
            estimator.partial_fit(x, y, classes=classes)
        R[task.index] = accuracies(estimator, stream, task.index + 1, split=split)
    return R


def accuracies(estimator: Any, stream: Stream, learned: int, *, split: str = "test") -> Matrix:
    """Return the accuracy on each of the first ``learned`` tasks, float64 [T], NaN for the others.

    Of an estimator with scores, those of classes that may be the answer compete: in
    ``class-il`` the classes of the learned tasks, in ``task-il`` those of the sample's own
    task. One without is asked for its prediction, which only serves ``class-il``.
    """
    scorer = next((name for name in SCORES if hasattr(estimator, name)), "")
    if not scorer and stream.scenario == "task-il":
        raise UsageError(
            f"{type(estimator).__name__} predicts without scores: it cannot be told the task of "
            "a sample. Measure it in scenario class-il."
        )
    row = np.full(len(stream.tasks), np.nan)
    seen = stream.tasks[:learned]
    for task in seen:
        data = feature_set(task, split)
        answer_of = [task] if stream.scenario == "task-il" else seen
        parts = [
            _answers(estimator, scorer, data.features[k : k + ROWS].astype(np.float32), answer_of)
            for k in range(0, len(data), ROWS)
        ]
        if parts:
            row[task.index] = np.mean(np.concatenate(parts) == data.labels)
    return row


def _answers(
    estimator: Any, scorer: str, x: npt.NDArray[np.float32], tasks: list[Task]
) -> npt.NDArray[Any]:
    """Return the best class of some tasks for each row of x, [n]."""
    if not scorer:
        return np.asarray(estimator.predict(x))
    classes = np.asarray(estimator.classes_)
    start, stop = tasks[0].class_offset, tasks[-1].class_offset + len(tasks[-1].class_names)
    allowed = (classes >= start) & (classes < stop)
    scores = np.asarray(getattr(estimator, scorer)(x))
    if scores.ndim == 1:  # two classes: one column, positive for the second
        scores = np.stack([-scores, scores], axis=1)
    found: npt.NDArray[Any] = classes[np.where(allowed, scores, -np.inf).argmax(axis=1)]
    return found
