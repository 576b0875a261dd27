"""Where the bars of `autods.core.progress` are drawn: a terminal, a notebook, or not at all."""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from threading import Lock
from typing import Any

from rich.console import Console, RenderableType
from rich.live import Live

from autods.core.output import at_words
from autods.core.progress_bars import Bar, table

REDRAW = 0.25  # seconds between two drawings in a notebook
CELL = "border:none;padding:0 0.7em 0 0;text-align:left;background:none"  # style in a notebook


class Screen:
    """Where a board writes: plain lines alone. ``rows`` gives the bars to draw."""

    draws = False

    def __init__(self, console: Console) -> None:
        self.console = console
        self.rows: Callable[[], Sequence[Bar]] = lambda: ()

    def open(self) -> None:
        """Begin to draw."""

    def close(self) -> None:
        """Draw no more, and give the terminal back."""

    def draw(self) -> None:
        """Show that something has changed."""

    def say(self, text: str) -> None:
        """Print lines that stay."""
        self.console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)


class TerminalScreen(Screen):
    """Draws bars at the foot of a terminal, ten times a second."""

    draws = True

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._live = Live(
            console=console,
            refresh_per_second=10,
            get_renderable=self._renderable,
            redirect_stdout=sys.stdout.isatty(),  # results in a file stay results
        )

    def open(self) -> None:
        """Begin to draw."""
        self._live.start()

    def close(self) -> None:
        """Draw no more."""
        self._live.stop()

    def say(self, text: str) -> None:
        """Print lines that stay, broken at words."""
        super().say(at_words(text, self.console.width))

    def _renderable(self) -> RenderableType:
        return table(self.rows(), self.console.width)


class NotebookScreen(Screen):
    """Draws bars in the output of a notebook's cell, with nothing that a notebook has to add."""

    draws = True

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._handle: Any = None
        self._drawn, self._lock = 0.0, Lock()

    def open(self) -> None:
        """Begin to draw."""
        if self._handle is None:
            display = import_module("IPython.display").display  # a notebook has it
            self._handle = display(self._shown(), raw=True, display_id=True)

    def close(self) -> None:
        """Leave the last drawing as it is, but for bars that have ended."""
        if self._handle is not None:
            self._handle.update(self._shown(), raw=True)
            self._handle = None

    def draw(self) -> None:
        """Draw anew, unless that was done just now."""
        with self._lock:
            now = time.monotonic()
            if self._handle is None or now - self._drawn < REDRAW:
                return
            self._drawn = now
        self._handle.update(self._shown(), raw=True)

    def _shown(self) -> dict[str, str]:
        bars = self.rows()
        rows = "".join(f"<tr>{''.join(map(_cell, _cells(bar)))}</tr>" for bar in bars)
        return {
            "text/plain": "\n".join(bar.line(True) for bar in bars),
            "text/html": f"<table>{rows}</table>" if rows else "",
        }


def _cells(bar: Bar) -> list[str]:
    """Return the cells of a bar as HTML."""
    value = "" if bar.total is None else f' value="{bar.completed:g}" max="{bar.total:g}"'
    label = html.escape(bar.title)
    texts = [html.escape(text) for text in (bar.amount(), bar.side(), bar.clock())]
    return [label, f'<progress{value} aria-label="{label}"></progress>', *texts]


def _cell(content: str) -> str:
    return f'<td style="{CELL}">{content}</td>'


def in_notebook() -> bool:
    """Tell whether this is the process of a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")
