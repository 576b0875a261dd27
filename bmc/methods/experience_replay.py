"""Experience replay with a reservoir (Chaudhry et al. 2019, arXiv 1902.10486)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bmc.config import Config
from bmc.data import TaskTensors
from bmc.memory import Reservoir
from bmc.methods.base import METHODS, NetMethod
from bmc.seeds import generator


@METHODS.register("er")
class ExperienceReplay(NetMethod):
    """Each update joins a batch of the current task with one of the reservoir.

    The reservoir is offered every training sample exactly once, in shuffled order, when
    its task ends, so it stays a uniform sample of all data whatever the number of epochs,
    and replay shows former tasks only.
    """

    name = "er"
    title = "Experience replay"

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        self.extra_rows = config.replay_batch
        self.reservoir = Reservoir(config.memory, dim, device)
        self.draws = torch.Generator()

    def begin_group(self, group: Sequence[TaskTensors]) -> None:
        """Start the replay draws of this task."""
        self.draws = generator(self.config.seed, "replay", group[0].index)

    def loss(self, x: Tensor, labels: Tensor, keep: Tensor) -> Tensor:
        """Cross-entropy over the batch and as many replayed samples as configured."""
        if len(self.reservoir) == 0:
            return super().loss(x, labels, keep[:, : x.shape[1]])
        features, old = self.reservoir.sample(self.extra_rows, self.draws)
        x = torch.cat([x, self.inputs(features)[None]], dim=1)
        return super().loss(x, torch.cat([labels, old[None]], dim=1), keep)

    def end_group(self, group: Sequence[TaskTensors]) -> None:
        """Offer the task's samples to the reservoir."""
        for task in group:
            draws = generator(self.config.seed, "reservoir", task.index)
            order = torch.randperm(len(task.train), generator=draws).to(self.device)
            self.reservoir.add(task.train.features[order], task.train.labels[order], draws)

    def memory_bytes(self) -> int:
        """Bytes of the stored samples."""
        return self.reservoir.nbytes()

    def state(self) -> dict[str, Tensor]:
        """Return network and reservoir."""
        return super().state() | self.reservoir.state()

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Load network and reservoir."""
        super().load_state(state)
        self.reservoir.load_state(state)
