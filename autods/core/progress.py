"""Progress for people: bars on a terminal, plain lines elsewhere; of one thing or of many."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Event, Lock
from types import TracebackType
from typing import Protocol

from rich import progress as rich
from rich.console import Console, RenderableType
from rich.filesize import decimal
from rich.table import Column
from rich.text import Text

LONG = 60.0  # seconds between two lines of one transfer, where several run for days


class Progress(Protocol):
    """What a long step reports to. All methods may be called from one thread only."""

    def start(self, title: str, total: int | None, unit: str) -> None:
        """Begin a step of ``total`` units (``None``: unknown)."""

    def advance(self, amount: int) -> None:
        """Report ``amount`` more units done."""

    def detail(self, text: str) -> None:
        """Set what the line of the step says beside the units done."""

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

    def detail(self, text: str) -> None:
        """Ignore."""

    def note(self, text: str) -> None:
        """Ignore."""

    def finish(self) -> None:
        """Ignore."""


class PlainProgress:
    """One line every ``interval`` seconds of a step, and one at its end.

    Parameters
    ----------
    interval
        Seconds.
    prefix
        Begins every line, where lines of several datasets alternate.
    """

    def __init__(self, interval: float = 10.0, prefix: str = "") -> None:
        self.interval = interval
        self.prefix = prefix
        self._title = self._unit = self._detail = ""
        self._total: int | None = None
        self._done = 0
        self._began = self._spoke = 0.0

    def start(self, title: str, total: int | None, unit: str) -> None:
        """Begin a step."""
        self._title, self._total, self._unit, self._done = title, total, unit, 0
        self._detail = ""
        self._began = self._spoke = time.monotonic()

    def advance(self, amount: int) -> None:
        """Count, and speak when the interval has passed."""
        self._done += amount
        if time.monotonic() - self._spoke >= self.interval:
            self._spoke = time.monotonic()
            self._line()

    def detail(self, text: str) -> None:
        """Keep the text for the next line."""
        self._detail = text

    def note(self, text: str) -> None:
        """Print a line."""
        _say(_prefixed(self.prefix, text))

    def finish(self) -> None:
        """Print the total and the time taken."""
        if self._title:
            self._line()
        self._title = ""

    def _line(self) -> None:
        of = f" of {self._total:,}" if self._total is not None else ""
        seconds = time.monotonic() - self._began
        more = f"; {self._detail}" if self._detail else ""
        self.note(f"{self._title}: {self._done:,}{of} {self._unit}, {seconds:.1f} s{more}")


class RichProgress:
    """A bar with rate and remaining time, for terminals."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bars: rich.Progress | None = None

    def start(self, title: str, total: int | None, unit: str) -> None:
        """Begin a step with a new bar."""
        self._bars = rich.Progress(
            rich.TextColumn("{task.description}"),
            rich.BarColumn(),
            rich.MofNCompleteColumn(),
            rich.TextColumn(unit),
            rich.TimeElapsedColumn(),
            rich.TimeRemainingColumn(),
            rich.TextColumn("{task.fields[detail]}", markup=False),
            console=self._console,
        )
        self._bars.start()
        self._bars.add_task(title, total=total, detail="")

    def advance(self, amount: int) -> None:
        """Move the bar."""
        if self._bars is not None:
            self._bars.advance(self._bars.task_ids[0], amount)

    def detail(self, text: str) -> None:
        """Write the text behind the bar."""
        if self._bars is not None:
            self._bars.update(self._bars.task_ids[0], detail=text)

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        self._console.print(text, markup=False, highlight=False)

    def finish(self) -> None:
        """Freeze the bar and give the terminal back."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None


class Bars:
    """One bar per running step of each dataset, above a line of totals, for terminals.

    Shared by all threads of a command; used as a context, which holds the terminal.

    Parameters
    ----------
    datasets
        How many the command works on. Of a single one there are no totals, and its lines do
        not begin with its name.
    console
        Where to draw; default standard error.
    """

    def __init__(self, datasets: int, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        # Lines that notes leave above must not push the names out of a narrow terminal.
        name = Column(no_wrap=True, overflow="ellipsis", max_width=30)
        self._bars = _TotalLast(
            rich.TextColumn("{task.description}", markup=False, table_column=name),
            rich.BarColumn(bar_width=12),
            _Amount(),
            _Rate(),
            _Remaining(),
            console=self._console,
        )
        self._bytes, self._lock = 0, Lock()
        self._several = datasets > 1
        self._total = self._bars.add_task(
            "total", total=datasets, unit="datasets", arrived=0, visible=self._several
        )

    def __enter__(self) -> Bars:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def line(self, name: str) -> Bar:
        """Return the progress of one dataset."""
        return Bar(self, f"{name}: " if self._several else "")

    def say(self, text: str) -> None:
        """Print lines above the bars."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def count(self) -> None:
        """Count one dataset as ended."""
        self._bars.advance(self._total)

    def add(self, title: str, total: int | None, unit: str) -> rich.TaskID:
        """Draw one more bar, above the totals."""
        return self._bars.add_task(title, total=total, unit=unit)

    def move(self, task: rich.TaskID, amount: int, in_bytes: bool) -> None:
        """Advance a bar; bytes count in the totals too."""
        self._bars.advance(task, amount)
        if in_bytes:
            with self._lock:
                self._bytes += amount
            self._bars.update(self._total, arrived=self._bytes)

    def drop(self, task: rich.TaskID) -> rich.Task:
        """Take a bar away; return its last state."""
        last = next(found for found in self._bars.tasks if found.id == task)
        self._bars.remove_task(task)
        return last


