"""AdamW's moments of a network that go on from task to task, and how they are stored."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bmc.network.mlp import ResidualMLP
from bmc.train.packed import Packing

PACKING = Packing(torch.float16, torch.float32)


@dataclass
class Moments:
    """AdamW's state of stacked copies, for a training that goes on where the last one ended.

    Attributes
    ----------
    first, second
        float32 [K, P], running means of the gradient and of its square, laid out as the weights.
        Of outputs that never trained they are 0.
    step
        float32 [], the number of updates behind them.
    """

    first: Tensor
    second: Tensor
    step: Tensor

    @classmethod
    def new(cls, net: ResidualMLP) -> Moments:
        """Return the state before the first update."""
        weights = net.weights.data
        step = torch.zeros((), device=weights.device)
        return cls(torch.zeros_like(weights), torch.zeros_like(weights), step)

    def state(self, size: int) -> dict[str, Tensor]:
        """Return what is stored of the first ``size`` numbers of each row, as float16.

        Of the second moment it is the root, which is what AdamW divides by.
        """
        return (
            PACKING.pack("moments.first", self.first[:, :size], 0)
            | PACKING.pack("moments.root", self.second[:, :size].sqrt(), 0)
            | {"moments.step": self.step}
        )

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` returned; what it does not cover is 0."""
        first = PACKING.unpack("moments.first", state, 0).to(self.first)
        root = PACKING.unpack("moments.root", state, 0).to(self.first)
        for tensor, stored in ((self.first, first), (self.second, root.square())):
            tensor.zero_()[:, : stored.shape[1]] = stored
        self.step = state["moments.step"].to(self.step).clone()
