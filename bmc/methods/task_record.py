"""What the centre of BMC-Analytic keeps of each task, and how records of all tasks are stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from bmc.methods.gaussian_message import degrees_of_freedom, unpacked_rows

# what is kept of a message: a row a class, a row a withheld row, and of a trained network
OF_CLASSES = ("counts", "means", "weight", "bias")
OF_ROWS = ("rows", "row_scale", "row_labels")
OF_NETWORK = ("network", "statistics", "scale")


@dataclass(frozen=True)
class TaskRecord:
    """What the centre keeps of one task: its message but for the covariance.

    Attributes
    ----------
    tensors
        ``counts`` int32 [k], ``means`` float16 [k, d], the tensors of its `Head`; of m withheld
        rows ``rows`` int8 [m, d], ``row_scale`` float16 [m, 1] and ``row_labels`` int16 [m].
    """

    start: int
    tensors: dict[str, Tensor]

    @classmethod
    def of(cls, start: int, message: dict[str, Tensor]) -> TaskRecord:
        """Keep of a message of the task that begins with class ``start`` what is kept."""
        names = (*OF_CLASSES, *OF_ROWS, *OF_NETWORK)
        return cls(start, {name: message[name] for name in names if name in message})

    @property
    def classes(self) -> slice:
        """Its classes among those of the stream."""
        return slice(self.start, self.start + len(self.tensors["counts"]))

    @property
    def n_rows(self) -> int:
        """Number of withheld rows."""
        return len(self.tensors.get("rows", ()))

    def share_without_rows(self) -> float:
        """Return which share of the task's degrees of freedom is not that of withheld rows."""
        return 1 - self.n_rows / degrees_of_freedom(self.tensors["counts"])

    def without_rows(self) -> tuple[Tensor, Tensor, Tensor]:
        """Take the withheld rows out of the statistics.

        Returns counts [k] and means [k, d] of the other rows, and rows [., d] whose scatter is
        what the withheld ones add to the scatter within classes (Chan's formula); float64.
        """
        rows, labels = unpacked_rows(self.tensors), self.tensors["row_labels"].long()
        counts, means = self.tensors["counts"].double(), self.tensors["means"].double()
        members = functional.one_hot(labels, len(counts)).double()
        taken, sums = members.sum(dim=0), members.T @ rows
        left = counts - taken
        rest = (counts[:, None] * means - sums) / left.clamp(min=1)[:, None]
        rest = torch.where(taken[:, None] > 0, rest, means)
        drawn = sums / taken.clamp(min=1)[:, None]
        between = (left * taken / counts.clamp(min=1)).sqrt()[:, None] * (drawn - rest)
        return left, rest, torch.cat([rows - drawn[labels], between[taken > 0]])


def packed_records(records: Sequence[TaskRecord]) -> dict[str, Tensor]:
    """Return the tensors of all records, one task after the other, and where each begins.

    ``tasks`` int32 [T, 2], first class and number of classes, and ``withheld`` int32 [T], rows.
    """
    starts = [[record.start, len(record.tensors["counts"])] for record in records]
    state = {
        "tasks": torch.tensor(starts, dtype=torch.int32).view(-1, 2),
        "withheld": torch.tensor([record.n_rows for record in records], dtype=torch.int32),
    }
    for name in (*OF_CLASSES, *OF_ROWS):
        if parts := [r.tensors[name] for r in records if name in r.tensors]:
            state[name] = torch.cat(parts)
    for r in records:
        own = {name: r.tensors[name] for name in OF_NETWORK if name in r.tensors}
        state |= {f"{name}.{r.start}": tensor for name, tensor in own.items()}
    return state


def unpacked_records(state: dict[str, Tensor]) -> list[TaskRecord]:
    """Return the records of `packed_records`."""
    starts, sizes = state["tasks"].T.tolist()
    columns = {name: torch.split(state[name], sizes) for name in OF_CLASSES if name in state}
    rows = state["withheld"].tolist()
    columns |= {name: torch.split(state[name], rows) for name in OF_ROWS if name in state}
    records = []
    for number, start in enumerate(starts):
        tensors = {name: column[number] for name, column in columns.items()}
        own = {name: f"{name}.{start}" for name in OF_NETWORK}
        tensors |= {name: state[key] for name, key in own.items() if key in state}
        records.append(TaskRecord(start, tensors))
    return records
