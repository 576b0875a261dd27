"""One pass over the test data of all tasks seen so far gives one row of each accuracy matrix R.

Accuracies on tasks that a method has not learned yet (`measure_ahead`) are kept apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from autods.core.cores import usable_cores
from bmc.methods.base import Method
from bmc.train.data import Split, TaskTensors, joined
from bmc.train.movement import moved

MOST = 4  # threads that score; each holds what leads to the scores of a block, 0.3 GB in kNN
CHUNK = {"cpu": 1024}  # rows scored at once, so that memory stays bounded; elsewhere 16,384
BLOCK, FEW = 64, 8  # classes whose largest score is found at once, blocks that pay; `first_best`


@dataclass(frozen=True)
class Row:
    """Accuracy on every task of the stream, float64 [T]; NaN where not learned yet.

    class-il is the arg-max over the classes seen so far, or over all that the method scores;
    task-il over those of the sample's own task. dataset-id is the share of samples whose class-il
    prediction belongs to the right dataset.

    ``right`` says it of every sample: by name of a task that was measured, bool [3, n], a row for
    each of the three, the samples in the stored order of their split. ``answers`` has the class-il
    prediction and the label of the same samples: int64 [2, n], global class numbers.
    """

    class_il: npt.NDArray[np.float64]
    task_il: npt.NDArray[np.float64]
    dataset_id: npt.NDArray[np.float64]
    right: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    answers: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    finite: bool = True  # whether the best score of every sample is a finite number


def evaluate(method: Method, tasks: Sequence[TaskTensors]) -> Row:
    """Measure a method on all tasks whose classes it has seen.

    The split is ``config.evaluate_on``; a task without samples of it counts as not measured. On
    the CPU as many threads score samples as the method's engine has workers, at most one a core
    and `MOST`; the numbers do not depend on how many.
    """
    accuracies = np.full((3, len(tasks)), np.nan)
    seen = [task for task in tasks if task.stop <= method.seen]
    splits: list[Split] = [getattr(task, method.config.evaluate_on) for task in seen]
    sizes = torch.tensor([len(split) for split in splits])
    features = joined([split.features for split in splits])
    labels = joined([split.labels for split in splits])
    ends = torch.cumsum(sizes, 0).tolist()
    # predicted classes: of all that are scored, and of those of the sample's task
    predicted, within = torch.empty_like(labels), torch.empty_like(labels)
    size = CHUNK.get(labels.device.type, 16_384)

    @torch.no_grad()  # of each thread its own
    def score(first: int) -> Tensor:
        """Predict the classes of a block of samples; tell whether their best scores are finite."""
        last = min(first + size, len(labels))
        scores = method.scores(features[first:last])
        best = first_best(scores)
        predicted[first:last] = best
        for task, begin, end in zip(seen, [0, *ends], ends, strict=False):
            rows = slice(max(begin, first), min(end, last))
            if rows.start < rows.stop:
                of_task = scores[rows.start - first : rows.stop - first, task.start : task.stop]
                within[rows] = of_task.argmax(dim=1) + task.start
        # the maximum is NaN where any score is
        return scores.gather(1, best[:, None]).isfinite().all()

    finite = torch.ones((), dtype=torch.bool, device=labels.device)  # read once, at the end
    blocks = range(0, len(labels), size)
    for first, fit in zip(blocks, _each(score, blocks, _threads(method)), strict=True):
        moved(first, len(labels), "samples")
        finite &= fit.to(finite.device)
    dataset = _dataset_of_class(tasks).to(labels.device)
    right = torch.stack(
        [predicted == labels, within == labels, dataset[predicted] == dataset[labels]]
    )
    by_task = torch.split(right, sizes.tolist(), dim=1)
    counts = torch.stack([hits.sum(dim=1) for hits in by_task], dim=1)
    known = sizes.numpy() > 0
    index = np.array([task.index for task in seen])[known]
    accuracies[:, index] = counts.cpu().numpy()[:, known] / sizes.numpy()[known]
    names = [task.name for task in seen]
    hits_of = dict(zip(names, by_task, strict=True))
    said = torch.split(torch.stack([predicted, labels]), sizes.tolist(), dim=1)
    answers = dict(zip(names, said, strict=True))
    return Row(accuracies[0], accuracies[1], accuracies[2], hits_of, answers, bool(finite))


def _threads(method: Method) -> int:
    if method.device.type != "cpu":
        return 1
    return min(method.engine.workers, usable_cores() // torch.get_num_threads(), MOST)


def _each(score: Callable[[int], Tensor], blocks: range, threads: int) -> Iterator[Tensor]:
    """Score blocks of samples in threads; yield what each returns, in order.

    Threads do not wait for each other, so a busy core holds up one block. The first block is
    scored before there are any: what a method prepares when it is first asked is made once.
    """
    yield from map(score, blocks[:1])
    if threads < 2 or len(blocks) < 3:
        yield from map(score, blocks[1:])
        return
    # a new thread of Python would multiply with as many threads of torch as there are cores
    alike = partial(torch.set_num_threads, torch.get_num_threads())
    with ThreadPoolExecutor(threads, initializer=alike) as pool:
        yield from pool.map(score, blocks[1:])


@torch.no_grad()
def measure_ahead(method: Method, tasks: Sequence[TaskTensors]) -> npt.NDArray[np.float64] | None:
    """Measure tasks that are not learned: the classes of each among themselves, as in task-il.

    Returns float64 [len(tasks)], NaN for a task without samples; ``None`` if the method does not
    score classes that it has not met.
    """
    accuracies = np.full(len(tasks), np.nan)
    for k, task in enumerate(tasks):
        split: Split = getattr(task, method.config.evaluate_on)
        size = CHUNK.get(split.labels.device.type, 16_384)
        right = 0
        for first in range(0, len(split), size):
            rows = slice(first, first + size)
            scores = method.unseen_scores(split.features[rows], task.start, task.stop)
            if scores is None:
                return None
            right += int((scores.argmax(dim=1) + task.start == split.labels[rows]).sum())
        if len(split):
            accuracies[k] = right / len(split)
    return accuracies


def first_best(scores: Tensor) -> Tensor:
    """Return the arg-max of each row of scores [n, c], int64 [n]; of equal scores the first one.

    `torch.argmax` reads numbers one by one on a CPU, a tenth of the time of scoring thousands of
    classes. Here it chooses among the largest scores of blocks, then within a block.
    """
    c = scores.shape[1]
    blocks, rest = divmod(c, BLOCK)
    if blocks < FEW:
        return scores.argmax(dim=1)
    whole = scores[:, : blocks * BLOCK].view(len(scores), blocks, BLOCK)
    best = whole.amax(dim=2)
    if rest:
        best = torch.cat([best, scores[:, c - rest :].amax(dim=1, keepdim=True)], dim=1)
    block = best.argmax(dim=1)
    # the last block of whole width ends with the last class, and so may begin in the one before
    start = (block * BLOCK).clamp(max=c - BLOCK)
    columns = start[:, None] + torch.arange(BLOCK, device=scores.device)
    found: Tensor = start + scores.gather(1, columns).argmax(dim=1)
    return found


def _dataset_of_class(tasks: Sequence[TaskTensors]) -> Tensor:
    """Return a number for the dataset of each class of the tasks, int64 [classes]."""
    number = {name: i for i, name in enumerate(dict.fromkeys(task.dataset for task in tasks))}
    return torch.cat([torch.full((task.n_classes,), number[task.dataset]) for task in tasks])
