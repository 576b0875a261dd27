"""How experts train: those of a group in one stacked program on one device, in this process."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bmc.config import Config
from bmc.engines.base_phi import BasePhi
from bmc.network.mlp import ResidualMLP
from bmc.train.batch import Batch
from bmc.train.data import Split, TaskTensors, is_on, joined, network_input, take
from bmc.train.loop import Course, by_loss, train_stacked
from bmc.train.losses import distillation_loss, expert_loss, stored_phi, task_loss
from bmc.train.memory import Samples
from bmc.train.movement import stage
from bmc.train.parts import buffer_rows
from bmc.train.plateau import Plateau, judge_by_loss
from bmc.train.sampling import Shuffled, rows_per_pass, steps_for
from bmc.train.seeds import Noise, generator

# bias of an output without a class: exp(it) is 0, and weight decay does not change that. Not
# minus infinity: CUDA's fused AdamW subtracts a share of a weight from it, and would make NaN
ABSENT = -1e30
STACK = {"cpu": 4}  # experts in one program where more do not pay; other devices: all
STREAMED = 2**29  # bytes of a table elsewhere that are brought at once, in whole updates


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
    done: dict[tuple[int, ...], tuple[Samples, int]] = {}
    for first in range(0, len(ordered), stack):
        # in their order in the stream, where their samples lie side by side
        part = sorted(ordered[first : first + stack], key=lambda task: task.key)
        bank = _expert_bank(base, part, config, widest)
        with stage(first / len(ordered), (first + len(part)) / len(ordered)):
            made = _train(bank, base, part, config)
        for k, task in enumerate(part):
            done[task.key] = _sample_buffer(bank, k, task, config), made[k]
    return [done[task.key][0] for task in tasks], [done[task.key][1] for task in tasks]


def _train(
    bank: ResidualMLP, base: ResidualMLP, tasks: Sequence[TaskTensors], config: Config
) -> list[int]:
    """Train a bank of experts; return the updates that each made."""
    device, options = bank.weights.device, config.options
    features = joined([task.train.features for task in tasks])
    labels = torch.cat([task.train.labels - task.start for task in tasks])
    sizes = torch.tensor([len(task.train) for task in tasks])
    first_row = (torch.cumsum(sizes, 0) - sizes)[:, None]  # [K, 1]
    base_phi = BasePhi(base, tasks, config) if options.lam else None
    here = is_on(features, device) and (base_phi is None or base_phi.is_whole)

    def gather(placed: Tensor, *of_phi: Tensor) -> tuple[Tensor, ...]:
        x, y = take(features, placed, device), take(labels, placed, device)
        return (x, y) if base_phi is None else (x, y, base_phi.held(of_phi[0]))

    def fetch(rows: Tensor, copies: Sequence[int]) -> tuple[Tensor, ...]:
        placed = rows + first_row[list(copies)]  # [n, m, B]
        if here:
            return (placed,) if base_phi is None else (placed, base_phi.rows(rows, copies))
        update = placed[0].numel() * features.shape[1] * features.dtype.itemsize
        rows, placed = (some[: max(1, STREAMED // update)] for some in (rows, placed))
        x, y = take(features, placed, device), take(labels, placed, device)
        return (x, y) if base_phi is None else (x, y, base_phi(x, rows, copies))

    def loss(batch: Batch) -> Tensor:
        x, y, *phi = batch.data
        logits, student = bank(network_input(x, config.feature_norm), batch.keep)
        own = task_loss(logits, y)
        if not phi:
            return own
        stability = distillation_loss(
            options.feature_loss, phi[0], student, batch.keep, bank.dropout
        )
        return expert_loss(own, stability, options.lam)

    judge, plateau = None, Plateau.of(config)
    if options.patience or plateau:
        held_out = [Split(task.dev.features, task.dev.labels - task.start) for task in tasks]
        judge = judge_by_loss(bank, held_out, config)
    return train_stacked(
        bank, [_course(task, config) for task in tasks], fetch, by_loss(loss), config,
        gather=gather if here else None, judge=judge, patience=options.patience, plateau=plateau,
    )  # fmt: skip


def _course(task: TaskTensors, config: Config) -> Course:
    """Return the passes of an expert over its task; only with dev samples is it judged."""
    n, size = len(task.train), config.batch_size
    drawn = rows_per_pass(n, size, config.drop_last)
    return Course(
        sampler=Shuffled(n, generator(config.seed, "batches", *task.key), drawn),
        steps=steps_for(drawn, config.epochs, size),
        noise=Noise(config.seed, "dropout", *task.key),
        judged_every=steps_for(drawn, 1, size) if len(task.dev) else 0,
    )


def _input(net: ResidualMLP, features: Tensor, config: Config) -> Tensor:
    """Turn stored rows [n, d] into what the net reads, where it is."""
    return network_input(features.to(net.weights.device), config.feature_norm)


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
    """Return the buffer B_k of (x, y, phi(x)) of expert k."""
    rows = buffer_rows(task, config)
    features = task.train.features[rows.to(task.train.features.device)]
    phi = bank.phi(_input(bank, features, config), k)
    phi = stored_phi(phi, config.options.feature_loss, bank.phi_widths[-1])
    return Samples(
        features=features.half().to(rows.device),
        labels=task.train.labels[rows],
        tasks=torch.full_like(rows, task.index),
        phi=phi.half(),
    )
