"""Progress for people: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Protocol


class Progress(Protocol):
    """What a long step reports to. All methods may be called from one thread only."""

    def start(self, title: str, total: int | None, unit: str) -> None:
        """Begin a step of ``total`` units (``None``: unknown)."""

    def advance(self, amount: int) -> None:
        """Report ``amount`` more units done."""

    def note(self, text: str) -> None:
        """Print one line that stays."""

    def finish(self) -> None:
        """End the step begun last."""


class Silent:
    """Report nothing; for library use and tests."""

    def start(self, title: str, total: int | None, unit: str) -> None:
        """Ignore."""

    def advance(self, amount: int) -> None:
        """Ignore."""

    def note(self, text: str) -> None:
        """Ignore."""

    def finish(self) -> None:
        """Ignore."""


class PlainProgress:
    """One line when a step starts, one every ``interval`` seconds, one at its end."""

    def __init__(self, interval: float = 10.0) -> None:
        self.interval = interval
        self._title = self._unit = ""
        self._total: int | None = None
        self._done = 0
        self._began = self._spoke = 0.0

    def start(self, title: str, total: int | None, unit: str) -> None:
        """Begin a step."""
        self._title, self._total, self._unit, self._done = title, total, unit, 0
        self._began = self._spoke = time.monotonic()

    def advance(self, amount: int) -> None:
        """Count, and speak when the interval has passed."""
        self._done += amount
        if time.monotonic() - self._spoke >= self.interval:
            self._spoke = time.monotonic()
            self._line()

    def note(self, text: str) -> None:
        """Print a line."""
        print(text, file=sys.stderr, flush=True)

    def finish(self) -> None:
        """Print the total and the time taken."""
        if self._title:
            self._line()
        self._title = ""

    def _line(self) -> None:
        of = f" of {self._total:,}" if self._total is not None else ""
        seconds = time.monotonic() - self._began
        self.note(f"{self._title}: {self._done:,}{of} {self._unit}, {seconds:.1f} s")


class RichProgress:
    """A bar with rate and remaining time, for terminals."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import Progress as Bars

        self._console = Console(stderr=True)
        self._bars: Bars | None = None

    def start(self, title: str, total: int | None, unit: str) -> None:
        """Begin a step with a new bar."""
        from rich import progress as rich

        self._bars = rich.Progress(
            rich.TextColumn("{task.description}"),
            rich.BarColumn(),
            rich.MofNCompleteColumn(),
            rich.TextColumn(unit),
            rich.TimeElapsedColumn(),
            rich.TimeRemainingColumn(),
            console=self._console,
        )
        self._bars.start()
        self._bars.add_task(title, total=total)

    def advance(self, amount: int) -> None:
        """Move the bar."""
        if self._bars is not None:
            self._bars.advance(self._bars.task_ids[0], amount)

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        self._console.print(text, markup=False, highlight=False)

    def finish(self) -> None:
        """Freeze the bar and give the terminal back."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None


def console_progress() -> Progress:
    """Return a bar when standard error is a terminal, plain lines otherwise."""
    return RichProgress() if sys.stderr.isatty() else PlainProgress()
