"""Compare settings of closed forms on folds of training samples; no test sample is read.

Of each class of each task, training and development samples pooled, a fifth is measured and the
rest is learned; the number of the fold seeds the draw. A job is a method and its options:
``slda:shrinkage=0.1,balanced=false``. Prints one JSON line for each job and fold.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import yaml

from autods.streams.open import open_stream
from autods.streams.stream import Stream
from bmc.config import Config
from bmc.methods import METHODS, Method, config_for
from bmc.runs.evaluate import evaluate
from bmc.train.data import Split, TaskTensors, joined, to_tensors

CPU = torch.device("cpu")
MEASURED = 5  # one sample in so many of a class


def main() -> None:
    options = arguments()
    torch.set_num_threads(1)
    stream = open_stream(
        options.stream, options.root, options.encoder, classes_per_task=options.classes_per_task
    )
    for fold in options.folds:
        tasks = [folded(task, fold) for task in to_tensors(stream, CPU)]
        for job in options.jobs:
            print(json.dumps({"fold": fold, "job": job} | measured(stream, tasks, job)), flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("jobs", nargs="+", help="METHOD[:OPTION=VALUE,...]")
    parser.add_argument("--stream", required=True)
    parser.add_argument("--root")
    parser.add_argument("--encoder")
    parser.add_argument("--classes-per-task", type=int)
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2])
    return parser.parse_args()


def folded(task: TaskTensors, fold: int) -> TaskTensors:
    """Return a task whose dev split is the fold's fifth of its training and dev samples."""
    features = joined([task.train.features, task.dev.features])
    labels = joined([task.train.labels, task.dev.labels])
    draws = torch.Generator().manual_seed(1000 * fold + task.index)
    held = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        rows = (labels == label).nonzero()[:, 0]
        rows = rows[torch.randperm(len(rows), generator=draws)]
        held[rows[: max(1, round(len(rows) / MEASURED))]] = True
    splits = (Split(features[rows], labels[rows]) for rows in (~held, held))
    return replace(task, **dict(zip(("train", "dev"), splits, strict=True)))


def measured(stream: Stream, tasks: list[TaskTensors], job: str) -> dict[str, Any]:
    """Learn all tasks; return mean accuracies, bytes, what the method records, and CPU seconds."""
    name, _, given = job.partition(":")
    pairs = (pair.split("=") for pair in given.split(",") if pair)
    own = {key: yaml.safe_load(value) for key, value in pairs}
    config = config_for(name, Config(evaluate_on="dev"), {name: own})
    method: Method = METHODS.get(name)(stream.dim, stream.n_classes, config, CPU)
    begin = time.process_time()
    for task in tasks:
        method.learn([task])
    learned = time.process_time()
    row = evaluate(method, tasks)
    return {
        "class_il": round(100 * float(np.nanmean(row.class_il)), 2),
        "task_il": round(100 * float(np.nanmean(row.task_il)), 2),
        "megabytes": round(method.memory_bytes() / 1e6, 2),
        "learn_cpu_s": round(learned - begin, 1),
        "evaluate_cpu_s": round(time.process_time() - learned, 1),
        "records": method.records(),
    }


if __name__ == "__main__":
    main()
