"""The local engine: the experts of a group train together on one device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bmc.config import Config
from bmc.data import Shuffled, TaskTensors, network_input, steps_for
from bmc.losses import expert_loss, feature_distance, task_loss
from bmc.memory import Samples, balanced_choice
from bmc.nets import ResidualMLP
from bmc.seeds import generator
from bmc.training import Course, train_stacked


def train_experts(
    base: ResidualMLP,
    tasks: Sequence[TaskTensors],
    config: Config,
    widest: int | None = None,
) -> tuple[list[Samples], int]:
    """Train one expert per task from the base model and sample each expert's buffer.

    Experts share nothing but the base model they start from; each computes only its own
    slice of the head.

    Parameters
    ----------
    base
        The base model (one copy), not changed.
    tasks
        The tasks of the group.
    config
        Hyper-parameters.
    widest
        Outputs of each expert's head; default: the most classes of ``tasks``. An engine that
        trains the experts of one group apart gives all of them the group's, and gets the
        same bits.

    Returns
    -------
    One buffer per task, in the order of ``tasks``, and the number of updates made.
    """
    ordered = sorted(tasks, key=lambda task: -len(task.train))  # stable: ties keep their order
    widest = widest or max(task.n_classes for task in tasks)
    bank = _expert_bank(base, ordered, config, widest)
    features = torch.cat([task.train.features for task in ordered])
    labels = torch.cat([task.train.labels - task.start for task in ordered])
    sizes = torch.tensor([len(task.train) for task in ordered])
    first_row = (torch.cumsum(sizes, 0) - sizes)[:, None].to(labels.device)  # [K, 1]
    absent = _absent_classes(ordered, widest, labels.device)  # [K, 1, widest]

    def loss(rows: Tensor, keep: Tensor, m: int) -> Tensor:
        rows = rows + first_row[:m]
        x = network_input(features[rows], config.feature_norm)  # [m, B, d]
        with torch.no_grad():
            flat = base.features(x.flatten(0, 1)[None])[1]
            teacher = [phi.view(m, -1, phi.shape[-1]) for phi in flat]
        logits, student = bank(x, keep)
        task = task_loss(logits.masked_fill(absent[:m], float("-inf")), labels[rows])
        return expert_loss(task, feature_distance(teacher, student), config.lam)

    courses = [
        Course(
            sampler=Shuffled(len(task.train), generator(config.seed, "batches", task.index)),
            steps=steps_for(len(task.train), config.epochs, config.batch_size),
            noise=generator(config.seed, "dropout", task.index),
        )
        for task in ordered
    ]
    steps = train_stacked(bank, courses, loss, config)
    by_index = {task.index: _sample_buffer(bank, k, task, config) for k, task in enumerate(ordered)}
    return [by_index[task.index] for task in tasks], steps


def _expert_bank(
    base: ResidualMLP, tasks: Sequence[TaskTensors], config: Config, widest: int
) -> ResidualMLP:
    """Stack one copy of the base model per task, each with its own slice of the head."""
    dim = base.project.weight.shape[1]
    bank = ResidualMLP(dim, widest, len(tasks), **config.network())
    bank.to(base.head.weight.device)
    source = base.state_dict()
    with torch.no_grad():
        for name, tensor in bank.state_dict().items():
            if not name.startswith("head."):
                tensor.copy_(source[name].expand_as(tensor))
        for k, task in enumerate(tasks):
            columns = slice(task.start, task.stop)
            bank.head.weight[k, :, : task.n_classes] = base.head.weight[0, :, columns]
            bank.head.bias[k, :, : task.n_classes] = base.head.bias[0, :, columns]
    return bank


def _absent_classes(tasks: Sequence[TaskTensors], widest: int, device: torch.device) -> Tensor:
    """Mark the outputs that a task has no class for, bool [K, 1, widest]."""
    counts = torch.tensor([task.n_classes for task in tasks], device=device)
    return torch.arange(widest, device=device)[None, None] >= counts[:, None, None]


def _sample_buffer(bank: ResidualMLP, k: int, task: TaskTensors, config: Config) -> Samples:
    """Choose a class-balanced buffer B_k of (x, y, phi(x)) with expert k."""
    draws = generator(config.seed, "buffer", task.index)
    rows = balanced_choice(config.buffer, draws, task.train.labels)
    features = task.train.features[rows]
    with torch.no_grad():
        phi = bank.single(k).features(network_input(features, config.feature_norm)[None])[1]
    return Samples(
        features=features.half(),
        labels=task.train.labels[rows],
        tasks=torch.full_like(rows, task.index),
        phi=torch.cat(phi, dim=-1)[0].half(),
    )
