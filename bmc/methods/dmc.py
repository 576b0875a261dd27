"""Deep Model Consolidation: double distillation on data without labels (arXiv 1903.07864).

The paper's auxiliary images are from elsewhere; here they are the features of the current task
and a memory of former ones, whose labels are not used. Expert (but for its head) and student
begin as the network of before: from new weights (``restart``), tasks of a hundred samples teach
them little.

An expert is as confident on samples of other tasks as on its own, and more so after more updates:
DMC tells the classes of one task apart but not the tasks, least of all where these differ in
size. Its class-il accuracy can fall below that of fine-tuning, which at least keeps the last task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bmc.config import Config, option
from bmc.methods.base import METHODS
from bmc.methods.experience_replay import Balancing
from bmc.network.mlp import ResidualMLP
from bmc.train.batch import Batch
from bmc.train.data import Split, TaskTensors, dev_data, joined, training_data
from bmc.train.moments import Moments
from bmc.train.movement import stage
from bmc.train.rows import together


@METHODS.register("dmc")
class DeepModelConsolidation(Balancing):
    """An expert learns the new classes alone; a student distils it and the network of before."""

    name = "dmc"
    title = "DMC"
    source = "Zhang et al., WACV 2020, arXiv 1903.07864"
    equation = """
        expert: L_T over the new classes alone
        student: mean over x, classes of (f(x) − [z_old − mean z_old ; z_new − mean z_new])²
        z_old, z_new: logits of the network of before and of the expert; x of the task and of M
    """

    @dataclass(frozen=True)
    class Options(Balancing.Options):
        distillation_epochs: int = option(10, "Passes of the double distillation.", at_least=1)
        distillation_rate: float = option(
            0.001, "Learning rate of the double distillation.", above=0
        )
        distillation_optimizer: str = option(
            "adamw",
            "Trains the student: adamw, or sgd without momentum or decay.",
            one_of=("adamw", "sgd"),
        )
        student_dropout: bool = option(
            False, "Dropout in the student too, while it copies what its teachers say without."
        )
        centred: str = option(
            "sample",
            "Teachers' logits are centred over the classes of each sample, or over the batch.",
            one_of=("sample", "batch"),
        )
        competition: str = option(
            "task",
            "Classes that compete in an expert: its task's, or all outputs.",
            one_of=("task", "all"),
        )
        restart: bool = option(False, "Draw expert and student anew at every task.")

    options: Options

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        self.former = self.new_net(n_classes, "initial weights")

    def learn(self, group: Sequence[TaskTensors]) -> None:
        """Train an expert on the task, and consolidate it with what was learned before."""
        if group[0].start == 0:  # nothing to consolidate with
            super().learn(group)
            return
        with self.watch.phase("train", self.device), stage(0, 0.5, "expert"):
            expert = self._expert(group)
        self.seen = group[-1].stop
        with self.watch.phase("consolidation", self.device), stage(0.5, 1, "consolidation"):
            self._consolidate(group, expert)
        with self.watch.phase("memory", self.device):
            self.end_group(group)

    def _expert(self, group: Sequence[TaskTensors]) -> ResidualMLP:
        """Return a network trained on the group alone, with outputs for its classes or for all."""
        alone, index = self.options.competition == "task", group[0].index
        start = group[0].start if alone else 0
        outputs = group[-1].stop - start if alone else self.n_classes
        expert = self.new_net(outputs, "expert weights", index)
        if not self.options.restart:
            trunk = slice(expert.trunk)
            expert.weights.data[:, trunk] = self.net.weights.data[:, trunk]
            expert.statistics.copy_(self.net.statistics)
        data = training_data(group)
        keys = ("expert", "batches", index), ("expert", "dropout", index)
        course = self.passes(len(data), self.config.epochs, *keys)
        dev = dev_data(group)
        judged = self.judged(expert, Split(dev.features, dev.labels - start))
        self.fit(expert, (data.features, data.labels - start), course, **judged)
        return expert

    def _consolidate(self, group: Sequence[TaskTensors], expert: ResidualMLP) -> None:
        """Regress the logits of both teachers on the auxiliary data."""
        known, index = group[0].start, group[0].index
        self.former.load_state_dict(self.net.state_dict())
        if self.options.restart:
            anew = self.new_net(self.n_classes, "student weights", index)
            self.net.load_state_dict(anew.state_dict())
            if self.moments is not None:
                self.moments = Moments.new(self.net)
        first = known if self.options.competition == "all" else 0  # of the expert's outputs
        own = joined([task.train.features for task in group])
        stored = self.memory.features[: len(self.memory)]
        data = together([own, stored.to(own.device, own.dtype)])  # no label of it is read

        def loss(batch: Batch) -> Tensor:
            x, keep = self.inputs(batch.data[0]), batch.keep
            old = self.former(x, classes=known)[0]
            new = expert(x)[0][..., first : first + self.seen - known]
            logits, _ = self.net(x, keep if self.options.student_dropout else None)
            centred_over = -1 if self.options.centred == "sample" else -2
            return double_distillation(logits[..., : self.seen], old, new, centred_over)

        keys = ("student", "batches", index), ("student", "dropout", index)
        course = self.passes(len(data), self.options.distillation_epochs, *keys)
        self.fit(
            self.net, (data,), course, loss, classes=self.outputs,
            rate=self.options.distillation_rate, optimizer=self.options.distillation_optimizer,
            moments=self.moments,
        )  # fmt: skip
        self.keep_moments()


def double_distillation(logits: Tensor, old: Tensor, new: Tensor, over: int = -1) -> Tensor:
    """Return the mean squared distance to the logits of both teachers, each centred: [1].

    Logits are those of the student [1, B, s + t], of the network of before [1, B, s] and of
    the expert [1, B, t]. They are centred ``over`` a teacher's classes of each sample (-1), as in
    the paper, or over the samples of the batch (-2), as in the public code.
    """
    centred = [teacher - teacher.mean(dim=over, keepdim=True) for teacher in (old, new)]
    return (logits - torch.cat(centred, dim=-1)).square().mean(dim=(-2, -1))
