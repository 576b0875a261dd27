"""A contact sheet: rows of thumbnails with names and counts, as a page, a picture, or text.

Whoever makes one (`autods.checks.preview`, `autods.streams.preview`) decides what a row is.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from autods.core.files import atomic
from autods.errors import UsageError
from autods.pages.page import write_page
from autods.pages.palette import PALETTE
from autods.pages.thumbnails import Album, shrunk

ENDINGS = (".html", ".htm", ".png")
KEPT = 128  # pixels of the images that a sheet keeps
CELL, GAP, LABEL, HEAD = 88, 8, 190, 70  # pixels of a PNG: thumbnail, gaps, names, title
PNG_ROWS = 120  # rows of a PNG
SPLIT_COLOURS = {"train": "m0", "dev": "m4", "test": "m2"}


@dataclass(frozen=True, eq=False)
class Shot:
    """One image: itself, at most `KEPT` pixels a side, or the reason why there is none."""

    image: Image.Image | str
    split: str = ""
    title: str = ""  # path or sample

    @classmethod
    def of(cls, image: Image.Image | str, split: str = "", title: str = "") -> Shot:
        """Keep a small copy of an image."""
        return cls(image if isinstance(image, str) else shrunk(image, KEPT), split, title)


@dataclass(frozen=True, eq=False)
class Row:
    """A class, or a task."""

    name: str
    counts: Mapping[str, int]  # images by split
    shots: Sequence[Shot]
    detail: str = ""  # below the name


@dataclass(frozen=True, eq=False)
class ContactSheet:
    """Rows of thumbnails; in notebooks a picture.

    Attributes
    ----------
    facts
        What is known of the whole, by name.
    notes
        Sentences below the facts: what is left out, what cannot be read.
    problems
        Name and reason of images that cannot be read.
    """

    title: str
    facts: Mapping[str, str]
    rows: Sequence[Row]
    notes: Sequence[str] = ()
    problems: Sequence[tuple[str, str]] = field(default_factory=tuple)

    def __repr__(self) -> str:
        return f"ContactSheet({self.title!r}, {len(self.rows):,} rows)"

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.draw().save(buffer, "PNG", optimize=True)
        return buffer.getvalue()

    def write(self, path: str | Path, command: str = "") -> Path:
        """Write the sheet as ``.html``, one file that needs no other, or as ``.png``.

        Raises
        ------
        UsageError
            For another ending, or a page without jinja2.
        """
        path = Path(path)
        ending = path.suffix.lower()
        if ending not in ENDINGS:
            raise UsageError(
                f"{path}: expected a name that ends in .html or .png; nothing was written."
            )
        if ending == ".png":
            with atomic(path) as temporary:
                temporary.write_bytes(self._repr_png_())
            return path
        album = Album()
        rows = [(row, [(shot, album.of(shot.image)) for shot in row.shots]) for row in self.rows]
        return write_page(
            path,
            "preview.html.jinja",
            "a page of a preview",
            title=self.title,
            command=command,
            sheet=self,
            rows=rows,
            left_out=album.left_out,
            colours=SPLIT_COLOURS,
        )

    def draw(self) -> Image.Image:
        """Draw the sheet as one picture, of at most `PNG_ROWS` rows."""
        rows = self.rows[:PNG_ROWS]
        across = max([4, *(len(row.shots) for row in rows)])
        width = 2 * GAP + LABEL + across * (CELL + GAP)
        picture = Image.new(
            "RGB", (width, HEAD + len(rows) * (CELL + GAP) + GAP), colour_of("ground")
        )
        pen = ImageDraw.Draw(picture)
        pen.text((GAP, GAP), fitting(self.title, 20, width - 2 * GAP), colour_of("ink"), font(20))
        facts = ", ".join(f"{key} {value}" for key, value in self.facts.items())
        pen.text((GAP, 38), fitting(facts, 13, width - 2 * GAP), colour_of("soft"), font(13))
        for number, row in enumerate(rows):
            self._draw_row(picture, pen, row, HEAD + number * (CELL + GAP))
        return picture

    def _draw_row(self, picture: Image.Image, pen: ImageDraw.ImageDraw, row: Row, top: int) -> None:
        counts = ", ".join(f"{split} {count:,}" for split, count in row.counts.items() if count)
        lines = ((row.name, "ink", 14), (row.detail, "soft", 12), (counts, "soft", 12))
        y = top + 4
        for text, colour, size in lines:
            if text:
                pen.text((GAP, y), fitting(text, size, LABEL), colour_of(colour), font(size))
                y += size + 6
        for place, shot in enumerate(row.shots):
            left = GAP + LABEL + place * (CELL + GAP)
            box = (left, top, left + CELL - 1, top + CELL - 1)
            outline = colour_of(SPLIT_COLOURS.get(shot.split, "line"))
            if isinstance(shot.image, str):
                pen.rectangle(box, fill=colour_of("panel"), outline=outline)
                pen.text((left + 6, top + 36), "no image", colour_of("soft"), font(12))
                continue
            small = shrunk(shot.image, CELL - 6)
            at = (left + (CELL - small.width) // 2, top + (CELL - small.height) // 2)
            pen.rectangle(box, fill=colour_of("ground"), outline=outline)
            picture.paste(small, at)


def colour_of(name: str) -> str:
    """Return a colour of the palette as pictures take it, which are light."""
    return PALETTE[name][0]


@cache
def font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """Return the font of pictures, which Pillow brings, in pixels."""
    return ImageFont.load_default(size)


def fitting(text: str, size: int, width: int) -> str:
    """Cut a text to a width in pixels; what cannot be printed becomes a question mark."""
    shown = "".join(c if c.isprintable() else "?" for c in text)
    while shown and font(size).getlength(shown) > width:
        shown = shown.rstrip("…")[:-1] + "…" if len(shown) > 1 else ""
    return shown
