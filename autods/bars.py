"""One bar per running step of each dataset, above a line of totals, for terminals."""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock
from types import TracebackType

from rich.console import Console, RenderableType
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Column
from rich.text import Text


class Bars:
    """Shared by all threads of a command; used as a context, which holds the terminal.

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
            TextColumn("{task.description}", markup=False, table_column=name),
            BarColumn(bar_width=12),
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

    def add(self, title: str, total: int | None, unit: str) -> TaskID:
        """Draw one more bar, above the totals."""
        return self._bars.add_task(title, total=total, unit=unit)

    def move(self, task: TaskID, amount: int, in_bytes: bool) -> None:
        """Advance a bar; bytes count in the totals too."""
        self._bars.advance(task, amount)
        if in_bytes:
            with self._lock:
                self._bytes += amount
            self._bars.update(self._total, arrived=self._bytes)

    def drop(self, task: TaskID) -> Task:
        """Take a bar away; return its last state."""
        last = next(found for found in self._bars.tasks if found.id == task)
        self._bars.remove_task(task)
        return last


class Bar:
    """The progress of one dataset among `Bars`; ``prefix`` begins its lines."""

    def __init__(self, bars: Bars, prefix: str) -> None:
        self._bars, self._prefix = bars, prefix
        self._task: TaskID | None = None
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


class _TotalLast(Progress):
    """Draws the task that was added first, the line of totals, below all others."""

    def get_renderables(self) -> Iterable[RenderableType]:
        tasks = self.tasks
        yield self.make_tasks_table([*tasks[1:], *tasks[:1]])


class _Amount(ProgressColumn):
    """What is done of what: in bytes with a fitting unit, else as a count."""

    def render(self, task: Task) -> Text:
        return Text(_amount(task), style="progress.download")


class _Rate(TransferSpeedColumn):
    """Bytes per second of what has bytes; the line of totals has the bytes of all instead."""

    def render(self, task: Task) -> Text:
        if "arrived" in task.fields:
            return Text(decimal(task.fields["arrived"]), style="progress.data.speed")
        return super().render(task) if task.fields["unit"] == "bytes" else Text("")


class _Remaining(TimeRemainingColumn):
    """Nothing for the totals: one dataset takes seconds, another days."""

    def render(self, task: Task) -> Text:
        return Text("") if "arrived" in task.fields else super().render(task)


def _amount(task: Task) -> str:
    if task.fields["unit"] == "bytes":
        return DownloadColumn().render(task).plain
    total = "?" if task.total is None else f"{task.total:,.0f}"
    return f"{task.completed:,.0f}/{total} {task.fields['unit']}"
