"""The datasets that wait to be fetched, and which of them a free worker may begin."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Condition

from autods.fetch.plan import PlannedDataset
from autods.manifest.sources import Release


@dataclass(eq=False)
class Task:
    """One dataset in the queue, with the number and the seconds of its failed tries.

    It is not begun before ``ready``, a time of `time.monotonic`, and with ``last`` only when
    all tasks without it have ended.
    """

    manifest: Release
    plan: PlannedDataset
    tries: int = 0
    seconds: float = 0.0
    ready: float = 0.0
    last: bool = False


class Queue:
    """The queue that all workers share; if a host is busy or asks to wait, other hosts go first."""

    def __init__(self, tasks: Sequence[Task], per_host: int) -> None:
        self._waiting = list(tasks)
        self._under_way: list[Task] = []
        self._per_host = per_host
        self._changed = Condition()
        self._dissolved = False
        self.length = len(tasks)

    def take(self) -> Task | None:
        """Wait for the first dataset that may begin; ``None`` when none will any more.

        While one is under way another worker may still be needed: it can come back.
        """
        with self._changed:
            while not self._dissolved and (self._waiting or self._under_way):
                now = time.monotonic()
                for task in self._waiting:
                    if task.ready <= now and self._has_room(task):
                        self._waiting.remove(task)
                        self._under_way.append(task)
                        return task
                pauses = [task.ready - now for task in self._waiting if task.ready > now]
                self._changed.wait(min(pauses, default=None))
            return None

    def ended(self, task: Task) -> None:
        """Take a dataset out of the queue; its host has room again."""
        with self._changed:
            self._under_way.remove(task)
            self._changed.notify_all()

    def again(self, task: Task, pause: float, last: bool) -> None:
        """Put a dataset at the end of the queue, to be begun after ``pause`` seconds."""
        with self._changed:
            task.ready, task.last = time.monotonic() + pause, last
            self._under_way.remove(task)
            self._waiting.append(task)
            self._changed.notify_all()

    def dissolve(self) -> None:
        """Let nobody begin another dataset."""
        with self._changed:
            self._dissolved = True
            self._changed.notify_all()

    def _has_room(self, task: Task) -> bool:
        if task.last and not all(other.last for other in [*self._waiting, *self._under_way]):
            return False
        busy = sum(other.plan.host == task.plan.host for other in self._under_way)
        return busy < self._per_host
