"""What online EWC, SI and MAS share: a quadratic penalty on moving important parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from bmc.config import Config
from bmc.methods.net_method import NetMethod
from bmc.network.gradients import ROWS, Value, mean_over_samples
from bmc.train.copies import StackedCopies
from bmc.train.data import TaskTensors, take
from bmc.train.packed import Packing

PACKING = Packing(torch.float16, torch.float32)


class PenaltyMethod(NetMethod):
    """Fine-tuning with the penalty ``strength / 2 * sum_i importance_i (theta_i - theta*_i)^2``.

    theta* are the weights as the task begins, which are those that the last one left. Running
    statistics of batch normalisation are no parameters, so they move freely. Where no class was
    before, importance is 0.

    Attributes
    ----------
    importance
        float32 [1, P], laid out as ``net.weights``.
    """

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        self.importance = torch.zeros_like(self.net.weights.data)
        self._pull = self._anchor = self.importance[:, :0]

    @property
    def strength(self) -> float:
        """Twice the factor of the sum of importance times squared distance."""
        raise NotImplementedError

    def begin_group(self, group: Sequence[TaskTensors]) -> None:
        """Anchor the weights of the classes that train."""
        size = self.net.size(self.outputs)
        self._anchor = self.net.weights.data[:, :size].clone()
        self._pull = self.strength * self.importance[:, :size]

    def observe(
        self, update: StackedCopies, x: Tensor, labels: Tensor, keep: Tensor, *drawn: Tensor
    ) -> None:
        """Make an update along the gradients of the task's loss and of the penalty."""
        self.add_penalty(update.gradient(self.loss(x, labels, keep, *drawn)))
        update.apply()

    def add_penalty(self, gradient: Tensor) -> None:
        """Add strength * importance * (theta - theta*), the penalty's gradient."""
        gradient.addcmul_(self._pull, self.net.weights.data - self._anchor)

    def mean_gradients(
        self,
        group: Sequence[TaskTensors],
        classes: int,
        value: Value,
        each: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """Return the mean of each(g_n) over the group's training data, shaped as importance."""

        def batches() -> Iterator[tuple[Tensor, Tensor]]:
            for task in group:
                for rows in torch.split(torch.arange(len(task.train)), ROWS):
                    x = self.inputs(take(task.train.features, rows, self.device))
                    yield x, take(task.train.labels, rows, self.device)

        mean = torch.zeros_like(self.importance)
        size = self.net.size(classes)
        mean[:, :size] = mean_over_samples(self.net, classes, batches(), value, each)
        return mean

    def renewed(self, group: Sequence[TaskTensors]) -> Tensor:
        """Return the importances after a group, shaped as `importance`."""
        raise NotImplementedError

    def end_group(self, group: Sequence[TaskTensors]) -> None:
        """Renew the importances, and go on with what is stored of them."""
        self.importance = self.renewed(group)
        self._unpack(self._packed())

    def _packed(self) -> dict[str, Tensor]:
        """Return the importances of the classes that compete, as they are stored."""
        importance = self.importance[:, : self.net.size(self.outputs)]
        return PACKING.pack("importance", importance, self.seen)

    def _unpack(self, state: dict[str, Tensor]) -> None:
        importance = PACKING.unpack("importance", state, self.n_classes).to(self.device)
        self.importance = torch.zeros_like(self.importance)
        self.importance[:, : importance.shape[1]] = importance

    def state(self) -> dict[str, Tensor]:
        """Return network and importances; the next anchor is the network as it stands."""
        return super().state() | self._packed()

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Load network and importances."""
        super().load_state(state)
        self._unpack(state)
