"""Adapters measured: methods of other libraries on a stream, and what a batch costs.

`accuracy` trains strategies of Avalanche and an estimator of scikit-learn through the adapters,
and ours beside them with the same memory, passes and batch. `overhead` times an epoch of
batches through every adapter against `FeatureSet.batches`, in turns.

    python scripts/bench/interop.py accuracy --root ROOT --encoder mobilenetv2.imagenet
    python scripts/bench/interop.py overhead
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from training_plain import Net

from autods.core.root import DataRoot
from autods.interop.avalanche import benchmark
from autods.interop.continuum import scenario
from autods.interop.huggingface import dataset_dict
from autods.interop.mammoth import FeatureRows
from autods.interop.scikit import learn_stream, task_batches
from autods.interop.torch_data import TaskDataset, loader
from autods.streams.feature_set import FeatureSet
from autods.streams.open import open_stream
from autods.streams.stream import Stream, Task
from autods.streams.synthetic import synthetic_stream

BATCH = 64


class Scaled(nn.Module):
    """The published network on features scaled as ours are: logits [B, C]."""

    def __init__(self, dim: int, n_classes: int, config: Any) -> None:
        super().__init__()
        self.net, self.norm = Net(dim, n_classes, config), config.feature_norm

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, d] to [B, C]."""
        return self.net(self.norm * x)[0]


def avalanche_strategy(name: str, stream: Stream, config: Any) -> Any:
    """Return a stock strategy, which counts its batches in ``clock.train_iterations``."""
    from avalanche.evaluation.metrics import accuracy_metrics
    from avalanche.training import Naive, Replay, ReservoirSamplingBuffer, StreamingLDA
    from avalanche.training.plugins import EvaluationPlugin, ReplayPlugin

    more = {
        "criterion": nn.CrossEntropyLoss(),
        "eval_mb_size": 1024,
        "evaluator": EvaluationPlugin(accuracy_metrics(experience=True), loggers=[]),
    }
    if name == "slda":  # learns sample by sample, but inverts a matrix per batch
        size = {"input_size": stream.dim, "num_classes": stream.n_classes, "train_mb_size": 4096}
        return StreamingLDA(slda_model=nn.Identity(), **size, **more)
    net = Scaled(stream.dim, stream.n_classes, config)
    rates = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    optimizer = torch.optim.AdamW(net.parameters(), **rates)
    more |= {"train_mb_size": config.batch_size, "train_epochs": config.epochs}
    more |= {"model": net, "optimizer": optimizer}
    if name == "replay":
        return Replay(mem_size=config.memory, **more)
    reservoir = ReservoirSamplingBuffer(config.memory)
    return Naive(plugins=[ReplayPlugin(config.memory, storage_policy=reservoir)], **more)


def by_avalanche(name: str, stream: Stream, config: Any) -> tuple[float, int]:
    """Return the mean over tasks of the final accuracy, and the updates by gradient."""
    torch.manual_seed(config.seed)
    made = benchmark(stream, ["train", "test"])
    strategy = avalanche_strategy(name, stream, config)
    for experience in made.train_stream:
        strategy.train(experience)
    updates = 0 if name == "slda" else strategy.clock.train_iterations
    return float(np.mean(list(strategy.eval(made.test_stream).values()))), updates


def by_bmc(name: str, stream: Stream, config: Any) -> tuple[float, int]:
    from bmc.methods import METHODS
    from bmc.runs.evaluate import evaluate
    from bmc.train.data import to_tensors
    from bmc.train.sampling import steps_for

    device = torch.device("cpu")
    tasks = to_tensors(stream, device)
    method = METHODS.get(name)(stream.dim, stream.n_classes, config, device)
    for task in tasks:
        method.learn([task])
    steps = [steps_for(len(task.train), config.epochs, config.batch_size) for task in tasks]
    updates = 0 if name == "slda" else sum(steps)
    return float(np.nanmean(evaluate(method, tasks).class_il)), updates


