"""Progress for people: bars on a terminal and in a notebook, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from threading import Event, RLock

from rich.console import Console

from autods.core.output import commanding
from autods.core.progress_bars import Bar, Totals, duration
from autods.core.progress_screens import NotebookScreen, Screen, TerminalScreen, in_notebook
from autods.errors import visible

SHORT = 10.0  # seconds between two plain lines
LONG = 60.0  # between two of one step where several transfers run for days


class Progress:
    """What a long step reports to; by itself it shows nothing. Used from one thread only."""

    def start(self, title: str, total: int | None, unit: str, done: int = 0) -> None:
        """Begin a step of ``total`` units (``None``: unknown), ``done`` of them done before."""

    def advance(self, amount: int) -> None:
        """Report ``amount`` more units done; what was done partly is part of them."""

    def partly(self, amount: float) -> None:
        """Say how much of the units after those done is done already: 3.5 of a group of 8."""

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
    """Progress of one or several things, from several threads; a context of its own.

    A terminal or a notebook shows a bar per running step, of several things above a line of
    totals; a step that ends leaves a line. Elsewhere a step is a plain line every few seconds and
    one at its end. Of several things that are done at once, each line begins with a name.

    Parameters
    ----------
    count
        How many datasets (methods, runs) the command works on.
    screen
        Where to draw; default: nowhere.
    interval
        Seconds between two plain lines of a step; default: `SHORT`, of several at once `LONG`.
    in_turn
        What they are called, if they are done one after the other: "dataset". A line then says
        which it is of how many.
    weights
        Of those in turn, how much work each is, in any unit; default: as much as any other.
    """

    def __init__(
        self,
        count: int = 1,
        screen: Screen | None = None,
        interval: float | None = None,
        *,
        in_turn: str = "",
        weights: Sequence[float] = (),
    ) -> None:
        self._screen = screen or Screen(Console(quiet=True, force_terminal=False))
        self.live = self._screen.draws
        self._several, self._in_turn = count > 1, in_turn
        at_once = self._several and not in_turn
        self.interval = (LONG if at_once else SHORT) if interval is None else interval
        self._totals = Totals(count, in_turn, weights)
        self._bars: list[Bar] = []
        self._lock, self._stopped = RLock(), Event()
        self._spoke = -SHORT  # when the last plain line of a step was printed
        self._screen.rows = self._rows

    def __enter__(self) -> Board:
        if self._several:
            self._screen.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End drawing, so that results can be printed."""
        if self._in_turn:  # a line of totals is left only where it says what arrived
            self._screen.rows = lambda: ()
        self._screen.close()
        self._screen.rows = self._rows

    def of(self, name: str) -> Progress:
        """Return the progress of one thing, for the thread that works on it.

        In turn, one progress serves all, and no line begins with its name.
        """
        return _Step(self, f"{name}: " if self._several and not self._in_turn else "")

    def ended(self, *, worked: bool = True) -> None:
        """Count one thing as ended; without work it says nothing of how long others take."""
        with self._lock:
            self._totals.end_one(worked)
        self._screen.draw()

    def weigh(self, weights: Sequence[float]) -> None:
        """Say how much work each of those in turn is, in any unit."""
        self._totals.weights = list(weights)

    def expect(self, total: int, least: bool = False) -> None:
        """Say how many bytes will arrive in all; ``least``: that many or more."""
        self._totals.bytes, self._totals.least = total, least

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
        self._screen.say(visible(text))

    def say_in_time(self, text: str, *, last: bool = False) -> None:
        """Print a plain line of a step, unless one was printed just before.

        ``last``: it is the line at a step's end, which of several in turn may go without.
        """
        now = time.monotonic()
        with self._lock:
            soon = now - self._spoke < SHORT
            if soon and not (last and (not self._several or not self._in_turn)):
                return
            self._spoke = now
        self.say(text)

    def begin(self, title: str, total: int | None, unit: str, done: int) -> Bar:
        """Draw the bar of one more step, above the totals."""
        bar = Bar(visible(title), total, unit, done)
        with self._lock:
            self._bars.append(bar)
        self._screen.open()
        self._screen.draw()
        return bar

    def move(self, bar: Bar, amount: int) -> None:
        """Advance a bar; bytes count in the totals too."""
        with self._lock:
            bar.advance(amount)
            if bar.unit == "bytes":
                self._totals.arrived += amount
        self._screen.draw()

    def redraw(self) -> None:
        """Show what has changed of a bar."""
        self._screen.draw()

    def drop(self, bar: Bar) -> None:
        """Take a bar away; a single one gives the terminal back."""
        with self._lock:
            self._bars.remove(bar)
        if self._several:
            self._screen.draw()
        else:
            self._screen.close()

    def which(self) -> str:
        """Return which of several in turn it is, and how long all will take, for a plain line."""
        if not (self._several and self._in_turn):
            return ""
        left = None if self.live else self._totals.left(self._bars)  # a bar says it
        more = "" if left is None else f", about {duration(left)} for all"
        return f" ({self._totals.which}{more})"

    def _rows(self) -> list[Bar]:
        with self._lock:
            if not self._several:
                return list(self._bars)
            return [*self._bars, self._totals.bar(self._bars)]


