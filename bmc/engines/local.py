"""The local engine: the experts of a group train together on one device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from bmc.config import Config
from bmc.engines.base import Trained, model_bytes
from bmc.network.mlp import ResidualMLP
from bmc.network.passes import evaluate
from bmc.train.copies import Batch
from bmc.train.data import Shuffled, TaskTensors, joined, network_input, place_for, steps_for, take
from bmc.train.loop import Course, by_loss, train_stacked
from bmc.train.losses import expert_loss, feature_distance, sample_losses, task_loss
from bmc.train.memory import Samples, balanced_choice
from bmc.train.seeds import Noise, generator

BLOCK = 2048  # rows whose phi is computed at once; fixed, so that the bits do not depend on it
JUDGED = 1024  # dev samples that an expert is judged on at most: a judgement stays cheap
# bias of an output without a class: exp(it) is 0, and weight decay does not change that. Not
# minus infinity: CUDA's fused AdamW subtracts a share of a weight from it, and would make NaN
ABSENT = -1e30
STACK = {"cpu": 4}  # experts in one program where more do not pay; other devices: all


class LocalEngine:
    """Trains the experts in this process, on the device of the base model.

    Nothing travels; the bytes are those that an engine with other processes sends.
    """

    name: ClassVar[str] = "local"

    def train(self, base: ResidualMLP, tasks: Sequence[TaskTensors], config: Config) -> Trained:
        """Train one expert per task from the base model."""
        buffers, steps = train_experts(base, tasks, config)
        sent = sum(len(buffer.to_bytes()) for buffer in buffers)
        return Trained(buffers, steps, sent, len(model_bytes(base)) * len(tasks))

    def peaks(self) -> dict[str, int]:
        """Return nothing: there are no other processes."""
        return {}


def train_experts(
    base: ResidualMLP,
    tasks: Sequence[TaskTensors],
    config: Config,
    widest: int | None = None,
    stack: int | None = None,
) -> tuple[list[Samples], list[int]]:
    """Train one expert per task from the base model and sample each expert's buffer.

    Experts share nothing but the base model (one copy, not changed); each computes only its own
    slice of the head. ``config.options`` are those of BMC. Returns buffers and updates in the
    order of ``tasks``.

    Parameters
    ----------
    widest
        Outputs of each expert's head; default: the most classes of ``tasks``. An engine that
        trains the experts of one group apart gives all of them the group's, and gets the
        same bits.
    stack
        Experts that train in one batched program; default: what suits the device. The bits
        do not depend on it.
    """
    widest = widest or max(task.n_classes for task in tasks)
    device = base.weights.device
    stack = stack or STACK.get(device.type, len(tasks))
    # those of like length together: a program runs as long as its longest course
    ordered = sorted(tasks, key=lambda task: -len(task.train))
    done: dict[int, tuple[Samples, int]] = {}
    for first in range(0, len(ordered), stack):
        # in their order in the stream, where their samples lie side by side
        part = sorted(ordered[first : first + stack], key=lambda task: task.index)
        bank = _expert_bank(base, part, config, widest)
        made = _train(bank, base, part, config)
        for k, task in enumerate(part):
            done[task.index] = _sample_buffer(bank, k, task, config), made[k]
    return [done[task.index][0] for task in tasks], [done[task.index][1] for task in tasks]


def _train(
    bank: ResidualMLP, base: ResidualMLP, tasks: Sequence[TaskTensors], config: Config
) -> list[int]:
    """Train a bank of experts; return the updates that each made."""
    device, options = bank.weights.device, config.options
    features = joined([task.train.features for task in tasks])
    labels = torch.cat([task.train.labels - task.start for task in tasks])
    sizes = torch.tensor([len(task.train) for task in tasks])
    first_row = (torch.cumsum(sizes, 0) - sizes)[:, None]  # [K, 1]
    tables = [features, labels, *([_base_phi(base, tasks, config)] if options.lam else [])]

    def fetch(rows: Tensor, copies: Sequence[int]) -> tuple[Tensor, ...]:
        rows = rows + first_row[list(copies)]  # [n, m, B]
        return tuple(take(table, rows, device) for table in tables)

    def loss(batch: Batch) -> Tensor:
        x, y, *phi = batch.data
        logits, student = bank(network_input(x, config.feature_norm), batch.keep)
        own = task_loss(logits, y)
        if not phi:
            return own
        teacher = torch.split(phi[0].float(), bank.phi_widths, dim=-1)
        return expert_loss(own, feature_distance(teacher, student), options.lam)

    courses = [
        Course(
            sampler=Shuffled(len(task.train), generator(config.seed, "batches", task.index)),
            steps=steps_for(len(task.train), config.epochs, config.batch_size),
            noise=Noise(config.seed, "dropout", task.index),
            judged_every=steps_for(len(task.train), 1, config.batch_size) if len(task.dev) else 0,
        )
        for task in tasks
    ]
    judge = _judge(bank, tasks, config) if options.patience else None
    return train_stacked(
        bank, courses, fetch, by_loss(loss), config, judge=judge, patience=options.patience
    )


def _input(net: ResidualMLP, features: Tensor, config: Config) -> Tensor:
    """Turn stored rows [n, d] into what the net reads, where it is."""
    return network_input(features.to(net.weights.device), config.feature_norm)


def _base_phi(base: ResidualMLP, tasks: Sequence[TaskTensors], config: Config) -> Tensor:
    """Compute what the stability loss compares with, once: float16 [rows, sum of widths]."""
    rows, width = sum(len(task.train) for task in tasks), sum(base.phi_widths)
    place = place_for(2 * rows * width, base.weights.device)
    phi = torch.empty(rows, width, dtype=torch.float16, device=place)
    first = 0
    for task in tasks:
        for block in torch.split(task.train.features, BLOCK):
            phi[first : first + len(block)] = base.phi(_input(base, block, config))
            first += len(block)
    return phi


def _judge(
    bank: ResidualMLP, tasks: Sequence[TaskTensors], config: Config
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the function that measures experts by the task loss on their own dev splits.

    Of a large split evenly spaced samples count, a small one is filled up with samples that
    do not count, so that experts are measured in one pass.
    """
    chosen = [_spaced(len(task.dev), JUDGED) for task in tasks]
    most = max(map(len, chosen))

    device = bank.weights.device
    shape = len(tasks), most
    features = torch.zeros(*shape, bank.dim, dtype=tasks[0].dev.features.dtype, device=device)
    labels = torch.zeros(shape, dtype=torch.int64, device=device)
    shares = torch.zeros(shape, device=device)
    for k, (task, rows) in enumerate(zip(tasks, chosen, strict=True)):
        n = len(rows)
        features[k, :n] = take(task.dev.features, rows, device)
        labels[k, :n] = take(task.dev.labels, rows, device) - task.start
        shares[k, :n] = 1 / max(n, 1)

    def judge(positions: Tensor, copies: Tensor) -> Tensor:
        parts = bank.views(bank.weights.data[positions], bank.statistics[positions])
        x = network_input(features[copies], config.feature_norm)
        logits, _ = evaluate(parts, x, bank.precision)
        return (sample_losses(logits, labels[copies]) * shares[copies]).sum(dim=1)

    return judge


