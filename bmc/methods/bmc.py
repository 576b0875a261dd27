"""Batch Model Consolidation (Fostiropoulos, Zhu, Itti, CVPR 2023).

A group of k tasks: k regularised experts train in parallel from the base model and each
sends one buffer; the centre trains the next base model on memory and buffers with batched
distillation, then renews its memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bmc.config import Config
from bmc.data import Balanced, TaskTensors, steps_for
from bmc.engines.local import train_experts
from bmc.losses import base_loss, feature_distance, task_loss
from bmc.memory import Samples, balanced_choice, concatenate
from bmc.methods.base import METHODS, NetMethod
from bmc.seeds import generator
from bmc.training import Course, train_stacked


@METHODS.register("bmc")
class BatchModelConsolidation(NetMethod):
    """Parallel regularised experts, consolidated by batched distillation.

    Attributes
    ----------
    memory
        M, samples with the phi of the experts that stored them; ``None`` at first.
    """

    name = "bmc"
    title = "BMC"

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        self.memory: Samples | None = None

    def group_size(self, n_tasks: int) -> int:
        """Return k; the last group may be smaller and is consolidated all the same."""
        return min(self.config.experts, n_tasks)

    def learn(self, group: Sequence[TaskTensors]) -> None:
        """Regularisation phase, consolidation phase, memory update."""
        buffers, steps = train_experts(self.net, group, self.config)
        self.steps += steps
        self.communication_bytes += sum(buffer.nbytes() for buffer in buffers)
        self.seen = group[-1].stop
        known = [self.memory] if self.memory is not None else []
        data = concatenate([*known, *buffers])  # D = {M, B_i, ..., B_{i+k}}
        self._consolidate(data, group[0].index)
        draws = generator(self.config.seed, "memory", group[0].index)
        kept = balanced_choice(self.config.memory, draws, data.labels, data.tasks)
        self.memory = data.rows(kept)

    def _consolidate(self, data: Samples, index: int) -> None:
        """Train the next base model with L_base = alpha L_T + beta L_bmc on D.

        L_bmc = sum over experts of E_D[L_bd(base'(x), expert_i(x))]. Every sample of D carries
        the phi of the expert that stored it, and every task of D is drawn equally often. We
        take the mean over the batch, which is the sum over the group's k experts divided by k:
        beta here is k times the poster's, and does not change with the size of a last group.
        """
        config = self.config
        course = Course(
            sampler=Balanced(data.tasks.cpu(), generator(config.seed, "consolidation", index)),
            steps=steps_for(len(data), config.consolidation_epochs, config.batch_size),
            noise=generator(config.seed, "consolidation dropout", index),
        )
        widths = [config.hidden, config.width, config.width]

        def loss(rows: Tensor, keep: Tensor, _: int) -> Tensor:
            x = self.inputs(data.features[rows])
            logits, student = self.net(x, keep, slice(0, self.seen))
            teacher = torch.split(data.phi[rows].float(), widths, dim=-1)
            return base_loss(
                task_loss(logits, data.labels[rows]),
                feature_distance(teacher, student),
                config.alpha,
                config.beta,
            )

        self.steps += train_stacked(self.net, [course], loss, config)

    def memory_bytes(self) -> int:
        """Bytes of M: features, phi, labels, task numbers."""
        return self.memory.nbytes() if self.memory is not None else 0

    def state(self) -> dict[str, Tensor]:
        """Return base model and memory."""
        memory = self.memory.state("memory") if self.memory is not None else {}
        return super().state() | memory

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Load base model and memory."""
        super().load_state(state)
        if "memory.labels" in state:
            self.memory = Samples.from_state(state, "memory", self.device)
