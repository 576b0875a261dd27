"""Try configurations of BMC on tuning datasets, judged on samples held out of their training data.

A quarter of the training and development samples of every class is held out, since the
development splits of small datasets are too small to tell configurations apart. No test sample
is read. Prints the class-il final mean of each configuration over seeded task orders, and the
mean of its differences from the first one, which is without changes, in the same orders and seeds.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from autods.core.root import DataRoot
from autods.streams.open import open_stream
from bmc.config import Config
from bmc.methods import METHODS, config_for, overrides_of
from bmc.runs.evaluate import evaluate
from bmc.train.data import Split, TaskTensors, to_tensors
from bmc.train.seeds import generator

DATASETS = "asl36,cifar10,flowers17,omniglot_small1,pokemon5,trashnet"
HELD = 4  # one sample in so many is held out


def hold_out(task: TaskTensors) -> TaskTensors:
    """Deal training and development samples out anew, class by class."""
    features = torch.cat([task.train.features, task.dev.features])
    labels = torch.cat([task.train.labels, task.dev.labels])
    order = torch.randperm(len(labels), generator=generator(0, "held out", task.name))
    held = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        own = order[labels[order] == label]
        held[own[: len(own) // HELD]] = True
    return replace(
        task,
        train=Split(features[~held], labels[~held]),
        dev=Split(features[held], labels[held]),
    )


def accuracy(method: str, tasks: list[TaskTensors], config: Config) -> tuple[float, int]:
    """Learn a stream; return the class-il final mean in per cent and the updates made."""
    dim = tasks[0].train.features.shape[1]
    learner = METHODS.get(method)(dim, tasks[-1].stop, config, torch.device("cpu"))
    size = learner.group_size(len(tasks))
    for first in range(0, len(tasks), size):
        learner.learn(tasks[first : first + size])
    return 100 * float(np.nanmean(evaluate(learner, tasks).class_il)), learner.steps


def configured(text: str, method: str, base: Config) -> Config:
    """Read ``field=value field=value``."""
    return config_for(method, base, overrides_of(f"{method}.{one}" for one in text.split()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--encoder", required=True)
    parser.add_argument("--datasets", default=DATASETS)
    parser.add_argument("--classes-per-task", type=int, default=12)
    parser.add_argument("--orders", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=1, help="run seeds in each order")
    parser.add_argument("--method", default="bmc")
    parser.add_argument("--memory", type=int, default=300)
    parser.add_argument("--all", dest="shared", default="", metavar="SETTINGS",
                        help="what all of them have, the first one too")  # fmt: skip
    parser.add_argument("--try", dest="tried", action="append", default=[""], metavar="SETTINGS",
                        help="'field=value field=value'; may be given again and again")  # fmt: skip
    options = parser.parse_args()
    torch.set_num_threads(1)
    streams = [
        open_stream(options.datasets, DataRoot.open(options.root), options.encoder, order=order,
                    scenario="class-il", classes_per_task=options.classes_per_task)
        for order in range(options.orders)
    ]  # fmt: skip
    data = [[hold_out(t) for t in to_tensors(s, torch.device("cpu"))] for s in streams]
    base = Config(memory=options.memory, evaluate_on="dev")
    print(f"{'mean':>5}{'sd':>5}{'more':>6}{'sd':>5}{'updates':>9}{'CPU s':>7}  changes")
    first: list[float] = []
    for text in options.tried:
        config = configured(f"{options.shared} {text}", options.method, base)
        began = time.process_time()
        seeds = [replace(config, seed=config.seed + number) for number in range(options.seeds)]
        found = [accuracy(options.method, tasks, own) for tasks in data for own in seeds]
        values = [value for value, _ in found]
        first = first or values
        more = np.subtract(values, first)
        seconds = (time.process_time() - began) / len(found)
        print(f"{np.mean(values):5.1f}{np.std(values, ddof=1):5.1f}{np.mean(more):+6.1f}"
              f"{np.std(more, ddof=1):5.1f}{found[-1][1]:9}{seconds:7.1f}  {text or 'none'}",
              flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
