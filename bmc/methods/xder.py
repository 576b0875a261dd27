"""eXtended-DER, X-DER (arXiv 2201.00766): DER++ that rewrites its memory and prepares for more.

Left out is what is for images alone: augmented views in the contrastive loss of outputs to come
(samples of one class attract each other here, too), and the distillation between such views. The
outputs of classes to come count as one head, since a method does not know their tasks. Stored
logits are rewritten when a task ends, in evaluation mode, and not at every replay as well: the
distance to them covers the classes of finished tasks and those to come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bmc.config import Config, option
from bmc.methods.base import METHODS
from bmc.methods.der import logit_distance
from bmc.methods.experience_replay import Balancing, Replaying, balance_of_memory
from bmc.train.data import TaskTensors
from bmc.train.losses import contrastive, task_loss
from bmc.train.seeds import generator

BLOCK = 1024  # rows whose logits are computed at once


@METHODS.register("xder")
class ExtendedDER(Replaying, Balancing):
    """DER++ whose stored logits learn of later classes, with outputs that await classes to come.

    Attributes
    ----------
    ends
        int64 [tasks + 1] on the device: 0 and the ``stop`` of each task so far.
    """

    name = "xder"
    title = "X-DER"
    source = "Boschini et al., TPAMI 2022, arXiv 2201.00766"
    equation = """
        L = L_T(batch; the task's classes) + α ‖ f(x) − z ‖² + β L_T(M; former classes)
            + λ L_SC(outputs to come of batch and M, normalised) + η (L_past + L_future)
        L_past: hinge of max p_former + m − max p_task,  L_future: of max f_to come + m − max f_own
        after the task, in the logits z of former samples: z_c ← f_c of the task's classes c and
        those to come, times γ z_y / max f_c where that maximum exceeds z_y
    """
    shared = Replaying.shared - {"moments"}
    stores_outputs = True

    @dataclass(frozen=True)
    class Options(Balancing.Options):
        memory_balance: str = balance_of_memory("classes")
        alpha: float = option(0.3, "Weight of the distance to stored logits.", at_least=0)
        beta: float = option(0.8, "Weight of the task loss on replayed samples.", at_least=0)
        gamma: float = option(
            0.85, "Most that an implanted logit is, as a share of the label's.", above=0, at_most=1
        )
        lam: float = option(0.05, "Weight of the loss that prepares outputs to come.", at_least=0)
        contrast: float = option(5.0, "Temperature of that loss.", above=0, hidden=True)
        eta: float = option(0.1, "Weight of the constraints, past and future.", at_least=0)
        margin: float = option(0.3, "Margin of the constraints.", at_least=0)
        ahead: int = option(16, "Outputs of classes to come that are prepared.", at_least=0)

    options: Options

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        self.extra_rows = 2 * config.replay_batch
        self.ends = torch.zeros(1, dtype=torch.int64, device=device)
        self._start, self._ahead = 0, 0  # the latter only while a task is learned

    @property
    def outputs(self) -> int:
        """How many outputs train: in training those of classes to come, too."""
        return min(super().outputs + self._ahead, self.n_classes)

    def begin_group(self, group: Sequence[TaskTensors]) -> None:
        """Start the draws of this task, and train outputs ahead of it."""
        super().begin_group(group)
        self._start, self._ahead = group[0].start, self.options.ahead
        stops = torch.tensor([task.stop for task in group], device=self.device)
        self.ends = torch.cat([self.ends, stops])

    def loss(self, x: Tensor, labels: Tensor, keep: Tensor, *drawn: Tensor) -> Tensor:
        """Return the sum of all losses of one batch, [1]."""
        own, old = self.replay(x, keep, drawn[0])
        rows = drawn[0][0]
        options, half = self.options, self.config.replay_batch
        loss = task_loss(own[..., self._start : self.seen], labels - self._start)
        if len(rows):
            stored = self.memory.outputs[rows[:half], : old.shape[2]]
            known = self.memory.known[rows[:half]]
            loss = loss + options.alpha * logit_distance(old[0, :half], stored, known)
            again = self.memory.labels[rows[half:]][None]
            loss = loss + options.beta * task_loss(old[:, half:, : self._start], again)
        if self._start:
            shares = own[0, :, : self.seen].softmax(dim=1)
            former = shares[:, : self._start].amax(dim=1).detach()
            loss = loss + options.eta * self._hinge(former, shares[:, self._start :].amax(dim=1))
        if own.shape[2] > self.seen:
            logits = torch.cat([own, old], dim=1)[0]
            every = torch.cat([labels[0], self.memory.labels[rows]])
            coming = logits[:, self.seen :]
            best = own_task(logits, every, self.ends).amax(dim=1)
            loss = loss + options.eta * self._hinge(coming.amax(dim=1), best)
            loss = loss + options.lam * contrastive(coming, every, options.contrast)
        return loss

    def _hinge(self, low: Tensor, high: Tensor) -> Tensor:
        """Return the mean of low + margin - high over the rows [n] where it is positive."""
        over = (low + self.options.margin - high).clamp(min=0)
        return over.sum() / (over > 0).sum().clamp(min=1)

    def end_group(self, group: Sequence[TaskTensors]) -> None:
        """Store samples of the task with their logits; rewrite those of former samples."""
        for task in group:
            self._store(task)
        self._rewrite()
        self._ahead = 0

    def _store(self, task: TaskTensors) -> None:
        """Offer a task's samples with their logits, those of former classes capped."""
        first = self._start
        draws = generator(self.config.seed, "memory", task.index)
        for features, labels in self.shuffled(task, draws, BLOCK):
            logits = self._logits(features)
            truth = logits.gather(1, labels[:, None])
            if first:
                logits[:, :first] = capped(logits[:, :first], truth, self.options.gamma)
            self.memory.add(features, labels, draws, task=task.index, outputs=logits)

    def _rewrite(self) -> None:
        """Give stored samples of former tasks logits of this task's classes and those to come."""
        first, memory = self._start, self.memory
        former = (memory.labels[: len(memory)] < first).nonzero()[:, 0]
        for rows in torch.split(former, BLOCK):
            logits = self._logits(memory.features[rows])
            truth = memory.outputs[rows].gather(1, memory.labels[rows, None]).float()
            new = capped(logits[:, first:], truth, self.options.gamma)
            memory.outputs[rows, first : logits.shape[1]] = new.half()
            memory.known[rows] = logits.shape[1]

    def _logits(self, features: Tensor) -> Tensor:
        """Return the logits of stored rows, those of classes to come too: float32 [n, C]."""
        logits: Tensor = self.net(self.inputs(features)[None], classes=self.outputs)[0]
        return logits[0].detach().clone()

    def state(self) -> dict[str, Tensor]:
        """Return network, memory, and where tasks end."""
        return super().state() | {"ends": self.ends.int()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Load network, memory, and where tasks end."""
        super().load_state(state)
        self.ends = state["ends"].to(self.device).long()


def capped(logits: Tensor, truth: Tensor, gamma: float) -> Tensor:
    """Scale each row of logits [n, c] to a maximum of gamma times truth [n, 1] if it exceeds it."""
    top = logits.amax(dim=1, keepdim=True)
    factor = (gamma * truth / top).clamp(min=0)
    return torch.where(top > truth.clamp(min=0), logits * factor, logits)


def own_task(logits: Tensor, labels: Tensor, ends: Tensor) -> Tensor:
    """Leave each row of logits [n, C] the classes of its label's task; others become -inf."""
    task = torch.searchsorted(ends, labels, right=True)[:, None]
    numbers = torch.arange(logits.shape[1], device=logits.device)
    return logits.masked_fill((numbers < ends[task - 1]) | (numbers >= ends[task]), -torch.inf)
