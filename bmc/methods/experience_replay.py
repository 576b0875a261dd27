"""Experience replay with a reservoir (Chaudhry et al. 2019, arXiv 1902.10486)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bmc.config import Config
from bmc.data import Split, TaskTensors, take
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

    def fetch(self, data: Split, rows: Tensor) -> tuple[Tensor, ...]:
        """Add as many replayed samples as configured to each batch of the task's own."""
        features, labels = super().fetch(data, rows)
        if len(self.reservoir) == 0:
            return features, labels
        old, old_labels = self.reservoir.sample(len(rows) * self.extra_rows, self.draws)
        shape = (len(rows), 1, self.extra_rows)
        return (
            torch.cat([features, old.view(*shape, -1).to(features.dtype)], dim=2),
            torch.cat([labels, old_labels.view(shape)], dim=2),
        )

    def end_group(self, group: Sequence[TaskTensors]) -> None:
        """Offer the task's samples to the reservoir."""
        for task in group:
            draws = generator(self.config.seed, "reservoir", task.index)
            order = torch.randperm(len(task.train), generator=draws)
            features = take(task.train.features, order, self.device)
            self.reservoir.add(features, take(task.train.labels, order, self.device), draws)

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
