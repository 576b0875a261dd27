"""Tables that fit the terminal: values are dropped before names, and the table says which."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

GAP = 2  # blanks between columns
NARROW_GAP = 1  # where that keeps a column in the table
NAME = 40  # a name up to this long, or half the width, stays on one line
TEXT = 20  # a longer text may wrap to lines of this length
CUT = 8  # what remains of a text that may be cut


@dataclass(frozen=True)
class Column:
    """One column of a printed table.

    Attributes
    ----------
    head
        Its header, which may have several lines and wraps at blanks.
    cells
        Its texts, from the first row to the last.
    bold
        Whether each cell is printed in bold; empty if none is.
    number
        Whether it holds numbers: aligned to the right, never wrapped.
    name
        Whether it names the rows: never dropped, never cut.
    cut
        Whether a text that is too long ends in an ellipsis; else it wraps.
    priority
        Of the columns that do not fit, the one with the largest goes first; of equals, the last.
    title
        What the line below the table calls it if it is left out; by default its header.
    """

    head: str
    cells: Sequence[str]
    bold: Sequence[bool] = ()
    number: bool = False
    name: bool = False
    cut: bool = False
    priority: int = 0
    title: str = ""

    def natural(self) -> int:
        """Return the width at which nothing wraps."""
        return max(map(_length, [*self.head.split("\n"), *self.cells]))

    def least(self, width: int) -> int:
        """Return the smallest width that it is given in a table of ``width``."""
        words = max(map(_length, self.head.split()), default=0)
        content = max(map(_length, self.cells), default=0)
        if self.name:
            content = min(content, max(NAME, width // 2))
        elif not self.number:
            content = min(content, CUT if self.cut else TEXT)
        return max(words, content)


def terminal_width() -> int:
    """Return the columns of the terminal (or ``COLUMNS``), or 100 if there is no terminal."""
    return shutil.get_terminal_size((100, 24)).columns


def print_columns(
    columns: Sequence[Column], *, title: str = "", notes: Sequence[str] = (), more: str = ""
) -> None:
    """Print a table no wider than the terminal, and below it what had to be left out.

    Parameters
    ----------
    notes
        Sentences to print below the table.
    more
        Where the columns that are left out can be found, besides a wider terminal.
    """
    width = terminal_width()
    shown, widths, gap = fit(columns, width)
    dropped = [column for column in columns if all(column is not kept for kept in shown)]
    left_out = [column.title or " ".join(column.head.split()) for column in dropped]
    if title:
        print(title)
    if columns:
        _draw(shown, widths, gap, width)
    if left_out:
        places = " or ".join([*([more] if more else []), "a wider terminal"])
        notes = [f"Left out for width: {', '.join(left_out)}; see {places}.", *notes]
    for note in notes:
        print(textwrap.fill(note, width, subsequent_indent="  "))


def fit(columns: Sequence[Column], width: int) -> tuple[list[Column], list[int], int]:
    """Choose the columns that fit into a width; return them, their widths and the gap.

    Names stay; the other columns go by priority until the rest fits, all but the last one of
    them. If even that is too wide, names wrap.
    """
    shown = list(columns)
    while True:
        for gap in (GAP, NARROW_GAP):
            least = [column.least(width) for column in shown]
            spare = width - sum(least) - gap * (len(shown) - 1)
            if spare >= 0:
                return shown, _shared(shown, least, spare), gap
        others = [k for k, column in enumerate(shown) if not column.name]
        if len(others) < 2:
            return shown, _squeezed(shown, least, width), NARROW_GAP
        del shown[max(others, key=lambda k: (shown[k].priority, k))]


def _shared(columns: Sequence[Column], least: Sequence[int], spare: int) -> list[int]:
    """Share spare width among the columns that could use it, none more than it needs."""
    widths = list(least)
    needs = {k: c.natural() - w for k, (c, w) in enumerate(zip(columns, least, strict=True))}
    for left, k in enumerate(sorted(needs, key=needs.__getitem__)):
        given = min(needs[k], spare // (len(needs) - left))
        widths[k] += given
        spare -= given
    return widths


def _squeezed(columns: Sequence[Column], least: Sequence[int], width: int) -> list[int]:
    """Take from the widest columns until names and the one value fit."""
    widths = list(least)
    while sum(widths) + NARROW_GAP * (len(widths) - 1) > width and max(widths) > 1:
        widths[widths.index(max(widths))] -= 1
    return widths


def _draw(columns: Sequence[Column], widths: Sequence[int], gap: int, width: int) -> None:
    from rich.align import Align
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")
    for column, cells in zip(columns, widths, strict=True):
        side: Literal["left", "right"] = "right" if column.number else "left"
        head = Align(Text(column.head, justify=side, overflow="fold"), side, vertical="bottom")
        table.add_column(head, width=cells)
    for k in range(len(columns[0].cells)):
        row = []
        for column, cells in zip(columns, widths, strict=True):
            text = _printable(column.cells[k])
            # not by rich, which strips the blank that stands where other cells have a mark
            blanks = " " * (cells - _length(text)) if column.number else ""
            row.append(
                Text(
                    blanks + text,
                    "bold" if column.bold and column.bold[k] else "",
                    overflow="ellipsis" if column.cut else "fold",
                    no_wrap=column.cut,
                )
            )
        table.add_row(*row)
    console = Console(width=width)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().removesuffix("\n").split("\n"):
        print(line.rstrip())  # rich fills lines up with blanks, which files need not keep


def _length(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(_printable(text))


def _printable(text: str) -> str:
    """Return text without characters that could command a terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
