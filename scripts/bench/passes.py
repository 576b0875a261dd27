"""Measure what the network's passes written by hand save against plain torch with autograd.

One side is the training step as the product makes it; the other computes the same network, the
same losses and the same fused AdamW with plain torch functions, or the matrix products of the
step and nothing else. Both take turns in one process
on one thread. Printed are medians over rounds of CPU milliseconds per step, and of the
ratio to the step by hand within a round: other programs disturb a ratio less than a time.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor
from torch.nn import functional
from torch.optim.adamw import adamw

from bmc.config import Config
from bmc.network.mlp import ResidualMLP
from bmc.network.passes import EPSILON
from bmc.train.batch import Batch
from bmc.train.copies import StackedCopies
from bmc.train.loop import by_loss
from bmc.train.losses import expert_loss, feature_distance, task_loss
from bmc.train.seeds import Noise, generator

Step = Callable[[], None]

CASES = {  # classes, copies
    "fine-tuning, 40 classes": (40, 1),
    "fine-tuning, 700 classes": (700, 1),
    "fine-tuning, 2,866 classes": (2866, 1),
    "4 experts, 40 classes": (40, 4),
}


def normalise(z: Tensor, weight: Tensor, bias: Tensor, running: Tensor) -> Tensor:
    """Normalise z [K, B, n] by torch's batch normalisation of K n channels."""
    copies, batch, n = z.shape
    flat = z.transpose(0, 1).reshape(batch, copies * n)
    out = functional.batch_norm(
        flat, running[0], running[1], weight.reshape(-1), bias.reshape(-1), True, eps=EPSILON
    )
    return out.view(batch, copies, n).transpose(0, 1)


class Problem:
    """One batch of K copies, with the losses of fine-tuning (K = 1) or of experts."""

    def __init__(self, dim: int, classes: int, copies: int, batch: int) -> None:
        self.classes, self.config = classes, Config()
        self.net = ResidualMLP(dim, classes, copies)
        self.net.reset(generator(0, "weights"))
        self.x = torch.randn(copies, batch, dim)
        self.labels = torch.randint(classes, (copies, batch))
        shape = (copies, batch, self.net.dropout_width)
        self.keep = Noise(0, "dropout").keep(shape, self.net.dropout, self.x.device)
        widths = 2 * [self.net.inner + self.net.width, self.net.width]
        self.running = [torch.zeros(2, copies * width) for width in widths]
        self.teacher = [torch.randn(copies, batch, width) for width in self.net.phi_widths]

    def loss(self, logits: Tensor, phi: list[Tensor]) -> Tensor:
        """Return the losses of the copies [K]."""
        task = task_loss(logits, self.labels)
        if len(task) == 1:
            return task
        return expert_loss(task, feature_distance(self.teacher, phi), 0.1)

    def by_hand(self) -> Step:
        """Return the step of the product."""
        stacked = StackedCopies(self.net, self.config, 1e-3, None, capture=False)
        step = by_loss(lambda batch: self.loss(*self.net(self.x, batch.keep)))
        batch = Batch((), self.keep)
        self.net.train()
        return lambda: stacked.update(step, batch)

    def split(self, flat: Tensor) -> list[Tensor]:
        """Cut rows laid out as the weights into their tensors [K, rows, columns]."""
        shapes = [(rows, columns) for _, rows, columns in self.net._layout.values()]
        pieces = flat.split([rows * columns for rows, columns in shapes], dim=1)
        return [piece.view(-1, *shape) for piece, shape in zip(pieces, shapes, strict=True)]

    def products(self) -> Step:
        """Return the matrix products of a step alone: the least that it can take."""
        net, (copies, batch, dim) = self.net, self.x.shape
        widths = [(dim, net.hidden), (net.width, self.classes)]
        for n_in in (net.hidden, net.width):
            widths += [(n_in, net.inner + net.width), (net.inner, net.width)]
        shapes = [(copies, batch, n, m) for n, m in widths]
        factors = [
            (torch.randn(k, b, n), torch.randn(k, n, m), torch.randn(k, b, m))
            for k, b, n, m in shapes
        ]

        def step() -> None:
            for number, (inputs, weights, deltas) in enumerate(factors):
                torch.bmm(inputs, weights)
                torch.bmm(inputs.transpose(1, 2), deltas)
                if number:  # nothing wants the gradient of the features
                    torch.bmm(deltas, weights.transpose(1, 2))

        return step

    def one_tensor(self) -> Step:
        """Return the step by autograd with all weights in one tensor."""
        weights = self.net.weights.detach().clone().requires_grad_()

        def loss() -> Tensor:
            weights.grad = None
            return self._by_autograd(self.split(weights))

        return self._step([weights], loss)

    def views(self) -> Step:
        """Return the step whose weights and gradients are views of one tensor each."""
        flat = self.net.weights.detach().clone()
        flat.grad = torch.zeros_like(flat)
        weights = [weight.requires_grad_() for weight in self.split(flat)]
        for weight, gradient in zip(weights, self.split(flat.grad), strict=True):
            weight.grad = gradient

        def loss() -> Tensor:
            flat.grad.zero_()
            return self._by_autograd(weights)

        return self._step([flat], loss)

    def many_tensors(self) -> Step:
        """Return the step by autograd with a tensor for each matrix and vector of weights."""
        flat = self.net.weights.detach()
        weights = [weight.clone().requires_grad_() for weight in self.split(flat)]

        def loss() -> Tensor:
            for weight in weights:
                weight.grad = None
            return self._by_autograd(weights)

        return self._step(weights, loss)

    def _step(self, weights: list[Tensor], loss: Callable[[], Tensor]) -> Step:
        moments = [[torch.zeros_like(w) for w in weights] for _ in range(2)]
        made = [torch.zeros(()) for _ in weights]

        def step() -> None:
            loss().sum().backward()
            with torch.no_grad():
                adamw(
                    weights, [w.grad for w in weights], *moments, [], made, fused=True,
                    amsgrad=False, beta1=0.9, beta2=0.999, lr=1e-3, eps=1e-8, maximize=False,
                    weight_decay=self.config.weight_decay,
                )  # fmt: skip

        return step

    def _by_autograd(self, weights: list[Tensor]) -> Tensor:
        project, project_bias, *blocks, head_bias, head = weights
        share = 1 / (1 - self.net.dropout)
        masks = self.keep.view(torch.uint8).float().mul_(share).chunk(2, dim=-1)
        u = torch.baddbmm(project_bias, self.x, project)
        phi = [u]
        for i, mask in enumerate(masks):
            enter, weight, bias, leave, weight2, bias2 = blocks[6 * i : 6 * i + 6]
            z = normalise(torch.bmm(u, enter), weight, bias, self.running[2 * i])
            hidden, skipped = z.tensor_split([self.net.inner], dim=-1)
            z = normalise(torch.bmm(hidden.relu(), leave), weight2, bias2, self.running[2 * i + 1])
            phi.append((z + skipped).relu())
            u = phi[-1] * mask
        bias = head_bias[..., : self.classes]
        return self.loss(torch.baddbmm(bias, u, head.transpose(1, 2)), phi)


