"""Progress for people: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from threading import Event, Lock

from rich import progress as rich
from rich.console import Console, RenderableType
from rich.filesize import decimal
from rich.table import Column
from rich.text import Text

SHORT = 10.0  # seconds between two plain lines of one step
LONG = 60.0  # the same where several transfers run for days


class Progress:
    """What a long step reports to; by itself it shows nothing. Used from one thread only."""

    def start(self, title: str, total: int | None, unit: str) -> None:
        """Begin a step of ``total`` units (``None``: unknown)."""

    def advance(self, amount: int) -> None:
        """Report ``amount`` more units done."""

    def detail(self, text: str) -> None:
        """Set what the line of the step says beside the units done."""

    def note(self, text: str) -> None:
        """Print lines that stay."""

    def finish(self) -> None:
        """End the step begun last."""


class Silent(Progress):
    """Report nothing; for library use and tests."""


class Stopped(BaseException):
    """Ends the work of a thread: its next report after `Board.stop` raises this.

    Not an `Exception`, so that no retry and no fallback goes on after it.
    """


class Board:
    """Progress of one or several datasets, from several threads; a context of its own.

    A terminal shows a bar per running step, of several datasets above a line of totals; a step
    that ends leaves a line. Elsewhere a step is a plain line every few seconds and one at its
    end. Of several datasets each line begins with its name.

    Parameters
    ----------
    datasets
        How many the command works on.
    console
        Where to draw; default: nowhere.
    interval
        Seconds between two plain lines of a step; default: `SHORT`, of several datasets `LONG`.
    """

    def __init__(
        self, datasets: int = 1, console: Console | None = None, interval: float | None = None
    ) -> None:
        self._console = console or Console(quiet=True, force_terminal=False)
        self.live = self._console.is_terminal
        self._several = datasets > 1
        self.interval = (LONG if self._several else SHORT) if interval is None else interval
        # Lines that notes leave above must not push the names out of a narrow terminal.
        name = Column(no_wrap=True, overflow="ellipsis", max_width=30)
        self._bars = _TotalLast(
            rich.TextColumn("{task.description}", markup=False, table_column=name),
            rich.BarColumn(bar_width=12),
            _Amount(Column(no_wrap=True)),
            _Rate(),  # what gives way on a narrow terminal
            _Remaining(table_column=Column(no_wrap=True)),
            console=self._console,
            get_time=_now,
        )
        self._bytes, self._lock, self._stopped = 0, Lock(), Event()
        self._total = self._bars.add_task(
            "total", total=datasets, unit="datasets", arrived=0, visible=self._several
        )

    def __enter__(self) -> Board:
        if self.live and self._several:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            self._bars.stop()

    def of(self, name: str) -> Progress:
        """Return the progress of one dataset, for the thread that works on it."""
        return _Step(self, f"{name}: " if self._several else "")

    def ended(self) -> None:
        """Count one dataset as ended."""
        self._bars.advance(self._total)

    def note(self, text: str) -> None:
        """Print lines about the command that stay; any thread may."""
        if text:
            self.say(text)

    def stop(self) -> None:
        """Let every thread that works for this board end at its next report."""
        self._stopped.set()

    def is_stopped(self) -> bool:
        """Tell whether `stop` was called."""
        return self._stopped.is_set()

    def say(self, text: str) -> None:
        """Print lines of a step."""
        self._console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)

    def begin(self, title: str, total: int | None, unit: str) -> rich.Task:
        """Draw the bar of one more step, above the totals."""
        if self.live:
            self._bars.start()
        number = self._bars.add_task(title, total=total, unit=unit, detail="")
        return next(task for task in self._bars.tasks if task.id == number)

    def move(self, task: rich.Task, amount: int) -> None:
        """Advance a bar; bytes count in the totals too."""
        self._bars.advance(task.id, amount)
        if task.fields["unit"] == "bytes":
            with self._lock:
                self._bytes += amount
            self._bars.update(self._total, arrived=self._bytes)

    def drop(self, task: rich.Task) -> None:
        """Take a bar away; a single one gives the terminal back."""
        self._bars.remove_task(task.id)
        if self.live and not self._several:
            self._bars.stop()


class _Step(Progress):
    """The progress of one dataset on a board; ``prefix`` begins its lines."""

    def __init__(self, board: Board, prefix: str = "") -> None:
        self._board, self._prefix = board, prefix
        self._task: rich.Task | None = None
        self._spoke = 0.0

    def start(self, title: str, total: int | None, unit: str) -> None:
        self._check()
        self._task = self._board.begin(f"{self._prefix}{title}", total, unit)
        self._spoke = time.monotonic()

    def advance(self, amount: int) -> None:
        self._check()
        if self._task is None:
            return
        self._board.move(self._task, amount)
        now = time.monotonic()
        if not self._board.live and now - self._spoke >= self._board.interval:
            self._spoke = now
            self._board.say(self._line(self._task))

    def detail(self, text: str) -> None:
        self._check()
        if self._task is not None:
            self._task.fields["detail"] = text

    def note(self, text: str) -> None:
        self._check()
        self._board.say("\n".join(f"{self._prefix}{line}" for line in text.split("\n")))

    def finish(self) -> None:
        task, self._task = self._task, None
        if task is not None and not self._board.is_stopped():  # on their way out, let them end
            self._board.drop(task)
            self._board.say(self._line(task))

    def _check(self) -> None:
        if self._board.is_stopped():
            raise Stopped

    def _line(self, task: rich.Task) -> str:
        of = f" of {task.total:,}" if task.total is not None else ""
        plain = f"{task.completed:,}{of} {task.fields['unit']}"
        amount = _amount(task) if self._board.live else plain
        detail = f"; {task.fields['detail']}" if task.fields["detail"] else ""
        return f"{task.description}: {amount}, {task.elapsed or 0.0:.1f} s{detail}"


def console_progress(interval: float | None = None) -> Progress:
    """Return the progress of one thing on standard error, see `Board`."""
    return console_board(1, interval).of("")


def console_board(datasets: int, interval: float | None = None) -> Board:
    """Return a board on standard error; used as a context, which holds the terminal."""
    # Notebooks and CI logs get plain lines, whatever they ask of rich.
    terminal = sys.stderr.isatty()
    return Board(
        datasets, Console(stderr=True, force_terminal=terminal, force_jupyter=False), interval
    )


class _TotalLast(rich.Progress):
    """Draws the task that was added first, the line of totals, below all others."""

    def get_renderables(self) -> Iterable[RenderableType]:
        tasks = self.tasks
        yield self.make_tasks_table([*tasks[1:], *tasks[:1]])


class _Amount(rich.ProgressColumn):
    """What is done of what: in bytes with a fitting unit, else as a count."""

    def render(self, task: rich.Task) -> Text:
        return Text(_amount(task), style="progress.download")


class _Rate(rich.TransferSpeedColumn):
    """Bytes per second, the bytes of all in the line of totals, the detail of other steps."""

    def render(self, task: rich.Task) -> Text:
        if "arrived" in task.fields:
            return Text(decimal(task.fields["arrived"]), style="progress.data.speed")
        if task.fields["unit"] == "bytes":
            return super().render(task)
        return Text(task.fields["detail"], no_wrap=True, overflow="ellipsis")


class _Remaining(rich.TimeRemainingColumn):
    """Nothing for the totals: one dataset takes seconds, another days."""

    def render(self, task: rich.Task) -> Text:
        return Text("") if "arrived" in task.fields else super().render(task)


def _now() -> float:
    return time.monotonic()


def _amount(task: rich.Task) -> str:
    if task.fields["unit"] == "bytes":
        return rich.DownloadColumn().render(task).plain
    total = "?" if task.total is None else f"{task.total:,.0f}"
    return f"{task.completed:,.0f}/{total} {task.fields['unit']}"
