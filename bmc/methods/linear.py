"""Linear heads on frozen features, and a linear probe that is trained task after task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torch.optim.adamw import adamw

from bmc.config import Config, option
from bmc.methods.base import METHODS, Method
from bmc.train.copies import CHUNK
from bmc.train.data import Split, TaskTensors, network_input, take, training_data
from bmc.train.sampling import Shuffled, steps_for
from bmc.train.seeds import generator
from bmc.train.transfer import Lead


class LinearHead(Method):
    """A method whose network is one linear layer.

    Attributes
    ----------
    head
        float32 [C, d + 1], the weights of each class and its bias; 0 of classes to come.
    """

    shared = Method.shared | {"feature_norm"}

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        self.head = torch.zeros(n_classes, dim + 1, device=device)

    def inputs(self, features: Tensor) -> Tensor:
        """Scale stored rows [n, d] to ``feature_norm``; add a column of 1: float32 [n, d + 1]."""
        x = network_input(features.to(self.device), self.config.feature_norm)
        return functional.pad(x, (0, 1), value=1.0)

    def scores(self, features: Tensor) -> Tensor:
        """Return the logits of the seen classes, float32 [n, seen]."""
        return self.inputs(features) @ self.head[: self.seen].T

    def state(self) -> dict[str, Tensor]:
        """Return the head of the seen classes, which is the network of this method."""
        return {"net.head": self.head[: self.seen]}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Load the head."""
        head = state["net.head"]
        self.head[: len(head)] = head.to(self.device)


@METHODS.register("linear")
class SequentialLinear(LinearHead):
    """Softmax regression on frozen features, fine-tuned on each task by AdamW."""

    name = "linear"
    title = "Linear probe"
    source = "The lower reference for linear heads"
    equation = """
        L = CE(W x + b, y) over the batch;   with competition = task, over the task's classes alone
    """
    shared = LinearHead.shared | {
        "epochs", "batch_size", "learning_rate", "weight_decay", "seed",
    }  # fmt: skip

    @dataclass(frozen=True)
    class Options(LinearHead.Options):
        competition: str = option(
            "seen",
            "Classes that compete in training: seen, or those of the task.",
            one_of=("seen", "task"),
        )

    options: Options

    def learn(self, group: Sequence[TaskTensors]) -> None:
        """Train the head on the group's training data for ``epochs`` passes."""
        config, self.seen = self.config, group[-1].stop
        first = group[0].start if self.options.competition == "task" else 0
        data = training_data(group)
        steps = steps_for(len(data), config.epochs, config.batch_size)
        draws = Shuffled(len(data), generator(config.seed, "batches", group[0].index))
        head = self.head[first : self.seen].clone()
        moments = torch.zeros_like(head), torch.zeros_like(head)
        step = torch.zeros((), device=self.device)
        with self.watch.phase("train", self.device):
            for features, labels in self._batches(data, draws, steps):
                gradient = self.gradient(head, self.inputs(features), labels - first)
                adamw(
                    [head], [gradient], [moments[0]], [moments[1]], [], [step], amsgrad=False,
                    beta1=0.9, beta2=0.999, lr=config.learning_rate, eps=1e-8,
                    weight_decay=config.weight_decay, maximize=False, fused=True,
                )  # fmt: skip
            self.head[first : self.seen] = head
        self.steps += steps

    def _batches(self, data: Split, draws: Shuffled, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield features [B, d] and labels [B] of so many updates, drawn `CHUNK` at a time."""
        size, lead = self.config.batch_size, Lead(self.device)
        for t in range(0, steps, CHUNK):
            rows = draws.take(min(CHUNK, steps - t) * size).view(-1, size)
            tables = (data.features, data.labels)
            yield from zip(*(take(table, rows, self.device) for table in tables), strict=True)
            lead.next()

    @staticmethod
    def gradient(head: Tensor, x: Tensor, labels: Tensor) -> Tensor:
        """Return the gradient of the mean cross-entropy by a head [c, d + 1], of x [B, d + 1]."""
        errors = (x @ head.T).softmax(dim=1) - functional.one_hot(labels, len(head))
        return (errors.T @ x).div_(len(x))


def minimise(
    tensors: Sequence[Tensor], loss: Callable[[], float], iterations: int, flat: float
) -> None:
    """Minimise a smooth function of tensors in place by L-BFGS with line search.

    ``loss`` returns its value and leaves its gradient in their ``grad``. It ends after so many
    iterations, or when no entry of the gradient is larger than ``flat``.
    """
    optimiser = torch.optim.LBFGS(
        list(tensors), max_iter=iterations, history_size=10, tolerance_grad=flat,
        tolerance_change=0.0, line_search_fn="strong_wolfe",
    )  # fmt: skip
    step: Callable[[Callable[[], float]], object] = optimiser.step
    step(loss)