def by_scikit(stream: Stream, config: Any) -> tuple[float, int]:
    from sklearn.linear_model import SGDClassifier

    estimator = SGDClassifier(loss="log_loss", alpha=1e-5, random_state=config.seed)
    options = {"batch_size": config.batch_size, "epochs": config.epochs, "seed": config.seed}
    R = learn_stream(estimator, stream, **options)
    batches = sum(-(-len(task.train) // config.batch_size) for task in stream.tasks)
    return float(R[-1].mean()), config.epochs * batches


def accuracy(options: argparse.Namespace) -> dict[str, Any]:
    from bmc.config import Config

    if options.root is None:
        stream = synthetic_stream(tasks=options.tasks, classes=350, dim=32, order=options.order)
    else:
        stream = open_stream(
            "all", DataRoot.open(options.root), options.encoder,
            order=options.order, classes_per_task=12, max_tasks=options.tasks,
        )  # fmt: skip
    settings = {"epochs": options.epochs, "memory": options.memory, "seed": 0}
    config = Config(batch_size=BATCH, replay_batch=BATCH, **settings)
    rivals = Config(batch_size=BATCH, replay_batch=BATCH, outputs="all", **settings)
    runs: dict[str, Callable[[], tuple[float, int]]] = {
        "er (ours)": lambda: by_bmc("er", stream, config),
        "er (ours), all classes compete": lambda: by_bmc("er", stream, rivals),
        "Avalanche Replay": lambda: by_avalanche("replay", stream, config),
        "Avalanche Replay, reservoir": lambda: by_avalanche("reservoir", stream, config),
        "slda (ours)": lambda: by_bmc("slda", stream, config),
        "Avalanche StreamingLDA": lambda: by_avalanche("slda", stream, config),
        "finetune (ours)": lambda: by_bmc("finetune", stream, config),
        "SGDClassifier.partial_fit": lambda: by_scikit(stream, config),
    }
    rows = []
    for name, run in runs.items():
        if options.only and options.only not in name:
            continue
        start = time.perf_counter()
        final_mean, updates = run()
        seconds = round(time.perf_counter() - start, 1)
        rows.append({"method": name, "final_mean": final_mean, "updates": updates, "s": seconds})
        if not options.json:
            print(f"{name:32} {100 * final_mean:5.1f} % {updates:6} updates {seconds:7.1f} s")
    counts = [len(stream.tasks), stream.n_classes, sum(len(task.train) for task in stream.tasks)]
    return {"tasks, classes, samples": counts, "rows": rows}


def one_task(samples: int, dim: int) -> Stream:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(samples, dim)).astype(np.float16)
    data = FeatureSet(x, rng.integers(0, 10, samples))
    empty = FeatureSet(x[:0], data.labels[:0])
    task = Task("noise", "noise", 0, [str(c) for c in range(10)], 0, data, empty, data)
    return Stream("noise", "class-il", [task], "none", {})


def epochs(stream: Stream) -> dict[str, Callable[[], Iterator[Any]]]:
    """Return, by name, what gives an epoch of shuffled float32 batches."""
    task = stream.tasks[0]
    x, y = torch.from_numpy(task.train.features), torch.from_numpy(task.train.labels)
    shuffled = {"batch_size": BATCH, "shuffle": True}
    face = dataset_dict(stream, 0)["train"].with_format("torch")
    experience = benchmark(stream, ["train"]).train_stream[0].dataset

    def tensors() -> Iterator[Any]:
        for rows in torch.randperm(len(y)).split(BATCH):
            yield x[rows].float(), y[rows]

    return {
        "FeatureSet.batches (ours)": lambda: task.train.batches(BATCH, 0),
        "tensors, indexed by hand": tensors,
        "torch_data.loader": lambda: iter(loader(TaskDataset(task), BATCH)),
        "torch DataLoader(TaskDataset)": lambda: iter(DataLoader(TaskDataset(task), **shuffled)),
        "scikit.task_batches": lambda: task_batches(task, BATCH),
        "Avalanche dataset, DataLoader": lambda: iter(DataLoader(experience, **shuffled)),
        "Continuum task set, DataLoader": lambda: iter(DataLoader(scenario(stream)[0], **shuffled)),
        "Mammoth rows, DataLoader": lambda: iter(
            DataLoader(FeatureRows([task], "train"), **shuffled)
        ),
        "Hugging Face, iter(batch_size)": lambda: face.shuffle(seed=0).iter(BATCH),
    }


def overhead(options: argparse.Namespace) -> dict[str, Any]:
    stream = one_task(options.samples, options.dim)
    sources = epochs(stream)
    batches = -(-options.samples // BATCH)
    times: dict[str, list[float]] = {name: [] for name in sources}
    for epoch in [*sources.values()]:  # the first of each pays for imports and reading
        next(epoch())
    for _ in range(options.rounds):
        for name, epoch in sources.items():
            start = time.perf_counter()
            found = sum(1 for _ in epoch())
            times[name].append((time.perf_counter() - start) / batches)
            assert found == batches, name
    own = times["FeatureSet.batches (ours)"]
    rows = []
    for name, taken in times.items():
        ratio = median(t / base for t, base in zip(taken, own, strict=True))
        rows.append({"source": name, "us": 1e6 * median(taken), "ratio": ratio})
        if not options.json:
            print(f"{name:32} {1e6 * median(taken):9.0f} us a batch {ratio:8.2f} x")
    return {"samples": options.samples, "dim": options.dim, "batch": BATCH, "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parts = parser.add_subparsers(dest="part", required=True)
    part = parts.add_parser("accuracy")
    part.add_argument("--root", type=Path, help="data root with features; default: synthetic")
    part.add_argument("--encoder", default="mobilenetv2.imagenet")
    part.add_argument("--order", type=int, default=0)
    part.add_argument("--tasks", type=int, help="only the first tasks")
    part.add_argument("--memory", type=int, default=500)
    part.add_argument("--epochs", type=int, default=10)
    part.add_argument("--only", help="only methods whose name holds this")
    part = parts.add_parser("overhead")
    part.add_argument("--samples", type=int, default=8192)
    part.add_argument("--dim", type=int, default=512)
    part.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # those of the other libraries
    result = {"accuracy": accuracy, "overhead": overhead}[options.part](options)
    if options.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
