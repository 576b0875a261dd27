"""The bars of `autods.core.progress`: what a line says, and how it fits a width."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.console import RenderableType
from rich.filesize import decimal
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

TITLE = 30  # columns of a title where a rate or a detail wants room beside it
LEAST_TITLE, LEAST_SIDE = 12, 12  # columns of title, and of rate or detail, that are worth it
# columns of the bar, and how the amount is written, from wide terminals to narrow ones
FORMS: tuple[tuple[int, Literal["full", "bare", "short"]], ...] = (
    (12, "full"), (6, "full"), (6, "bare"), (4, "short"),
)  # fmt: skip
FIRST_SECONDS = 2.0  # before which nothing is said of the time that is left for all
WINDOW = 30.0  # seconds over which the speed of a transfer is taken


class Bar:
    """One step as it is shown; ``done`` units of ``total`` (``None``: unknown).

    ``part`` is what is done of the units after those; ``left`` are seconds, if known from outside.
    """

    def __init__(
        self,
        title: str,
        total: float | None,
        unit: str,
        done: int = 0,
        *,
        left: float | None = None,
        is_total: bool = False,
    ) -> None:
        self.title, self.total, self.unit, self.done = title, total, unit, done
        self.part, self.detail = 0.0, ""
        self.is_total, self.arrived, self.least = is_total, 0, False
        self._left = left
        self._first, self._began = done, time.monotonic()
        self._marks = [(self._began, done)]  # of a transfer: when it was how far

    @property
    def completed(self) -> float:
        """Return units done, with what is done partly."""
        return self.done + self.part

    @property
    def share(self) -> float:
        """Return how much of the step is done, from 0 to 1; 0 if its size is unknown."""
        return min(1.0, self.completed / self.total) if self.total else 0.0

    def advance(self, amount: int) -> None:
        """Count more units as done."""
        self.done, self.part = self.done + amount, 0.0
        if self.unit == "bytes" and (now := time.monotonic()) - self._marks[-1][0] >= 0.5:
            recent = [mark for mark in self._marks if now - mark[0] <= WINDOW]
            self._marks = [*(recent or self._marks[-1:]), (now, self.done)]

    def speed(self) -> float | None:
        """Return units a second: of a transfer recently, of others since the step began."""
        now = time.monotonic()
        then, done = self._marks[0] if self.unit == "bytes" else (self._began, self._first)
        moved, seconds = self.completed - done, now - then
        return moved / seconds if moved > 0 and seconds > 0 else None

    def left(self) -> float | None:
        """Return the seconds that are left, ``None`` while unknown."""
        if self.is_total or self.total is None:
            return self._left
        speed = self.speed()
        return None if speed is None else max(0.0, self.total - self.completed) / speed

    def amount(self, form: Literal["full", "bare", "short"] = "full") -> str:
        """Say what is done of what: with its unit, without, or in thousands and millions."""
        if self.unit == "%":
            return f"{self.done} %"
        if self.unit == "bytes":
            return _bytes(self.done, self.total)
        write = _short if form == "short" else "{:,.0f}".format
        total = "?" if self.total is None else write(self.total)
        return f"{write(self.done)}/{total}" + (f" {self.unit}" if form == "full" else "")

    def side(self) -> str:
        """Return bytes a second, of all bytes in the line of totals, the detail of other steps."""
        if self.is_total:
            return decimal(self.arrived) if self.unit != "%" else ""
        if self.unit == "bytes":
            speed = self.speed()
            return "?" if speed is None else f"{decimal(int(speed))}/s"
        return self.detail

    def clock(self) -> str:
        """Return the time that is left as hours, minutes, seconds."""
        seconds = self.left()
        if seconds is None:
            return "" if self.is_total else "-:--:--"
        whole = round(seconds)
        text = f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
        return f"{text}+" if self.least else text

    def line(self, live: bool, *, under_way: bool = False) -> str:
        """Return the step as a plain line."""
        if live and (under_way or self.total is not None):
            amount = self.amount()
        elif live and self.unit == "bytes":
            amount = decimal(self.done)
        else:
            of = f" of {self.total:,}" if self.total is not None else ""
            amount = f"{self.done:,}{of} {self.unit}"
        detail = f"; {self.detail}" if self.detail else ""
        seconds = self.left() if under_way else None
        left = "" if seconds is None else f", about {duration(seconds)} left"
        return f"{self.title}: {amount}, {time.monotonic() - self._began:.1f} s{left}{detail}"


class Totals:
    """What all of several things amount to; for the last line of a board."""

    def __init__(self, count: int, in_turn: str, weights: Sequence[float]) -> None:
        self.count, self.in_turn = count, in_turn
        self.weights = list(weights) or [1.0] * count
        self.ended, self.arrived = 0, 0
        self.bytes: int | None = None  # that will arrive
        self.least = False
        self._reached = 0.0  # of the one under way, between two of its steps
        self._began = time.monotonic()

    def end_one(self, worked: bool) -> None:
        """Count one as ended; without work it has no weight."""
        if not worked and self.ended < len(self.weights):
            self.weights[self.ended] = 0.0
        self.ended, self._reached = self.ended + 1, 0.0

    @property
    def which(self) -> str:
        """Say which of how many is under way."""
        return f"{self.in_turn} {min(self.ended + 1, self.count)} of {self.count}"

    def bar(self, steps: Sequence[Bar]) -> Bar:
        """Return the last line."""
        left = self.left(steps)
        if not self.in_turn:
            bar = Bar("total", self.count, "datasets", self.ended, left=left, is_total=True)
            bar.arrived, bar.least = self.arrived, self.least and self.ended < self.count
            return bar
        bar = Bar(self.which, 100, "%", left=left, is_total=True)
        bar.done = round(100 * self._share(steps))
        return bar

    def left(self, steps: Sequence[Bar]) -> float | None:
        """Return the seconds that are left for all, ``None`` while unknown."""
        if self.ended >= self.count:
            return 0.0
        elapsed = time.monotonic() - self._began
        if self.in_turn:
            share = self._share(steps)
        elif self.bytes:
            share = min(1.0, self.arrived / self.bytes)
        else:
            return None
        if not share or elapsed < FIRST_SECONDS:
            return None
        return elapsed * (1 - share) / share

    def _share(self, steps: Sequence[Bar]) -> float:
        """Return how much of the work in turn is done, from 0 to 1."""
        weights = self.weights
        done = sum(weights[: self.ended])
        if self.ended < len(weights):
            self._reached = max([self._reached, *(step.share for step in steps)])
            done += weights[self.ended] * self._reached
        whole = sum(weights)
        return done / whole if whole else self.ended / self.count


@dataclass(frozen=True)
class Widths:
    """Columns of the cells of all bars, 0: left out; and how their amounts are written."""

    title: int
    bar: int
    amount: int
    side: int
    clock: int
    form: Literal["full", "bare", "short"]


def fit(bars: Sequence[Bar], width: int) -> Widths:
    """Choose the widths of cells: bar, amount and time left stay at every width.

    Detail and rate go first; then the title is cut, the bar gets shorter, units go.
    """
    natural = max((len(bar.title) for bar in bars), default=0)
    clock = max((len(bar.clock()) for bar in bars), default=0)
    side = max((len(bar.side()) for bar in bars), default=0)
    for size, form in FORMS:
        amount = max((len(bar.amount(form)) for bar in bars), default=0)
        rest = width - size - amount - clock - 3  # one blank after each but the last
        if rest >= min(natural, LEAST_TITLE):
            break
    beside = rest - min(natural, TITLE) - 1
    if side and beside >= min(side, LEAST_SIDE):
        return Widths(min(natural, TITLE), size, amount, min(side, beside), clock, form)
    if rest < 1:
        size = max(1, size + rest - 1)
    return Widths(max(0, min(natural, rest)), size, amount, 0, clock, form)


def table(bars: Sequence[Bar], width: int) -> Table:
    """Return the bars as lines of at most this width."""
    widths = fit(bars, width)
    grid = Table.grid(padding=(0, 1, 0, 0), pad_edge=False)
    shown = [cells for cells in (widths.title, widths.bar, widths.amount, widths.side) if cells]
    for cells in [*shown, *([widths.clock] if widths.clock else [])]:
        grid.add_column(width=cells, no_wrap=True, overflow="ellipsis")
    for bar in bars:
        row: list[tuple[int, RenderableType]] = [
            (widths.title, Text(bar.title, no_wrap=True, overflow="ellipsis")),
            (widths.bar, _drawn(bar, widths.bar)),
            (widths.amount, Text(bar.amount(widths.form), style="progress.download")),
            (widths.side, Text(bar.side(), no_wrap=True, overflow="ellipsis")),
            (widths.clock, Text(bar.clock(), style="progress.remaining")),
        ]
        grid.add_row(*(cell for cells, cell in row if cells))
    return grid


def _drawn(bar: Bar, width: int) -> ProgressBar:
    return ProgressBar(
        total=bar.total, completed=bar.completed, width=width, pulse=bar.total is None,
        animation_time=time.monotonic(),
    )  # fmt: skip


def duration(seconds: float) -> str:
    """Return a time in words, roughly."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _bytes(done: int, total: float | None) -> str:
    """Return bytes of bytes in the unit that fits the larger: 1.0/4.0 MB."""
    whole = int(done if total is None else total)
    units = ("bytes", "kB", "MB", "GB", "TB")
    power = next((k for k in range(5) if whole < 1000 ** (k + 1)), 4)
    digits = 0 if power == 0 else 1
    shown = "?" if total is None else f"{total / 1000**power:,.{digits}f}"
    return f"{done / 1000**power:,.{digits}f}/{shown} {units[power]}"


def _short(number: float) -> str:
    """Return a number in thousands or millions: 1.2M."""
    for size, letter in ((1e6, "M"), (1e4, "k")):
        if number >= size:
            scaled = number / (1e6 if letter == "M" else 1e3)
            return f"{scaled:.0f}{letter}" if scaled >= 100 else f"{scaled:.1f}{letter}"
    return f"{number:.0f}"
