"""Batch Model Consolidation (Fostiropoulos, Zhu, Itti, CVPR 2023).

A group of k tasks: k regularised experts train in parallel from the base model and each
sends one buffer; the centre trains the next base model on memory and buffers with batched
distillation, then renews its memory. A large task is cut into several experts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bmc.config import Config, option
from bmc.engines.base import Trained
from bmc.methods.base import METHODS
from bmc.methods.buffer_message import as_trained, buffer_form, trained_buffer
from bmc.methods.message import Form, Message
from bmc.methods.net_method import NetMethod
from bmc.train.batch import Batch
from bmc.train.data import Split, TaskTensors
from bmc.train.loop import Course
from bmc.train.losses import among, base_loss, distillation_loss, task_loss
from bmc.train.memory import Samples, balanced_choice, concatenate, share_of_each
from bmc.train.mixup import mixed
from bmc.train.movement import stage
from bmc.train.parts import experts_of
from bmc.train.plateau import Plateau, judge_by_loss
from bmc.train.sampling import Balanced, rows_per_pass, steps_for
from bmc.train.seeds import Noise, generator

HELD_OUT_SEED = 42


@METHODS.register("bmc")
class BatchModelConsolidation(NetMethod):
    """Parallel regularised experts, consolidated by batched distillation.

    Attributes
    ----------
    memory
        M, samples with the phi of the experts that stored them; ``None`` at first.
    expert_steps
        Updates that each expert made: of each task, of a task that is cut one after the other.
    bounds
        First class of each task, and the one after its last.
    """

    name = "bmc"
    title = "BMC"
    source = "Fostiropoulos, Zhu and Itti, CVPR 2023"
    equation = """
        L_bd(teacher, student) = Σ_layers i ‖ stopgrad(φ_i^teacher) − φ_i^student ‖₂
        expert of task t:   L_exp  = L_T(expert_t(x), y) + λ L_bd(base(x), expert_t(x))
        sends once:         B_t = {(x, y, φ_t(x))}
        D = M ∪ B_1 ∪ ... ∪ B_k
        next base model:    L_base = α L_T(base'(x), y) + β L_bmc
                            L_bmc  = mean over D of L_bd(φ stored with x, base'(x))
        M ← a balanced choice from D
    """
    shared = NetMethod.shared | {"memory"}
    has_experts = True
    across_sites = True
    uncounted = frozenset({"expert_steps"})  # for the record only

    @dataclass(frozen=True)
    class Options(NetMethod.Options):
        experts: int = option(8, "Tasks (experts) per group, k.", at_least=1)
        first_alone: bool = option(
            False, "The first task is a group of its own; groups of k follow."
        )
        buffer: int = option(
            250, "Samples of each task that its experts send to the centre.", at_least=1
        )
        expert_rows: int = option(
            100_000,
            "Training samples from which on a task is cut into experts of at most so many each; "
            "0: never.",
            at_least=0,
        )
        lam: float = option(0.1, "Weight of the stability loss, lambda.", at_least=0)
        alpha: float = option(1.0, "Weight of the task loss in consolidation.", at_least=0)
        beta: float = option(0.1, "Weight of the batched distillation loss.", at_least=0)
        patience: int = option(
            0,
            "An expert ends after so many passes without a better dev loss, with its best weights "
            "(early_stopping: its last ones); 0: never.",
            at_least=0,
        )
        consolidation_epochs: int = option(
            10, "Draws per group, in sizes of memory and buffers.", at_least=1
        )
        consolidation_batch: int = option(
            128, "Samples per update of the consolidation.", at_least=2
        )
        consolidation_rate: float = option(
            0.002, "AdamW learning rate of the consolidation.", above=0
        )
        mixup: float = option(
            1.0,
            "Least weight of a sample in consolidation, where each is mixed with another one; 1: "
            "none is.",
            above=0,
            at_most=1,
        )
        held_out: float = option(
            0.0,
            "Share of memory and buffers whose loss lowers the rate of consolidation (seed 42).",
            at_least=0,
            below=1,
        )
        task_slice: bool = option(
            False,
            "In consolidation, the classes from the lowest to the highest task of a batch compete.",
        )
        feature_loss: str = option(
            "norm",
            "Distance of features: norm over all layers, or squared over the last block's.",
            one_of=("norm", "squared"),
        )
        buffer_choice: str = option(
            "balanced",
            "Samples of a buffer: balanced over classes, or the first of a shuffled pass.",
            one_of=("balanced", "first"),
        )
        memory_choice: str = option(
            "balanced",
            "Samples kept: balanced over tasks and classes, or a share of each task, its size "
            "ceil(memory / tasks) + 1.",
            one_of=("balanced", "share"),
        )

    options: Options

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        self.memory: Samples | None = None
        self.expert_steps: list[int] = []
        self.bounds: list[tuple[int, int]] = []

    @classmethod
    def sample_bytes(cls, dim: int, n_classes: int, config: Config) -> int:
        """Add the task, and phi."""
        phi = config.hidden + 2 * config.width
        return super().sample_bytes(dim, n_classes, config) + 4 + 2 * phi

    def group_size(self, n_tasks: int) -> int:
        """Return k; the last group may be smaller and is consolidated all the same."""
        return min(self.options.experts, n_tasks)

    def group_ends(self, n_tasks: int) -> list[int]:
        """Return after how many tasks each group ends, the first one perhaps of one task."""
        if not self.options.first_alone:
            return super().group_ends(n_tasks)
        return [*range(1, n_tasks, self.group_size(n_tasks)), n_tasks]

    def learn(self, group: Sequence[TaskTensors]) -> None:
        """Regularisation phase, consolidation phase, memory update."""
        experts = experts_of(group, self.config)
        share = self._share_of_experts(experts)
        with self.watch.phase("experts", self.device), stage(0, share, "experts"):
            trained = self.engine.train(self.net, experts, self.config)
        with stage(share, 1, "consolidation"):
            self._learn_from(group, trained)

    def _share_of_experts(self, experts: Sequence[TaskTensors]) -> float:
        """Return which share of learning a group is its experts', about; for progress alone."""
        config, size = self.config, self.config.batch_size
        rows = (rows_per_pass(len(one.train), size, config.drop_last) for one in experts)
        updates = sum(steps_for(n, config.epochs, size) for n in rows)
        trained = updates * size / max(1, min(self.engine.workers, len(experts)))
        sent = config.memory + self.options.buffer * len(experts)
        return trained / (trained + self.options.consolidation_epochs * sent)

    def message(self, task: TaskTensors, group: Sequence[TaskTensors], part: int = 0) -> Message:
        """Train the expert of a task from the base model; return its buffer."""
        return trained_buffer(self.net, task, group, self.config, part)

    def message_form(self, classes: int, rows: int) -> Form:
        """Return the form of a buffer."""
        return buffer_form(self.net, self.config, rows)

    def take_in(self, group: Sequence[TaskTensors], messages: Sequence[Message]) -> None:
        """Consolidate the buffers that experts sent."""
        self._learn_from(group, as_trained(group, messages, self.device))

    def _learn_from(self, group: Sequence[TaskTensors], trained: Trained) -> None:
        """Consolidation phase and memory update with the buffers of a group's experts."""
        self.steps += sum(trained.steps)
        self.expert_steps += trained.steps
        self.communication_bytes += trained.communication_bytes
        self.broadcast_bytes += trained.broadcast_bytes
        self.seen = group[-1].stop
        self.bounds += [(task.start, task.stop) for task in group]
        known = [self.memory] if self.memory is not None else []
        data = concatenate([*known, *trained.buffers])  # D = {M, B_i, ..., B_{i+k}}
        with self.watch.phase("consolidation", self.device):
            self._consolidate(data, group[0].index)
        with self.watch.phase("memory", self.device):
            draws = generator(self.config.seed, "memory", group[0].index)
            if self.options.memory_choice == "share":
                kept = share_of_each(self.config.memory, draws, data.tasks)
            else:
                kept = balanced_choice(self.config.memory, draws, data.labels, data.tasks)
            self.memory = data.rows(kept)

    def _consolidate(self, data: Samples, index: int) -> None:
        """Train the next base model with L_base = alpha L_T + beta L_bmc on D.

        L_bmc = sum over experts of E_D[L_bd(base'(x), expert_i(x))]. Every sample of D carries
        the phi of the expert that stored it, and every task of D is drawn equally often, cut or
        not. We take the mean over the batch, which is the sum over the group's k experts divided
        by k: beta here is k times the poster's, and does not change with the size of a last group
        or the number of a task's experts.
        """
        config, options = self.config, self.options
        size = options.consolidation_batch
        data, judged = self._hold_out(data)
        drawn = rows_per_pass(len(data), size, config.drop_last)
        steps = steps_for(drawn, options.consolidation_epochs, size)
        draws = generator(config.seed, "consolidation", index)
        course = Course(
            sampler=Balanced(data.tasks, steps * size, draws),
            steps=steps,
            noise=Noise(config.seed, "consolidation dropout", index),
            judged_every=steps_for(drawn, 1, size),
        )
        partners = generator(config.seed, "mixup", index)
        bounds = torch.tensor([[0, self.outputs]], device=self.device).expand(len(data), 2)
        if options.task_slice:
            bounds = torch.tensor(self.bounds, device=self.device)[data.tasks]

        def prepare(
            features: Tensor, labels: Tensor, phi: Tensor, bounds: Tensor
        ) -> tuple[Tensor, ...]:
            features, *others = mixed(features, labels, options.mixup, partners)
            return features, labels, phi, bounds, *others

        self.fit(
            self.net, (data.features, data.labels, data.phi, bounds), course, self._loss,
            None if options.mixup == 1 else prepare,
            classes=self.outputs, batch_size=size, rate=options.consolidation_rate, **judged,
            moments=self.moments,
        )  # fmt: skip
        self.keep_moments()

    def _loss(self, batch: Batch) -> Tensor:
        """Return L_base of one batch of D, [1]; of mixed samples, with the labels of both."""
        options = self.options
        features, labels, phi, bounds, *others = batch.data
        logits, student = self.net(self.inputs(features), batch.keep)
        if options.task_slice:
            logits = among(logits, bounds[..., 0].amin(1, True), bounds[..., 1].amax(1, True))
        task = task_loss(logits, labels)
        if others:
            partners, weight = others
            task = weight * task + (1 - weight) * task_loss(logits, partners)
        if not options.beta:
            return options.alpha * task
        distance = distillation_loss(
            options.feature_loss, phi, student, batch.keep, self.net.dropout
        )
        return base_loss(task, distance, options.alpha, options.beta)

    def _hold_out(self, data: Samples) -> tuple[Samples, dict[str, Any]]:
        """Split D; return what trains, and the options by which the rest lowers the rate.

        The seed of the split is the published one, whatever that of the run.
        """
        config, n = self.config, len(data)
        plateau = Plateau.of(config, ends=False)
        count = min(math.ceil(n * self.options.held_out), n - 1)
        if plateau is None or not count:
            return data, {}
        order = torch.randperm(n, generator=torch.Generator().manual_seed(HELD_OUT_SEED))
        order = order.to(data.labels.device)
        held = data.rows(order[n - count :])
        judge = judge_by_loss(
            self.net, [Split(held.features, held.labels)], config,
            classes=self.seen if self.options.task_slice else None, most=None,
        )  # fmt: skip
        return data.rows(order[: n - count]), {"plateau": plateau, "judge": judge}

    def records(self) -> dict[str, Any]:
        """Return the updates of each task's expert, which early stopping makes unequal."""
        return {"expert_steps": self.expert_steps}

    def state(self) -> dict[str, Tensor]:
        """Return base model, memory, and the updates of the experts."""
        memory = self.memory.state("memory") if self.memory is not None else {}
        steps = torch.tensor(self.expert_steps, dtype=torch.int64)
        state = super().state() | memory | {"expert_steps": steps}
        if self.options.task_slice:
            state["bounds"] = torch.tensor(self.bounds, dtype=torch.int32)
        return state

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Load base model, memory, and the updates of the experts."""
        super().load_state(state)
        self.expert_steps = state["expert_steps"].tolist()
        if "bounds" in state:
            self.bounds = [(start, stop) for start, stop in state["bounds"].tolist()]
        if "memory.labels" in state:
            self.memory = Samples.from_state(state, "memory", self.device)
