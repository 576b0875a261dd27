"""Wall time of a run by phase: one clock, whose time always belongs to exactly one phase.

Nothing here needs torch, so that a report knows the phases without it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

START = "start"  # checks, reading a checkpoint, making the method; of a command, opening the stream
LOAD = "load"  # features are read and placed
LEARN = "train"  # all of learning that a method gives no other name
EVALUATE = "evaluate"
WRITE = "write"  # checkpoints, samples, results
OTHER = "other"  # what is in no other phase: progress, trackers
OUTSIDE_LEARNING = (START, LOAD, EVALUATE, WRITE, OTHER)
FREE_WRITING = 5.0  # seconds that a run may write checkpoints, whatever the rest of it took
WRITING = 0.1  # after those, of its time


def writing_is_due(seconds: dict[str, float]) -> bool:
    """Tell whether the next checkpoint is due, by the wall seconds of each phase so far.

    A method that keeps all samples would otherwise write the square of their number.
    """
    return seconds.get(WRITE, 0.0) <= max(FREE_WRITING, WRITING * sum(seconds.values()))


class Stopwatch:
    """Wall seconds per phase, which add up to the wall time by construction.

    Time belongs to the innermost phase under way, and outside all phases to ``remainder``.

    Parameters
    ----------
    remainder
        Name of the phase of what is in no other; see `continue_as`.

    Attributes
    ----------
    seconds
        Wall seconds by phase until the last phase began or ended; `whole` has all of them.
    """

    def __init__(self, remainder: str = OTHER) -> None:
        self.seconds: dict[str, float] = {}
        self._phases = [remainder]
        self._mark = time.perf_counter()

    def continue_as(self, remainder: str) -> None:
        """Give time outside all phases to another phase from now on."""
        self._charge()
        self._phases[0] = remainder

    def add(self, seconds: dict[str, float]) -> None:
        """Add the seconds of a run that is resumed."""
        for name, value in seconds.items():
            self.seconds[name] = self.seconds.get(name, 0.0) + value

    def whole(self) -> dict[str, float]:
        """Return the seconds per phase until now: the wall time since the stopwatch was made."""
        self._charge()
        return dict(self.seconds)

    @contextmanager
    def phase(self, name: str, device: torch.device | None = None) -> Iterator[None]:
        """Give the time of the body to phase ``name``; a phase inside it has its time alone.

        Waits for the device's queue where the body begins and ends.
        """
        self._charge(device)
        self._phases.append(name)
        try:
            yield
        finally:
            self._charge(device)
            self._phases.pop()

    def _charge(self, device: torch.device | None = None) -> None:
        """Give the time since the last look at the clock to the phase under way."""
        if device is not None and device.type == "cuda":
            import torch

            torch.cuda.synchronize(device)
        now, name = time.perf_counter(), self._phases[-1]
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._mark
        self._mark = now
