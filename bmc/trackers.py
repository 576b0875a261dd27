"""Trackers: where the scalars of a run go while it trains."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def tensorboard_log(folder: Path) -> Callable[[int, dict[str, float]], None]:
    """Return a function that writes scalars to TensorBoard events in ``folder/tensorboard``.

    Its arguments are the number of tasks learned and the mean accuracies by name.
    """
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder / "tensorboard"))

    def log(learned: int, scalars: dict[str, float]) -> None:
        for name, value in scalars.items():
            writer.add_scalar(f"mean accuracy/{name}", value, learned)
        writer.flush()

    return log