class _Step(Progress):
    """The progress of one thing on a board; ``prefix`` begins its lines."""

    def __init__(self, board: Board, prefix: str = "") -> None:
        self._board, self._prefix = board, prefix
        self._bar: Bar | None = None
        self._spoke = 0.0

    def start(self, title: str, total: int | None, unit: str, done: int = 0) -> None:
        self._check()
        self._bar = self._board.begin(f"{self._prefix}{title}", total, unit, done)
        self._spoke = time.monotonic()

    def advance(self, amount: int) -> None:
        self._check()
        if self._bar is not None:
            self._board.move(self._bar, amount)
            self._speak(self._bar)

    def partly(self, amount: float) -> None:
        self._check()
        if self._bar is not None:
            self._bar.part = amount
            self._board.redraw()
            self._speak(self._bar)

    def detail(self, text: str) -> None:
        self._check()
        if self._bar is not None:
            self._bar.detail = visible(text)

    def note(self, text: str) -> None:
        self._check()
        self._board.say("\n".join(f"{self._prefix}{line}" for line in text.split("\n")))

    def finish(self) -> None:
        bar, self._bar = self._bar, None
        if bar is not None and not self._board.is_stopped():  # on their way out, let them end
            line = bar.line(self._board.live) + self._board.which()
            self._board.drop(bar)
            if self._board.live:
                self._board.say(line)
            else:
                self._board.say_in_time(line, last=True)

    def _speak(self, bar: Bar) -> None:
        """Print a plain line of a step under way where there are no bars, now and then."""
        now = time.monotonic()
        if not self._board.live and now - self._spoke >= self._board.interval:
            self._spoke = now
            self._board.say_in_time(bar.line(False, under_way=True) + self._board.which())

    def _check(self) -> None:
        if self._board.is_stopped():
            raise Stopped


def console_progress(interval: float | None = None, *, quiet: bool = False) -> Progress:
    """Return the progress of one thing on standard error, see `Board`; none if ``quiet``."""
    return Silent() if quiet else console_board(1, interval).of("")


def console_board(
    count: int,
    interval: float | None = None,
    *,
    quiet: bool = False,
    in_turn: str = "",
    weights: Sequence[float] = (),
) -> Board:
    """Return a board on standard error, or one that shows nothing if ``quiet``.

    Used as a context, which holds the terminal. The rest is as of `Board`.
    """
    return Board(count, None if quiet else _screen(), interval, in_turn=in_turn, weights=weights)


def _screen() -> Screen:
    stream = commanding(sys.stderr)
    if in_notebook():
        return NotebookScreen(Console(file=stream, force_terminal=False, force_jupyter=False))
    # CI logs get plain lines, whatever they ask of rich
    terminal = sys.stderr.isatty()
    console = Console(file=stream, force_terminal=terminal, force_jupyter=False)
    return TerminalScreen(console) if console.is_terminal else Screen(console)