def _spaced(n: int, most: int) -> Tensor:
    """Return all of n row numbers, or ``most`` evenly spaced ones."""
    return torch.arange(min(n, most)) * n // max(1, min(n, most))


def _expert_bank(
    base: ResidualMLP, tasks: Sequence[TaskTensors], config: Config, widest: int
) -> ResidualMLP:
    """Stack one copy of the base model per task, each with its own slice of the head.

    Outputs that a task has no class for have the bias `ABSENT`: they get no probability and no
    gradient.
    """
    bank = ResidualMLP(base.dim, widest, len(tasks), **config.network())
    bank.to(base.weights.device)
    with torch.no_grad():
        bank.weights[:, : bank.trunk] = base.weights[:, : base.trunk]
        bank.statistics.copy_(base.statistics.expand_as(bank.statistics))
        own, source = bank.parts(), base.parts()
        own.head_bias.fill_(ABSENT)
        for k, task in enumerate(tasks):
            own.head[k, : task.n_classes] = source.head[0, task.start : task.stop]
            own.head_bias[k, 0, : task.n_classes] = source.head_bias[0, 0, task.start : task.stop]
    return bank


def _sample_buffer(bank: ResidualMLP, k: int, task: TaskTensors, config: Config) -> Samples:
    """Choose a class-balanced buffer B_k of (x, y, phi(x)) with expert k."""
    draws = generator(config.seed, "buffer", task.index)
    rows = balanced_choice(config.options.buffer, draws, task.train.labels)
    features = task.train.features[rows.to(task.train.features.device)]
    phi = bank.phi(_input(bank, features, config), k)
    return Samples(
        features=features.half().to(rows.device),
        labels=task.train.labels[rows],
        tasks=torch.full_like(rows, task.index),
        phi=phi.half(),
    )
