"""Joint training: all tasks at once. The upper reference for the same network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bmc.methods.base import METHODS, NetMethod
from bmc.train.data import TaskTensors


@METHODS.register("joint")
class Joint(NetMethod):
    """One training over the data of all tasks together."""

    name = "joint"
    title = "Joint training"
    reference = True
    source = "The upper reference for the same network"
    equation = """
        L = L_T(all training data of the stream)
    """
    shared = NetMethod.shared - {"moments"}  # there is one training
    _kept = 0

    def group_size(self, n_tasks: int) -> int:
        """All tasks form one group."""
        return n_tasks

    def end_group(self, group: Sequence[TaskTensors]) -> None:
        """Count the data that had to be kept to train on it all."""
        self._kept = sum(
            task.train.features.numel() * task.train.features.element_size() + 4 * len(task.train)
            for task in group
        )

    def memory_bytes(self) -> int:
        """Bytes of all training data, labels counted as 4 bytes each."""
        return self._kept

    def state(self) -> dict[str, Tensor]:
        """Return the network and the bytes kept."""
        return super().state() | {"kept": torch.tensor([self._kept])}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Load the network and the bytes kept."""
        super().load_state(state)
        self._kept = int(state["kept"])
