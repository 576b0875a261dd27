"""BMC whose consolidation also draws features of every class from Gaussians.

What separates BMC from joint training on the same network is what the centre trains on: with a
memory of 500 samples for 350 classes a class is one or two points. A class mean takes as many
bytes as one sample without phi, and one covariance serves all classes; they describe a class
better than the samples that the same bytes would hold. So each expert also sends the means of its
classes and the largest directions of their covariance, and consolidation draws features anew for
all classes seen. Real samples stay beside them: they carry what is not Gaussian, and the phi of
the experts. A drawn feature is distilled from the base model of before. Of a task that is cut into
several experts the statistics are those of the whole, and sent once.

Related: classifier alignment (SLCA, ICCV 2023) draws from Gaussians to train a head alone, one task
after the other; here the whole base model is consolidated from the messages of experts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from bmc.config import Config, option
from bmc.methods.base import METHODS
from bmc.methods.bmc import BatchModelConsolidation
from bmc.methods.gaussian_message import (
    Statistics,
    Table,
    covariance_form,
    packed_covariance,
    unpacked_covariance,
)
from bmc.methods.message import Entry, Form, Message
from bmc.train.data import TaskTensors
from bmc.train.memory import Samples, concatenate
from bmc.train.packed import to_message
from bmc.train.seeds import generator

BLOCK = 2048  # drawn rows whose phi is computed at once
PREFIX = "gaussian."
JITTER = 1e-6  # of the mean variance: a covariance of few rows is singular


@METHODS.register("bmc-gaussian")
class GaussianReplay(BatchModelConsolidation):
    """BMC; its pool is joined by draws from a Gaussian of every class.

    Attributes
    ----------
    means
        float16 [C, d], the mean of each class's rows of length 1.
    task_of
        int64 [C], the task that each class belongs to.
    covariance
        The sum over tasks of the covariance within their classes, as `packed_covariance` stores it.
    tasks
        Number of tasks in that sum.
    """

    name = "bmc-gaussian"
    title = "BMC + Gaussian replay"
    source = "This project: Batch Model Consolidation, its pool joined by draws from class means"
    equation = """
        an expert also sends   x̄_c of its classes,  S_t ≈ Vᵀ diag(e) V + (q / d) I
        D = M ∪ B_1 ∪ ... ∪ B_k ∪ {n draws of x ~ N(x̄_c, mean of the S_t) for every class c}
        then as BMC;  φ of a draw: that of the base model of before
    """

    @dataclass(frozen=True)
    class Options(BatchModelConsolidation.Options):
        draws: int = option(20, "Features drawn of each class at every consolidation.", at_least=1)
        rank: int = option(
            64, "Directions of its covariance that an expert sends; 0: all.", at_least=0
        )
        centre_rank: int = option(
            256, "Directions of the sum of covariances that the centre keeps; 0: all.", at_least=0
        )

    options: Options

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        self.means = torch.zeros(n_classes, dim, dtype=torch.float16, device=device)
        self.task_of = torch.zeros(n_classes, dtype=torch.int64, device=device)
        self.covariance: dict[str, Tensor] = {}
        self.tasks = 0

    def learn(self, group: Sequence[TaskTensors]) -> None:
        """Take in the statistics of the group's tasks, then learn them as BMC does."""
        with self.watch.phase("experts", self.device):
            own = [self._statistics(task) for task in group]
        self.communication_bytes += sum(len(to_message(statistics)) for statistics in own)
        with self.watch.phase("consolidation", self.device):
            self._add(group, own)
        super().learn(group)

    def _statistics(self, task: TaskTensors) -> dict[str, Tensor]:
        """Return what the expert of a task sends beside its buffer, one file if by itself."""
        table = Table(task.train.features, task.train.labels.to(self.device) - task.start)
        rows = torch.arange(len(table.labels), device=self.device)
        known = Statistics.of(table, rows, task.n_classes)
        covariance = packed_covariance(known.values, known.vectors, self.options.rank)
        return {"means": known.means.half(), **covariance}

    def message(self, task: TaskTensors, group: Sequence[TaskTensors], part: int = 0) -> Message:
        """Train the expert of a task; return its buffer and its Gaussian statistics."""
        own = {PREFIX + name: tensor for name, tensor in self._statistics(task).items()}
        buffer = super().message(task, group, part)
        return replace(buffer, tensors=buffer.tensors | own)

    def message_form(self, classes: int, rows: int) -> Form:
        """Return the form of a buffer and Gaussian statistics."""
        form = super().message_form(classes, rows)
        means = {PREFIX + "means": Entry(torch.float16, ("k", self.dim))}
        covariance = covariance_form(self.dim, self.options.rank, PREFIX)
        most = {**form.most, "k": classes, "r": self.dim}
        return Form([*form.groups, [means], covariance], most, {"k": classes, "r": 0})

    def take_in(self, group: Sequence[TaskTensors], messages: Sequence[Message]) -> None:
        """Take in the statistics, then the buffers."""
        own = [
            {n.removeprefix(PREFIX): t.to(self.device) for n, t in message.tensors.items()}
            for message in messages
        ]
        with self.watch.phase("consolidation", self.device):
            self._add(group, own)
        super().take_in(group, messages)

    def _add(self, group: Sequence[TaskTensors], messages: Sequence[dict[str, Tensor]]) -> None:
        """Keep the means of a group's tasks, and add their covariances to the sum."""
        whole = torch.zeros(self.dim, self.dim, dtype=torch.float64, device=self.device)
        if self.covariance:
            whole += unpacked_covariance(self.covariance)
        for task, message in zip(group, messages, strict=True):
            self.means[task.start : task.stop] = message["means"]
            self.task_of[task.start : task.stop] = task.index
            whole += unpacked_covariance(message)
        values, vectors = torch.linalg.eigh(whole)
        self.covariance = packed_covariance(
            values.flip(0).clamp(min=0), vectors.flip(1).T, self.options.centre_rank
        )
        self.tasks = group[-1].index + 1

    def _consolidate(self, data: Samples, index: int) -> None:
        """Train the next base model on memory, buffers and draws."""
        super()._consolidate(concatenate([data, self._drawn(index, data)]), index)

    def _drawn(self, index: int, like: Samples) -> Samples:
        """Draw features of all classes seen, with the phi of the base model as it is."""
        draws = generator(self.config.seed, "gaussians", index)
        labels = torch.arange(self.seen).repeat(self.options.draws).to(self.device)
        whole = unpacked_covariance(self.covariance) / self.tasks
        whole.diagonal().add_(JITTER * whole.diagonal().mean() + torch.finfo(torch.float64).tiny)
        factor = torch.linalg.cholesky(whole).float()
        blocks = []
        for own in torch.split(labels, BLOCK):
            noise = torch.randn(len(own), self.dim, generator=draws).to(self.device)
            rows = functional.normalize(self.means[own].float() + noise @ factor.T, dim=1)
            x = rows.to(like.features)
            phi = self.net.phi(self.inputs(x)).to(like.phi)
            blocks.append(Samples(x, own, self.task_of[own], phi))
        return concatenate(blocks)

    def state(self) -> dict[str, Tensor]:
        """Return base model, memory, means and covariance."""
        covariance = {PREFIX + name: tensor for name, tensor in self.covariance.items()}
        means = {"means": self.means[: self.seen], "task_of": self.task_of[: self.seen].int()}
        return super().state() | means | covariance

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Load base model, memory, means and covariance."""
        super().load_state(state)
        seen = len(state["means"])
        self.means[:seen] = state["means"].to(self.device)
        self.task_of[:seen] = state["task_of"].to(self.device).long()
        self.tasks = int(self.task_of.max()) + 1
        self.covariance = {
            name.removeprefix(PREFIX): tensor.to(self.device)
            for name, tensor in state.items()
            if name.startswith(PREFIX)
        }
