"""BMC-Analytic on the features of a consolidated base model, instead of the frozen ones.

BMC learns the stream; the features of its base model (those of the last block, float16) then
replace the frozen features, or stand beside them, each of length 1. Gaussians are compared on all
three. A fifth of the training and development samples of every class is measured; no test sample
is read. `--joint` takes the features of joint training instead, which sees all data at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from analytic import Right, fewer, folded, interval, learned, mean, right
from torch import Tensor
from torch.nn import functional

from autods.core.root import DataRoot
from autods.streams.open import open_stream
from bmc.methods import Method
from bmc.methods.net_method import NetMethod
from bmc.train.data import Split, TaskTensors, to_tensors

ROWS = 4096  # whose features are computed at once
COMPARED = ("bmc-analytic:trained_from=1000000", "slda", "bmc-analytic")  # the first: no networks


@torch.no_grad()
def features_of(base: Method, frozen: Tensor, beside: bool) -> Tensor:
    """Return the last block's features of rows [n, d]; ``beside`` puts the frozen ones first."""
    if not isinstance(base, NetMethod):
        raise TypeError(f"expected a method with a network, got {base.name}")
    blocks = []
    for rows in torch.split(frozen, ROWS):
        made = base.net.phi(base.inputs(rows))[:, -base.config.width :]
        if beside:
            unit = functional.normalize(rows.float(), dim=1)
            made = torch.cat([unit, functional.normalize(made, dim=1)], dim=1)
        blocks.append(made.half())
    return torch.cat(blocks)


def changed(base: Method, tasks: Sequence[TaskTensors], beside: bool) -> list[TaskTensors]:
    """Return tasks whose features are those of a base model."""

    def of(split: Split) -> Split:
        return Split(features_of(base, split.features, beside), split.labels)

    return [replace(task, train=of(task.train), test=of(task.test)) for task in tasks]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--encoder", default="")
    parser.add_argument("--stream", required=True)
    parser.add_argument("--classes-per-task", type=int)
    parser.add_argument("--max-tasks", type=int)
    parser.add_argument("--rows", type=int, default=2000, help="training samples a class, at most")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--buffer", type=int, default=2000, help="of an expert, and the memory")
    parser.add_argument("--joint", action="store_true")
    parser.add_argument("--compared", nargs="+", default=COMPARED)
    args = parser.parse_args()
    torch.set_num_threads(1)
    stream = open_stream(
        args.stream, DataRoot(args.root) if args.root else None, args.encoder, scenario="class-il",
        classes_per_task=args.classes_per_task, max_tasks=args.max_tasks,
    )  # fmt: skip
    whole = [folded(task, 0) for task in to_tensors(stream, torch.device("cpu"))]
    tasks = [fewer(task, args.rows) for task in whole]
    name = "joint" if args.joint else f"bmc:memory={args.buffer},buffer={args.buffer}"
    base = learned(name, tasks, args.epochs)
    sides = {"frozen": tasks, "base model's": changed(base, tasks, beside=False)}
    sides["both"] = changed(base, tasks, beside=True)
    first: Right | None = None

    def show(features: str, text: str, method: Method, of: Sequence[TaskTensors]) -> None:
        nonlocal first
        hits, own = right(method, of)
        first = hits if first is None else first
        low, high = interval(hits, first)
        print(
            f"| {features} | {text} | {mean(hits):.2f} | {mean(own):.2f} | "
            f"{mean(hits) - mean(first):+.2f} [{low:+.2f}, {high:+.2f}] |",
            flush=True,
        )

    print("| features | method | class-il | task-il | minus the first |")
    print("|---|---|---:|---:|---:|")
    for text in args.compared:
        for features, of in sides.items():
            show(features, text, learned(text, of, args.epochs), of)
    show("frozen", name, base, tasks)


if __name__ == "__main__":
    main()
