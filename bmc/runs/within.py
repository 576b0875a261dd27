"""What a run's progress says while a group of tasks is learned and measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from autods.core.progress import Progress
from bmc.train.data import TaskTensors
from bmc.train.movement import listening


@contextmanager
def within(
    report: Progress, group: Sequence[TaskTensors], *, measuring: bool = False
) -> Iterator[None]:
    """Report how far the body is with a group: learning moves the bar, measuring says so.

    A method that goes over its data several times moves the bar the first time.
    """
    name = group[0].name if len(group) == 1 else f"{len(group)} tasks"
    most = 0.0

    def listen(share: float, text: str) -> None:
        nonlocal most
        report.detail(f"{name}: {text}")
        if not measuring:
            most = max(most, share)
        report.partly(len(group) if measuring else most * len(group))

    with listening(listen, "measuring" if measuring else "learning"):
        yield
