"""A linear probe trained on all tasks at once: the upper reference for heads that are linear.

Softmax regression is convex, so that L-BFGS ends at its one optimum and no learning rate, number
of epochs or seed can make it look worse than it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bmc.config import Config, option
from bmc.methods.base import METHODS
from bmc.methods.linear import minimise
from bmc.methods.reference import JointReference
from bmc.train.data import Split, TaskTensors, network_input, training_data

BLOCK = 8192  # rows whose logits are held at once
FLAT = 3e-5  # largest derivative at which the optimum counts as reached


@METHODS.register("joint-linear")
class JointLinear(JointReference):
    """Softmax regression on the training data of all tasks together, by L-BFGS.

    Attributes
    ----------
    weight, bias
        float32 [d, C] and [C], of features that are scaled to length ``feature_norm``.
    """

    name = "joint-linear"
    title = "Joint linear probe"
    source = "The upper reference for linear heads; L-BFGS: Liu and Nocedal, Math. Program. 1989"
    equation = """
        L = Σ_i a_i CE(x_i W + b, y_i) + λ ‖W‖² / 2 over all training data of the stream
        a_i = 1 / (C n_c) of a sample of class c with n_c samples; without balance 1 / n
    """
    shared = JointReference.shared | {"feature_norm"}
    order_free = True

    @dataclass(frozen=True)
    class Options(JointReference.Options):
        balanced: bool = option(True, "Every class weighs the same, not every sample.")
        penalty: float = option(1e-4, "Lambda, the weight of the L2 penalty.", above=0)
        iterations: int = option(500, "Iterations of L-BFGS at most.", at_least=1, hidden=True)

    options: Options

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        self.weight = torch.zeros(dim, n_classes, device=device)
        self.bias = torch.zeros(n_classes, device=device)

    def learn(self, group: Sequence[TaskTensors]) -> None:
        """Minimise the loss over the training data of the group."""
        with self.watch.phase("train", self.device):
            self.seen = group[-1].stop
            self.count(group)
            self._minimise(training_data(group))

    def _minimise(self, data: Split) -> None:
        """Run L-BFGS with line search over full passes, each in blocks of rows.

        Rows are centred meanwhile, which the bias makes up for: the optimum is the same, and the
        problem far better conditioned.
        """
        importance = self.importance(data.labels)[:, None]
        blocks = torch.split(torch.arange(len(data), device=data.features.device), BLOCK)
        mean = torch.stack([self.inputs(data.features[b]).sum(dim=0) for b in blocks]).sum(dim=0)
        mean /= len(data)
        weight = self.weight[:, : self.seen].clone()
        bias = self.bias[: self.seen] + mean @ weight
        weight.grad, bias.grad = torch.empty_like(weight), torch.empty_like(bias)

        def loss() -> float:
            """Return the loss and write its gradient beside weight and bias."""
            value = self.options.penalty / 2 * weight.square().sum()
            weight.grad = self.options.penalty * weight
            bias.grad = torch.zeros_like(bias)
            for b in blocks:
                x = self.inputs(data.features[b]) - mean
                y = data.labels[b.to(self.device)]
                log = (x @ weight + bias).log_softmax(dim=1)
                value -= (importance[b.to(self.device)] * log.gather(1, y[:, None])).sum()
                # of the loss by the logits: a (softmax - y)
                error = log.exp_().scatter_add_(1, y[:, None], -torch.ones_like(log[:, :1]))
                error *= importance[b.to(self.device)]
                weight.grad += x.T @ error
                bias.grad += error.sum(dim=0)
            return value.item()

        minimise([weight, bias], loss, self.options.iterations, FLAT)
        self.weight[:, : self.seen] = weight
        self.bias[: self.seen] = bias - mean @ weight

    def importance(self, labels: Tensor) -> Tensor:
        """Return what each sample weighs, float32 [n]; the sum is 1."""
        if not self.options.balanced:
            return torch.full((len(labels),), 1 / len(labels), device=self.device)
        members = torch.bincount(labels)
        return 1 / ((members > 0).sum() * members[labels])

    def inputs(self, features: Tensor) -> Tensor:
        """Scale stored rows [n, d] to length ``feature_norm``: float32 on the device."""
        return network_input(features.to(self.device), self.config.feature_norm)

    def scores(self, features: Tensor) -> Tensor:
        """Return the logits, float32 [n, seen]."""
        return self.inputs(features) @ self.weight[:, : self.seen] + self.bias[: self.seen]

    def state(self) -> dict[str, Tensor]:
        """Return the head and the bytes kept."""
        return {"weight": self.weight, "bias": self.bias, "kept": torch.tensor([self.kept_bytes])}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Load the head and the bytes kept."""
        self.weight = state["weight"].to(self.device)
        self.bias = state["bias"].to(self.device)
        self.kept_bytes = int(state["kept"])
