"""Joint training: all tasks at once. The upper reference for the same network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bmc.config import option
from bmc.methods.base import METHODS
from bmc.methods.net_method import NetMethod
from bmc.methods.reference import JointReference
from bmc.train.data import Split, TaskTensors
from bmc.train.loop import Course
from bmc.train.sampling import Balanced
from bmc.train.seeds import generator


@METHODS.register("joint")
class Joint(JointReference, NetMethod):
    """One training over the data of all tasks together."""

    name = "joint"
    title = "Joint training"
    source = "The upper reference for the same network"
    equation = """
        L = L_T(all training data of the stream)
    """
    shared = NetMethod.shared - {"moments"}  # there is one training
    one_by_one = False

    @dataclass(frozen=True)
    class Options(NetMethod.Options):
        passes: int = option(
            3, "How many times as many passes as other methods make over a task.", at_least=1
        )
        balanced: bool = option(True, "Draw every class equally often.")

    options: Options

    def course(
        self, data: Split, batches: Sequence[int | str], dropout: Sequence[int | str]
    ) -> Course:
        """Return passes over all data, or as many draws in which all classes are met alike."""
        course = self.passes(len(data), self.config.epochs * self.options.passes, batches, dropout)
        if not self.options.balanced:
            return course
        draws = generator(self.config.seed, *batches)
        count = course.steps * self.config.batch_size
        return replace(course, sampler=Balanced(data.labels, count, draws))

    def end_group(self, group: Sequence[TaskTensors]) -> None:
        """Count the data that had to be kept to train on it all."""
        self.count(group)

    def state(self) -> dict[str, Tensor]:
        """Return the network and the bytes kept."""
        return super().state() | {"kept": torch.tensor([self.kept_bytes])}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Load the network and the bytes kept."""
        super().load_state(state)
        self.kept_bytes = int(state["kept"])
