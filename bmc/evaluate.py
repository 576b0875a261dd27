"""One pass over the test data of all tasks seen so far gives one row of each R."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bmc.data import Split, TaskTensors
from bmc.methods.base import Method

CHUNK = 8192  # rows scored at once; bounds memory at CHUNK x classes


@dataclass(frozen=True)
class Row:
    """Accuracy on every task of the stream, float64 [T]; NaN where not learned yet.

    Attributes
    ----------
    class_il
        arg-max over the classes seen so far.
    task_il
        arg-max over the classes of the sample's own task.
    dataset_id
        Share of samples whose class-il prediction belongs to the right dataset.
    """

    class_il: npt.NDArray[np.float64]
    task_il: npt.NDArray[np.float64]
    dataset_id: npt.NDArray[np.float64]


@torch.no_grad()
def evaluate(method: Method, tasks: Sequence[TaskTensors]) -> Row:
    """Measure a method on all tasks whose classes it has seen.

    The split is ``config.evaluate_on``; a task without samples of it counts as not measured.
    """
    rows = np.full((3, len(tasks)), np.nan)
    seen = [task for task in tasks if task.stop <= method.seen]
    datasets = {name: i for i, name in enumerate(dict.fromkeys(task.dataset for task in seen))}
    dataset_of_class = torch.cat(
        [torch.full((task.n_classes,), datasets[task.dataset]) for task in seen]
    ).to(method.device)
    for task in seen:
        correct = torch.zeros(3, dtype=torch.int64, device=method.device)
        data: Split = getattr(task, method.config.evaluate_on)
        if len(data) == 0:
            continue
        for first in range(0, len(data), CHUNK):
            part = slice(first, first + CHUNK)
            scores = method.scores(data.features[part])
            correct += _count(scores, data.labels[part], task, dataset_of_class)
        rows[:, task.index] = correct.cpu().numpy() / len(data)
    return Row(*rows)


def _count(scores: Tensor, labels: Tensor, task: TaskTensors, dataset_of_class: Tensor) -> Tensor:
    """Count right answers: class-il, task-il, dataset; int64 [3]."""
    predicted = scores.argmax(dim=1)
    within = scores[:, task.start : task.stop].argmax(dim=1) + task.start
    return torch.stack(
        [
            (predicted == labels).sum(),
            (within == labels).sum(),
            (dataset_of_class[predicted] == dataset_of_class[labels]).sum(),
        ]
    )
