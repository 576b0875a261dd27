"""Compare methods sample by sample on real features: accuracy, bytes, intervals, learning curves.

Every method learns the same stream. Accuracy is class-il, as a mean over tasks, on test samples;
the interval of a difference to the first method is a paired bootstrap over test samples within
tasks (`--orders` gives the spread over orders beside it). A method is written with its options,
`slda` or `bmc-analytic:rank=16,withheld_per_class=1`, or as `bmc-analytic/VARIANT` (see
`analytic_variants.py`). `--rows` keeps so many training samples a class. `--folds` reads no test
sample: a fifth of the training and development samples of each class is measured, five times.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from analytic_variants import VARIANTS

from autods.core.root import DataRoot
from autods.streams.open import open_stream
from bmc.config import Config
from bmc.methods import METHODS, Method, config_for, overrides_of
from bmc.train.data import Split, TaskTensors, joined, to_tensors
from bmc.train.seeds import generator

CPU = torch.device("cpu")
DRAWS = 2000  # of the bootstrap
FOLDS = 5
Right = list[npt.NDArray[np.bool_]]  # of each task: which test samples were right


def fewer(task: TaskTensors, rows: int) -> TaskTensors:
    """Keep at most so many training samples of every class; the larger draw has the smaller."""
    labels = task.train.labels
    order = torch.randperm(len(labels), generator=generator(0, "rows kept", task.name))
    kept = (
        torch.cat([order[labels[order] == c][:rows] for c in range(task.start, task.stop)])
        .sort()
        .values
    )
    return replace(task, train=Split(task.train.features[kept], labels[kept]))


def folded(task: TaskTensors, fold: int) -> TaskTensors:
    """Measure one fold of the training and development samples of every class, learn the others."""
    features = joined([task.train.features, task.dev.features])
    labels = joined([task.train.labels, task.dev.labels])
    order = torch.randperm(len(labels), generator=generator(0, "folds", task.name))
    held = torch.zeros(len(labels), dtype=torch.bool)
    for label in range(task.start, task.stop):
        held[order[labels[order] == label][fold::FOLDS]] = True
    train, test = (Split(features[rows], labels[rows]) for rows in (~held, held))
    return replace(task, train=train, test=test)


def learned(text: str, tasks: Sequence[TaskTensors], epochs: int) -> Method:
    """Learn a stream by the method ``name:option=value,...`` or ``name/variant:...``."""
    name, _, options = text.partition(":")
    name, _, variant = name.partition("/")
    chosen = overrides_of(f"{name}.{one}" for one in options.split(",") if one)
    config = config_for(name, Config(epochs=epochs), chosen)
    dim = tasks[0].train.features.shape[1]
    kind = VARIANTS[variant] if variant else METHODS.get(name)
    method: Method = kind(dim, tasks[-1].stop, config, CPU)
    size = method.group_size(len(tasks))
    for first in range(0, len(tasks), size):
        method.learn(tasks[first : first + size])
    return method


@torch.no_grad()
def right(method: Method, tasks: Sequence[TaskTensors]) -> tuple[Right, Right]:
    """Return which test samples got their class: of all classes, and of those of their task."""
    all_classes, own = [], []
    for task in tasks:
        scores = method.scores(task.test.features)
        labels = task.test.labels
        all_classes.append((scores.argmax(dim=1) == labels).numpy())
        of_task = scores[:, task.start : task.stop].argmax(dim=1) + task.start
        own.append((of_task == labels).numpy())
    return all_classes, own


def mean(hits: Right) -> float:
    """Return the mean over tasks of their accuracies, in per cent."""
    return 100 * float(np.mean([h.mean() for h in hits]))


def interval(hits: Right, reference: Right) -> tuple[float, float]:
    """Return the 95 % interval of the difference of means, samples drawn again within tasks."""
    draws = np.random.default_rng(0)
    total = np.zeros(DRAWS)
    for ours, theirs in zip(hits, reference, strict=True):
        difference = ours.astype(float) - theirs
        picked = draws.integers(len(difference), size=(DRAWS, len(difference)))
        total += difference[picked].mean(axis=1)
    low, high = np.percentile(100 * total / len(hits), [2.5, 97.5])
    return float(low), float(high)


def row(
    text: str, folds: Sequence[Sequence[TaskTensors]], epochs: int, reference: Right | None
) -> tuple[str, Right]:
    """Learn by a method, of several folds once each; return its columns, and what was right."""
    hits: list[Right] = []
    own: list[Right] = []
    kept, sent = [], []
    for tasks in folds:
        method = learned(text, tasks, epochs)
        for found, new in zip((hits, own), right(method, tasks), strict=True):
            found.append(new)
        kept.append(method.memory_bytes() / 1e6)
        sent.append(method.communication_bytes / 1e6)
    all_classes, within = (
        [np.concatenate(of_task) for of_task in zip(*found, strict=True)] for found in (hits, own)
    )
    reference = all_classes if reference is None else reference
    low, high = interval(all_classes, reference)
    away = mean(all_classes) - mean(reference)
    columns = (
        f"{text} | {mean(all_classes):.2f} | {mean(within):.2f} | "
        f"{away:+.2f} [{low:+.2f}, {high:+.2f}] | {np.mean(kept):.2f} | {np.mean(sent):.2f}"
    )
    return columns, reference


def main() -> None:
    """Print one row of a table for every method and number of rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("methods", nargs="+")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--encoder", default="mobilenetv2.imagenet")
    parser.add_argument("--stream", default="all")
    parser.add_argument("--classes-per-task", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rows", type=int, nargs="*", default=[0], help="a class; 0: all")
    parser.add_argument("--orders", nargs="*", default=["paper"], help="paper, or seeds")
    parser.add_argument("--folds", action="store_true", help="measure folds of training samples")
    args = parser.parse_args()
    print("| rows | order | method | class-il | task-il | minus the first | kept MB | sent MB |")
    print("|---:|---|---|---:|---:|---:|---:|---:|")
    for order in args.orders:
        stream = open_stream(
            args.stream, DataRoot(args.root), args.encoder, scenario="class-il",
            order=order if order == "paper" else int(order),
            classes_per_task=args.classes_per_task,
        )  # fmt: skip
        whole = to_tensors(stream, CPU)
        for rows in args.rows:
            tasks = [fewer(task, rows) for task in whole] if rows else whole
            folds = [tasks]
            if args.folds:
                folds = [[folded(task, k) for task in tasks] for k in range(FOLDS)]
            reference: Right | None = None
            for text in args.methods:
                columns, reference = row(text, folds, args.epochs, reference)
                print(f"| {rows or 'all'} | {order} | {columns} |", flush=True)


if __name__ == "__main__":
    main()
