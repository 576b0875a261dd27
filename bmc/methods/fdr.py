"""Function distance regularisation, FDR (arXiv 1805.08289).

The memory holds what the network answered at the end of each sample's task, as probabilities.
Classes that it did not know then had none, so later classes count with a stored probability of 0.
Distance and task loss make one update together (the published code makes two steps), from one
forward pass over current and stored samples, for the same batch statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from bmc.config import option
from bmc.methods.base import METHODS
from bmc.methods.experience_replay import Balancing, Replaying
from bmc.train.data import TaskTensors
from bmc.train.losses import task_loss
from bmc.train.seeds import generator

BLOCK = 8192  # rows that are offered at once


@METHODS.register("fdr")
class FunctionDistance(Replaying, Balancing):
    """The network's answers to former samples must stay what they were when their task ended."""

    name = "fdr"
    title = "FDR"
    source = "Benjamin, Rolnick and Kording, ICLR 2019, arXiv 1805.08289"
    equation = """
        L = L_T + α sqrt( mean_{(x, p) in M} ‖ softmax f(x) − p ‖² )
    """
    stores_outputs = True

    @dataclass(frozen=True)
    class Options(Balancing.Options):
        alpha: float = option(1.0, "Weight of the distance to stored probabilities.", at_least=0)

    options: Options

    def loss(self, x: Tensor, labels: Tensor, keep: Tensor, *drawn: Tensor) -> Tensor:
        """Return L_T + alpha |f - f_stored|, [1]."""
        own, old = self.replay(x, keep, drawn[0])
        if not drawn[0].shape[1]:
            return task_loss(own, labels)
        stored = self.memory.outputs[drawn[0][0], : old.shape[2]]
        return task_loss(own, labels) + self.options.alpha * function_distance(old[0], stored)

    def end_group(self, group: Sequence[TaskTensors]) -> None:
        """Store samples of the task with the network's answers to them."""
        for task in group:
            draws = generator(self.config.seed, "memory", task.index)
            for features, labels in self.shuffled(task, draws, BLOCK):
                answers = self.scores(features).softmax(dim=1)
                self.memory.add(features, labels, draws, task=task.index, outputs=answers)


def function_distance(logits: Tensor, stored: Tensor) -> Tensor:
    """L2 distance of two functions, estimated on n samples: a scalar.

    sqrt(mean_i |softmax(f(x_i)) - p_i|^2), the norm of arXiv 1805.08289, of logits f(x_i)
    [n, C] and stored probabilities p_i, float16 [n, C].
    """
    # the norm's gradient is 0 where the distance is
    norm = torch.linalg.vector_norm(functional.softmax(logits, dim=1) - stored)
    distance: Tensor = norm / len(logits) ** 0.5
    return distance
