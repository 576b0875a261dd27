"""GDumb: a greedy balanced memory and a network trained on it from scratch (ECCV 2020).

Prabhu, Torr and Dokania, "GDumb: A Simple Approach that Questions Our Progress in Continual
Learning". Published: SGD, 256 epochs, learning rate 0.05 to 0.0005, and CutMix, which mixes
images; here AdamW with rates of its own by default, and no CutMix of features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bmc.config import Config, option
from bmc.methods.base import METHODS
from bmc.methods.net_method import NetMethod
from bmc.train.data import Split, TaskTensors, take
from bmc.train.memory import balanced_choice
from bmc.train.seeds import generator


@METHODS.register("gdumb")
class GDumb(NetMethod):
    """Keeps a class-balanced memory, and trains a new network on it alone after each task.

    Attributes
    ----------
    memory
        float16 features [n, d] and int64 labels [n] of the samples kept.
    """

    name = "gdumb"
    title = "GDumb"
    source = "Prabhu, Torr and Dokania, ECCV 2020"
    equation = """
        M: class-balanced, greedy;  after each task a new network:  min_θ  L_T(M)
    """
    shared = NetMethod.shared | {"memory"}
    shared -= {
        "epochs", "learning_rate", "moments", "plateau", "plateau_threshold",
        "early_stopping",
    }  # fmt: skip

    @dataclass(frozen=True)
    class Options(NetMethod.Options):
        memory_epochs: int = option(
            100, "Passes over the memory, from new weights, at each task.", at_least=1
        )
        rate: float = option(0.001, "Learning rate at the first update.", above=0)
        last_rate: float = option(
            0.0001, "Learning rate at the last update, reached along a cosine.", above=0
        )
        memory_optimizer: str = option(
            "adamw",
            "Trains on the memory: adamw, or sgd without momentum or decay.",
            one_of=("adamw", "sgd"),
        )

    options: Options

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        features = torch.zeros(0, dim, dtype=torch.float16, device=device)
        self.memory = Split(features, torch.zeros(0, dtype=torch.int64, device=device))

    def learn(self, group: Sequence[TaskTensors]) -> None:
        """Offer the task's samples to the memory, then train from new weights on it."""
        self.seen = group[-1].stop
        with self.watch.phase("memory", self.device):
            for task in group:
                self._offer(task)
        with self.watch.phase("train", self.device):
            self._fit(group[-1].index)

    def _offer(self, task: TaskTensors) -> None:
        """Keep what the greedy balancing sampler (Algorithm 1) keeps of all samples of a task.

        It makes room for a class with fewer samples by a random one of the largest class, until
        the classes are equal. This is chosen at once, at random among the samples of a class,
        so in no order of them; and what a small class leaves of its share, others may use.
        """
        draws = generator(self.config.seed, "memory", task.index)
        labels = torch.cat([self.memory.labels, task.train.labels])
        rows = balanced_choice(self.config.memory, draws, labels)
        n = len(self.memory)
        offered = (rows[rows >= n] - n).to(task.train.features.device)
        new = take(task.train.features, offered, self.device)
        features = [self.memory.features[rows[rows < n]], new.to(torch.float16)]
        self.memory = Split(torch.cat(features), labels[rows])

    def _fit(self, index: int) -> None:
        """Train from new weights on the memory, with a cosine from the first to the last rate."""
        self.net.load_state_dict(self.new_net(self.n_classes, "gdumb weights", index).state_dict())
        options = self.options
        last = options.last_rate / options.rate
        keys = ("batches", index), ("dropout", index)
        self.fit(
            self.net, (self.memory.features, self.memory.labels),
            self.passes(len(self.memory), options.memory_epochs, *keys),
            classes=self.outputs, rate=options.rate, schedule=lambda share: cosine(share, last),
            optimizer=options.memory_optimizer,
        )  # fmt: skip

    def state(self) -> dict[str, Tensor]:
        """Return network and memory."""
        return super().state() | {
            "memory.features": self.memory.features[:],
            "memory.labels": self.memory.labels.int(),
        }

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Load network and memory."""
        super().load_state(state)
        self.memory = Split(
            state["memory.features"].to(self.device),
            state["memory.labels"].to(self.device).long(),
        )


def cosine(share: float, last: float) -> float:
    """Return the factor of the learning rate after a share of the updates: from 1 to ``last``."""
    return last + (1 - last) * (1 + math.cos(math.pi * share)) / 2