SIDES = {
    "products": Problem.products,
    "one tensor": Problem.one_tensor,
    "views": Problem.views,
    "many tensors": Problem.many_tensors,
}


def measure(options: argparse.Namespace) -> dict[str, dict[str, dict[str, float]]]:
    """Return CPU milliseconds per step and the ratio to the step by hand, by case and side."""
    results: dict[str, dict[str, dict[str, float]]] = {}
    for case, (classes, copies) in CASES.items():
        results[case] = {}
        for name, side in SIDES.items():
            problem = Problem(options.dim, classes, copies, options.batch)
            pair = [problem.by_hand(), side(problem)]
            rounds = []
            for number in range(options.rounds + 1):
                order = (0, 1) if number % 2 else (1, 0)
                times = {which: cpu_ms(pair[which], options.steps) for which in order}
                rounds.append((times[0], times[1]))
            del rounds[0]  # it warms up
            results[case][name] = {
                "by_hand_ms": median(hand for hand, _ in rounds),
                "ms": median(plain for _, plain in rounds),
                "ratio": median(plain / hand for hand, plain in rounds),
            }
    return results


def cpu_ms(step: Step, count: int) -> float:
    """Return the CPU milliseconds of a step, the mean of so many."""
    began = time.process_time()
    for _ in range(count):
        step()
    return 1e3 * (time.process_time() - began) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=16, help="of each side in a round")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    results = measure(options)
    if options.json:
        print(json.dumps({"options": vars(options), "cases": results}, indent=2))
        return
    print(f"{'':<28}{'against':<14}{'by hand ms':>11}{'its ms':>13}{'ratio':>7}")
    for case, sides in results.items():
        for name, row in sides.items():
            times = f"{row['by_hand_ms']:>11.2f}{row['ms']:>13.2f}{row['ratio']:>7.2f}"
            print(f"{case:<28}{name:<14}{times}")
    for name in SIDES:
        ratio = median(sides[name]["ratio"] for sides in results.values())
        print(f"{'median of the cases':<28}{name:<14}{'':>24}{ratio:>7.2f}")


if __name__ == "__main__":
    main()
