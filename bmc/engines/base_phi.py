"""What the stability loss compares an expert with: phi of the base model for its batches."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bmc.config import Config
from bmc.network.mlp import ResidualMLP
from bmc.train.data import TaskTensors, is_on, network_input, place_for, take
from bmc.train.losses import stored_phi

BLOCK = 2048  # rows whose phi is computed at once; fixed, so that the bits do not depend on it
# Bytes of a task's phi up to which it is computed once, before its expert trains: of 210,000 rows
# in the published network. That of a larger task is computed batch by batch, which costs about a
# fourth of an update, instead of 1,280 bytes a row and seconds before the first update.
HELD = 2**28


class BasePhi:
    """phi of the base model, float16, for batches of the experts of one bank.

    Whether a task's phi is held depends on the task alone, and the batches of the others are
    computed one by one: bits do not depend on which experts train together.
    """

    def __init__(self, base: ResidualMLP, tasks: Sequence[TaskTensors], config: Config) -> None:
        self._base, self._norm = base, config.feature_norm
        self._kind = config.options.feature_loss
        self.width = base.phi_widths[-1] if self._kind == "squared" else sum(base.phi_widths)
        sizes = [len(task.train) if self._is_held(task) else 0 for task in tasks]
        self._first = [sum(sizes[:k]) for k in range(len(sizes))]
        self._held = [size > 0 for size in sizes]
        place = place_for(2 * sum(sizes) * self.width, base.weights.device)
        self._table = torch.empty(sum(sizes), self.width, dtype=torch.float16, device=place)
        for task, size, start in zip(tasks, sizes, self._first, strict=True):
            features = task.train.features
            for first in range(0, size, BLOCK):
                block = features[first : first + BLOCK]
                own = slice(start + first, start + first + len(block))
                self._table[own] = self._of(block)

    def _is_held(self, task: TaskTensors) -> bool:
        return 2 * len(task.train) * self.width <= HELD

    def _of(self, features: Tensor) -> Tensor:
        """Compute phi of stored rows [n, d], where the base model is: float32 [n, width]."""
        rows = network_input(features.to(self._base.weights.device), self._norm)
        return stored_phi(self._base.phi(rows), self._kind, self._base.phi_widths[-1])

    def __call__(self, features: Tensor, rows: Tensor, copies: Sequence[int]) -> Tensor:
        """Return phi of n batches of m experts, float16 [n, m, B, width].

        ``features`` [n, m, B, d] are those of ``rows`` [n, m, B] of the experts' tasks, on the CPU.
        """
        if all(self._held[copy] for copy in copies):
            return self.held(self.rows(rows, copies))
        device = self._base.weights.device
        phi = torch.empty(*rows.shape, self.width, dtype=torch.float16, device=device)
        for k, copy in enumerate(copies):
            if self._held[copy]:
                phi[:, k] = take(self._table, rows[:, k] + self._first[copy], device)
            elif device.type == "cuda":  # few large passes; its bits depend on the stack anyway
                phi[:, k] = self._of(features[:, k].flatten(0, 1)).view_as(phi[:, k])
            else:
                for batch, out in zip(features[:, k], phi[:, k], strict=True):
                    out.copy_(self._of(batch))
        return phi

    @property
    def is_whole(self) -> bool:
        """Whether phi of all tasks is held where the base model is."""
        return all(self._held) and is_on(self._table, self._base.weights.device)

    def rows(self, rows: Tensor, copies: Sequence[int]) -> Tensor:
        """Return where phi of rows [n, m, B] of experts whose tasks are held is held."""
        first = torch.tensor([self._first[copy] for copy in copies])
        return rows + first[:, None]

    def held(self, rows: Tensor) -> Tensor:
        """Return what is held at such rows, float16 [n, m, B, width]."""
        return take(self._table, rows, self._base.weights.device)
