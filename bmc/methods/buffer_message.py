"""The message of an expert of BMC: its buffer of samples with the phi of the expert."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from autods.errors import UsageError
from bmc.config import Config
from bmc.engines.base import Trained
from bmc.engines.local import train_experts
from bmc.methods.message import LABELS, MOST_PARTS, Entry, Form, Message
from bmc.network.mlp import ResidualMLP
from bmc.train.data import TaskTensors
from bmc.train.memory import Samples, concatenate
from bmc.train.parts import experts_of


def trained_buffer(
    base: ResidualMLP, task: TaskTensors, group: Sequence[TaskTensors], config: Config, part: int
) -> Message:
    """Train the experts of a task from the base model; return what they send.

    Of a task that is cut (`bmc.train.parts`), that of one ``part``, counted from 1, or with 0 of
    all, one after the other.
    """
    experts = experts_of([task], config)
    if len(experts) > MOST_PARTS:
        raise UsageError(
            f"expert_rows cuts the {len(task.train):,} samples of '{task.name}' into "
            f"{len(experts):,} parts, expected at most {MOST_PARTS:,}; nothing was trained. Make "
            "the base with a larger expert_rows."
        )
    if part > len(experts) == 1:
        raise UsageError(
            f"--part {part}: expected a task that expert_rows cuts, '{task.name}' with "
            f"{len(task.train):,} samples is not; nothing was trained. Leave --part out."
        )
    if part > len(experts):
        raise UsageError(
            f"--part {part}: expected one of the {len(experts)} parts into which expert_rows cuts "
            f"the {len(task.train):,} samples of '{task.name}'; nothing was trained."
        )
    chosen = experts[part - 1 : part] if part else experts
    widest = max(other.n_classes for other in group)
    buffers, steps = train_experts(base, chosen, config, widest)
    buffer = concatenate(buffers)
    tensors = buffer.state("buffer") | {"buffer.labels": (buffer.labels - task.start).int()}
    del tensors["buffer.tasks"]  # the centre knows which task it is
    return Message(tensors, steps, parts=len(experts) if part else 1)


def buffer_form(base: ResidualMLP, config: Config, rows: int) -> Form:
    """Return the form of what is sent about a task of so many training samples."""
    options, widths = config.options, base.phi_widths
    phi = sum(widths) if options.feature_loss == "norm" else widths[-1]
    buffer = {
        "buffer.features": Entry(torch.float16, ("n", base.dim)),
        "buffer.labels": Entry(torch.int32, ("n",), LABELS),
        "buffer.phi": Entry(torch.float16, ("n", phi)),
    }
    return Form([[buffer]], most={"n": min(options.buffer, rows)})


def as_trained(
    group: Sequence[TaskTensors], messages: Sequence[Message], device: torch.device
) -> Trained:
    """Return what an engine would have given of the tasks that messages are about."""
    buffers = []
    for task, message in zip(group, messages, strict=True):
        labels = message.tensors["buffer.labels"].long() + task.start
        numbers = {"buffer.labels": labels, "buffer.tasks": torch.full_like(labels, task.index)}
        buffers.append(Samples.from_state(message.tensors | numbers, "buffer", device))
    steps = [made for message in messages for made in message.steps]
    return Trained(buffers, steps, sum(message.nbytes for message in messages), 0)