class Bar:
    """The progress of one dataset among `Bars`; ``prefix`` begins its lines."""

    def __init__(self, bars: Bars, prefix: str) -> None:
        self._bars, self._prefix = bars, prefix
        self._task: rich.TaskID | None = None
        self._in_bytes = False

    def start(self, title: str, total: int | None, unit: str) -> None:
        """Begin a step with a bar of its own."""
        self._in_bytes = unit == "bytes"
        self._task = self._bars.add(f"{self._prefix}{title}", total, unit)

    def advance(self, amount: int) -> None:
        """Move the bar."""
        if self._task is not None:
            self._bars.move(self._task, amount, self._in_bytes)

    def detail(self, text: str) -> None:
        """Ignore: these lines are full."""

    def note(self, text: str) -> None:
        """Print lines above the bars."""
        self._bars.say("\n".join(f"{self._prefix}{line}" for line in text.split("\n")))

    def finish(self) -> None:
        """Replace the bar by a line."""
        if self._task is None:
            return
        last = self._bars.drop(self._task)
        self._bars.say(f"{last.description}: {_amount(last)}, {last.elapsed or 0.0:.1f} s")
        self._task = None


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
    """Bytes per second of what has bytes; the line of totals has the bytes of all instead."""

    def render(self, task: rich.Task) -> Text:
        if "arrived" in task.fields:
            return Text(decimal(task.fields["arrived"]), style="progress.data.speed")
        return super().render(task) if task.fields["unit"] == "bytes" else Text("")


class _Remaining(rich.TimeRemainingColumn):
    """Nothing for the totals: one dataset takes seconds, another days."""

    def render(self, task: rich.Task) -> Text:
        return Text("") if "arrived" in task.fields else super().render(task)


def _amount(task: rich.Task) -> str:
    if task.fields["unit"] == "bytes":
        return rich.DownloadColumn().render(task).plain
    total = "?" if task.total is None else f"{task.total:,.0f}"
    return f"{task.completed:,.0f}/{total} {task.fields['unit']}"


def console_progress() -> Progress:
    """Return a bar when standard error is a terminal, plain lines otherwise."""
    return RichProgress() if sys.stderr.isatty() else PlainProgress()


class Stopped(BaseException):
    """Ends the work of a thread: its next report after `Board.stop` raises this.

    Not an `Exception`, so that no retry and no fallback goes on after it.
    """


class Board:
    """Progress of several datasets at once, from several threads.

    Parameters
    ----------
    line
        Makes the progress of one dataset, given its name.
    say
        Prints lines that stay; any thread may call it.
    count
        Told that one more dataset has ended.
    """

    def __init__(
        self,
        line: Callable[[str], Progress] = lambda _: Silent(),
        say: Callable[[str], None] = lambda _: None,
        count: Callable[[], None] = lambda: None,
    ) -> None:
        self._line, self._say, self._count = line, say, count
        self._stopped = Event()

    def of(self, name: str) -> Progress:
        """Return the progress of one dataset, for the thread that works on it."""
        return _Stoppable(self._line(name), self._stopped)

    def ended(self) -> None:
        """Count one dataset as ended."""
        self._count()

    def note(self, text: str) -> None:
        """Print lines that stay."""
        if text:
            self._say(text)

    def stop(self) -> None:
        """Let every thread that works for this board end at its next report."""
        self._stopped.set()


class _Stoppable:
    """A progress whose reports raise `Stopped` once the board was stopped."""

    def __init__(self, progress: Progress, stopped: Event) -> None:
        self._progress, self._stopped = progress, stopped

    def start(self, title: str, total: int | None, unit: str) -> None:
        self._check()
        self._progress.start(title, total, unit)

    def advance(self, amount: int) -> None:
        self._check()
        self._progress.advance(amount)

    def detail(self, text: str) -> None:
        self._check()
        self._progress.detail(text)

    def note(self, text: str) -> None:
        self._check()
        self._progress.note(text)

    def finish(self) -> None:
        if not self._stopped.is_set():  # sources call this on their way out: let them end
            self._progress.finish()

    def _check(self) -> None:
        if self._stopped.is_set():
            raise Stopped


@contextmanager
def console_board(names: int) -> Iterator[Board]:
    """Give the board of a command that works on so many datasets.

    A terminal has one bar per running step, of several datasets above a line of totals.
    Elsewhere there are plain lines; of several datasets each begins with its name.
    """
    if sys.stderr.isatty():
        with Bars(names) as bars:
            yield Board(bars.line, bars.say, bars.count)
    elif names == 1:
        yield Board(lambda _: PlainProgress(), _say)
    else:
        yield Board(lambda name: PlainProgress(LONG, f"{name}: "), _say)


_printing = Lock()


def _say(text: str) -> None:
    """Print whole lines at once: those of several threads do not run into each other."""
    with _printing:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def _prefixed(prefix: str, text: str) -> str:
    return "\n".join(f"{prefix}{line}" for line in text.split("\n")) if prefix else text
