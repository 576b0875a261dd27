"""Deep Model Consolidation: double distillation on data without labels (arXiv 1903.07864).

The paper's auxiliary images are from elsewhere; here they are the features of the current task
and a reservoir of former ones, whose labels are not used. Expert (but for its head) and student
begin as the network of before: from new weights, tasks of a hundred samples teach them little.
An expert is as sure of samples of other tasks as of its own, and surer the more updates it made:
DMC tells the classes of one task apart but not the tasks, least of all where these differ in
size. Its class-il accuracy can fall below that of fine-tuning, which at least keeps the last task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bmc.config import Config, option
from bmc.methods.base import METHODS, NetMethod
from bmc.network.mlp import ResidualMLP
from bmc.train.copies import Batch
from bmc.train.data import Shuffled, Split, TaskTensors, joined, steps_for, take
from bmc.train.loop import Course, by_loss, train_stacked
from bmc.train.losses import task_loss
from bmc.train.memory import Reservoir
from bmc.train.seeds import Noise, generator


@METHODS.register("dmc")
class DeepModelConsolidation(NetMethod):
    """An expert learns the new classes alone; a student distils it and the network of before."""

    name = "dmc"
    title = "DMC"
    source = "Zhang et al., WACV 2020, arXiv 1903.07864"
    equation = """
        expert: L_T over the new classes alone
        student: mean over x, classes of (f(x) − [z_old − mean z_old ; z_new − mean z_new])²
        z_old, z_new: logits of the network of before and of the expert; x of the task and of M
    """
    shared = NetMethod.shared | {"memory"}

    @dataclass(frozen=True)
    class Options(NetMethod.Options):
        distillation_epochs: int = option(10, "Passes of the double distillation.", at_least=1)
        distillation_rate: float = option(
            0.001, "AdamW learning rate of the double distillation.", above=0
        )

    options: Options

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        self.reservoir = Reservoir(config.memory, dim, device)
        self.former = self.new_net(n_classes, "initial weights")

    def learn(self, group: Sequence[TaskTensors]) -> None:
        """Train an expert on the task, and consolidate it with what was learned before."""
        if group[0].start == 0:  # nothing to consolidate with
            super().learn(group)
            return
        with self.watch.phase("train", self.device):
            expert = self._expert(group)
        self.seen = group[-1].stop
        with self.watch.phase("consolidation", self.device):
            self._consolidate(group, expert)
        with self.watch.phase("memory", self.device):
            self.end_group(group)

    def _expert(self, group: Sequence[TaskTensors]) -> ResidualMLP:
        """Return a network for the classes of the group alone, trained on nothing else."""
        config, start, index = self.config, group[0].start, group[0].index
        expert = self.new_net(group[-1].stop - start, "expert weights", index)
        trunk = slice(expert.trunk)
        expert.weights.data[:, trunk] = self.net.weights.data[:, trunk]
        expert.statistics.copy_(self.net.statistics)
        data = Split(
            joined([task.train.features for task in group]),
            joined([task.train.labels for task in group]),
        )

        def fetch(rows: Tensor, _: Sequence[int]) -> tuple[Tensor, ...]:
            return self.fetch(data, rows)

        def loss(batch: Batch) -> Tensor:
            features, labels = batch.data
            return task_loss(expert(self.inputs(features), batch.keep)[0], labels - start)

        course = self._course(len(data), config.epochs, "expert", index)
        self.steps += sum(train_stacked(expert, [course], fetch, by_loss(loss), config))
        return expert

    def _consolidate(self, group: Sequence[TaskTensors], expert: ResidualMLP) -> None:
        """Regress the logits of both teachers on the auxiliary data."""
        config, known, index = self.config, group[0].start, group[0].index
        self.former.load_state_dict(self.net.state_dict())
        own = joined([task.train.features for task in group])
        stored = self.reservoir.features[: len(self.reservoir)]
        data = torch.cat([own, stored.to(own)])  # no label of it is read

        def fetch(rows: Tensor, _: Sequence[int]) -> tuple[Tensor, ...]:
            return (take(data, rows, self.device),)

        def loss(batch: Batch) -> Tensor:
            x = self.inputs(batch.data[0])
            old, new = self.former(x, classes=known)[0], expert(x)[0]
            logits, _ = self.net(x, batch.keep)
            return double_distillation(logits[..., : self.seen], old, new)

        course = self._course(len(data), self.options.distillation_epochs, "student", index)
        made = train_stacked(
            self.net, [course], fetch, by_loss(loss), config, classes=self.outputs,
            rate=self.options.distillation_rate,
        )  # fmt: skip
        self.steps += sum(made)

    def _course(self, rows: int, epochs: int, key: str, index: int) -> Course:
        config = self.config
        return Course(
            sampler=Shuffled(rows, generator(config.seed, key, "batches", index)),
            steps=steps_for(rows, epochs, config.batch_size),
            noise=Noise(config.seed, key, "dropout", index),
        )

    def end_group(self, group: Sequence[TaskTensors]) -> None:
        """Offer the task's samples to the reservoir."""
        for task in group:
            draws = generator(self.config.seed, "reservoir", task.index)
            order = torch.randperm(len(task.train), generator=draws)
            features = take(task.train.features, order, self.device)
            self.reservoir.add(features, take(task.train.labels, order, self.device), draws)

    def memory_bytes(self) -> int:
        """Bytes of the reservoir."""
        return self.reservoir.nbytes()

    def state(self) -> dict[str, Tensor]:
        """Return network and reservoir."""
        return super().state() | self.reservoir.state()

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Load network and reservoir."""
        super().load_state(state)
        self.reservoir.load_state(state)


def double_distillation(logits: Tensor, old: Tensor, new: Tensor) -> Tensor:
    """Return the mean squared distance to the logits of both teachers, each centred: [1].

    Parameters
    ----------
    logits
        float32 [1, B, s + t] of the student.
    old, new
        float32 [1, B, s] and [1, B, t] of the network of before and of the expert.
    """
    centred = [teacher - teacher.mean(dim=-1, keepdim=True) for teacher in (old, new)]
    return (logits - torch.cat(centred, dim=-1)).square().mean(dim=(-2, -1))
