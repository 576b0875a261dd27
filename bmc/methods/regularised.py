"""Closed forms with one strength of regularisation, which the stream itself can choose."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from bmc.config import Config
from bmc.methods.closed_form import ClosedForm
from bmc.train.data import Split, TaskTensors, withheld_rows
from bmc.train.packed import AS_IS, COUNTS, Kept
from bmc.train.rows import Features, select
from bmc.train.seeds import generator

WITHHELD = 2  # training samples of a class that choose and do not count among the statistics
ENOUGH = 4  # a class of fewer samples withholds none
DIGITS = 9  # of an accuracy: sums in another order are the same number


class Regularised(ClosedForm):
    """A closed form with one strength of regularisation, given or chosen.

    To choose, it withholds two training samples of each class and keeps them. When a head is
    needed, each value of ``grid`` is tried on them, against the statistics of all others; then
    they are added to the statistics and the head is solved with the best value. Which samples
    are withheld depends on the seed and the task's name, not on the order of tasks.

    Attributes
    ----------
    sizes
        float64 [C], training samples of each class, withheld ones too.
    withheld
        float16 [w, d], withheld features; empty if the strength is given.
    origins
        int32 [w, 2], their classes, and the first classes of their tasks.
    used
        The strength of the last head.
    """

    grid: ClassVar[tuple[float, ...]]  # rising
    unknown: ClassVar[float]  # what is used while no sample is withheld
    shared = ClosedForm.shared | {"seed"}
    kept: ClassVar[Kept] = {"sizes": COUNTS, "withheld": AS_IS, "origins": AS_IS}

    @dataclass(frozen=True)
    class Options(ClosedForm.Options):
        """Those of a method name the strength."""

    options: Options

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        self.sizes = torch.zeros(n_classes, dtype=torch.float64, device=device)
        self.withheld = torch.zeros(0, dtype=torch.float16, device=device)
        self.origins = torch.zeros(0, 2, dtype=torch.int32, device=device)
        self.used = 0.0

    def given(self) -> float:
        """Return the strength that is given or follows from the statistics; 0: it is chosen."""
        raise NotImplementedError

    def solve_for(self, strength: float) -> tuple[Tensor, ...]:
        """Compute the head from the statistics with this strength."""
        raise NotImplementedError

    def receive(self, task: TaskTensors) -> None:
        """Add a task's training data to the statistics, but for samples to choose on."""
        labels = task.train.labels - task.start
        self.sizes[task.start : task.stop] += torch.bincount(labels, minlength=task.n_classes)
        self.add(task if self.given() else self._withhold(task))

    def _withhold(self, task: TaskTensors) -> TaskTensors:
        """Keep two samples of each class that has enough; return the task without them."""
        labels = task.train.labels.cpu()
        draws = generator(self.config.seed, "withheld", task.name)
        rows = withheld_rows(labels - task.start, task.n_classes, WITHHELD, draws, ENOUGH)
        chosen = torch.zeros(len(labels), dtype=torch.bool)
        chosen[rows] = True
        features = rows_of(task.train.features, chosen).to(self.device).half()
        classes = labels[chosen]
        origins = torch.stack([classes, torch.full_like(classes, task.start)], dim=1)
        self.withheld = torch.cat([self.withheld.view(-1, features.shape[1]), features])
        self.origins = torch.cat([self.origins, origins.int().to(self.device)])
        others = Split(select(task.train.features, ~chosen), rows_of(task.train.labels, ~chosen))
        return replace(task, train=others)

    def strength(self) -> float:
        """Return the given strength, or the best on withheld samples; of equal ones the largest.

        The best has the highest class-il accuracy, the mean over tasks of the mean over classes.
        """
        if self.given() or not len(self.origins):
            return self.given() or self.unknown
        classes, starts = self.origins.long().T
        weights = self._weights(classes, starts)
        best, most = self.unknown, -1.0
        for strength in self.grid:
            self._head = self.solve_for(strength)
            right = self.scores(self.withheld).argmax(dim=1) == classes
            accuracy = round((right * weights).sum().item(), DIGITS)
            if accuracy >= most:
                best, most = strength, accuracy
        self._head = None  # it was that of the last one tried
        return best

    def _weights(self, classes: Tensor, starts: Tensor) -> Tensor:
        """Return the share of each sample in the accuracy, float64 [w]; they add up to 1."""
        share = 1 / torch.bincount(classes)[classes].double()  # of its class
        of_task = torch.zeros(self.n_classes, dtype=torch.float64, device=self.device)
        for start in torch.unique(starts).tolist():
            of_task[start] = share[starts == start].sum()  # its classes
        return share / of_task[starts] / (of_task > 0).sum()

    def solve(self) -> tuple[Tensor, ...]:
        """Compute the head of all training samples, withheld ones too."""
        self.used = strength = self.strength()
        if not len(self.origins):
            return self.solve_for(strength)
        state = self.state()  # unpacked it gives the same statistics: they were rounded to it
        train = Split(self.withheld, self.origins[:, 0].long())
        self.add(TaskTensors(0, "withheld", "withheld", 0, self.seen, train, train, train))
        head = self.solve_for(strength)
        self.load_state(state)
        return head

    def records(self) -> dict[str, Any]:
        """Return the strength of the last head."""
        self.head()
        return {"strength": self.used}


def rows_of(table: Features, chosen: Tensor) -> Tensor:
    """Return the rows of a table that are true in a mask [n] on the host."""
    return table[chosen.to(table.device)]
