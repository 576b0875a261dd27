"""A contact sheet in the terminal: two pixels a letter by half blocks, or grey by letters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.text import Text

from autods.pages.contact_sheet import ContactSheet, Row, Shot
from autods.pages.thumbnails import shrunk

SIDE = 16  # pixels, and columns, of an image; half as many lines
HALF = "\N{UPPER HALF BLOCK}"
Pixel = tuple[int, int, int]
RAMP = " .:-=+*#%@"  # dark to light, where there is no colour


def show_sheet(
    sheet: ContactSheet, console: Console | None = None, rows: int | None = None
) -> None:
    """Print a sheet within the width of the terminal; of many rows the first ``rows``."""
    console = console or Console()
    console.print(Text(_plain(sheet.title), style="bold"))
    facts = ", ".join(f"{key} {value}" for key, value in sheet.facts.items())
    console.print(Text(_plain(facts)), soft_wrap=False)
    shown = sheet.rows[:rows]
    for row in shown:
        console.print()
        console.print(_head(row), soft_wrap=False)
        for line in _lines(row.shots, console):
            console.print(line, no_wrap=True, overflow="crop")
    if len(shown) < len(sheet.rows):
        console.print(f"\n{len(sheet.rows) - len(shown):,} more rows: --out FILE.html has them.")
    for note in sheet.notes:
        console.print(Text(_plain(note)), soft_wrap=False)


def _head(row: Row) -> Text:
    counts = ", ".join(f"{split} {count:,}" for split, count in row.counts.items() if count)
    text = Text(_plain(row.name), style="bold")
    for more in (row.detail, counts):
        if more:
            text.append(f"  {_plain(more)}", style="dim")
    return text


def _lines(shots: Sequence[Shot], console: Console) -> list[Text]:
    across = max(1, (console.width + 1) // (SIDE + 1))
    lines = [Text() for _ in range(SIDE // 2)]
    for shot in shots[:across]:
        for line, piece in zip(lines, _cell(shot, console.color_system is not None), strict=True):
            line.append_text(piece)
            line.append(" ")
    for line in lines:
        line.rstrip()
    return lines


def _cell(shot: Shot, colour: bool) -> list[Text]:
    """Return `SIDE` / 2 lines of `SIDE` columns."""
    if isinstance(shot.image, str):
        words = "no image".center(SIDE)
        return [Text(words if k == SIDE // 4 else " " * SIDE) for k in range(SIDE // 2)]
    small = np.asarray(shrunk(shot.image, SIDE))  # [h, w, 3]
    height, width = small.shape[:2]
    left, top = (SIDE - width) // 2, (SIDE - height) // 2 // 2 * 2
    pixels: list[list[Pixel | None]] = [[None] * SIDE for _ in range(SIDE)]
    for y in range(height):
        for x in range(width):
            red, green, blue = small[y, x].tolist()
            pixels[top + y][left + x] = (red, green, blue)
    return [
        Text().join(_letter(*pair, colour) for pair in zip(pixels[y], pixels[y + 1], strict=True))
        for y in range(0, SIDE, 2)
    ]


def _letter(upper: Pixel | None, lower: Pixel | None, colour: bool) -> Text:
    if upper is None:  # images begin at an even line
        return Text(" ")
    if not colour:
        lit = [sum(one) / 3 for one in (upper, lower) if one is not None]
        return Text(RAMP[int(sum(lit) / len(lit) / 256 * len(RAMP))])
    style = _rgb(upper) if lower is None else f"{_rgb(upper)} on {_rgb(lower)}"
    return Text(HALF, style=style)


def _rgb(pixel: Pixel) -> str:
    return "rgb({},{},{})".format(*pixel)


def _plain(text: str) -> str:
    """Replace what could command the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
