"""What is printed reaches every terminal: signs that its encoding lacks are written otherwise.

Prose is broken at words there; what programs read is written as it is.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import re
import sys
import textwrap
import unicodedata
from collections.abc import Sequence
from typing import TextIO

from typing_extensions import override

from autods.errors import visible

HANDLER = "autods-plain"
BLANK = "\0"  # within commands that stay on one line, while the text is broken
COMMAND = re.compile("`[^`\n]*`")
STYLE = re.compile("(\x1b\\[[0-9;]*m)")  # SGR, ECMA-48 8.3.117
# One sign for one where possible, so that columns of tables stay below each other.
SIGNS = {
    "\u2026": "~",  # the end of what was cut off
    "\u2020": "+", "\u2021": "#",
    "\u2212": "-", "\u2010": "-", "\u2011": "-", "\u2013": "-", "\u2014": "-",
    "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"',
    "\u00a0": " ", "\u202f": " ",
    "\u2192": ">", "\u2190": "<", "\u00d7": "x", "\u00b7": "*", "\u00b1": "+-",
    "\u2264": "<=", "\u2265": ">=", "\u2248": "~", "\u2016": "||", "\u221a": "sqrt",
    "\u2202": "d", "\u2207": "grad", "\u222a": " u ", "\u2208": " in ",
}  # fmt: skip


class VisibleStream(io.TextIOWrapper):
    r"""A stream that writes out control characters, but those of bold text on a terminal.

    Names of files, titles and what servers say reach a terminal through it, and cannot command it.
    ``commanding`` is the stream below, for what draws on a terminal itself.
    """

    def __init__(self, stream: io.TextIOWrapper) -> None:
        super().__init__(
            stream.buffer,
            encoding=stream.encoding,
            errors=HANDLER,
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        self.commanding = stream
        self._styled = stream.isatty()

    @override
    def write(self, text: str, /) -> int:
        self.commanding.flush()
        if not text.isprintable():
            parts = STYLE.split(text) if self._styled else [text]
            text = "".join(p if k % 2 else visible(p) for k, p in enumerate(parts))
        return super().write(text)


def commanding(stream: TextIO) -> TextIO:
    """Return what a program that draws on a terminal writes to in place of a standard stream."""
    return stream.commanding if isinstance(stream, VisibleStream) else stream


def make_printable() -> None:
    """Let standard output and error take every text, whatever their encoding, and obey none."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if type(stream) is io.TextIOWrapper:
            with contextlib.suppress(OSError, ValueError):  # closed, or exchanged below it
                stream.reconfigure(errors=HANDLER)
                setattr(sys, name, VisibleStream(stream))


def tell(text: str, stream: TextIO | None = None) -> None:
    """Print prose on standard output or another stream; a terminal gets it broken at words."""
    stream = stream or sys.stdout
    print(at_words(text, _columns(stream)) if stream.isatty() else text, file=stream)


def counted(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def some_of(names: Sequence[str], most: int) -> str:
    """Return the first names, and how many more there are: ``a, b and 3 more``."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def at_words(text: str, width: int) -> str:
    """Return prose in lines of at most ``width`` columns.

    Commands stay whole, so that they can be copied: in backquotes, and those of the next step.
    """
    return "\n".join(_at_words(line, width) for line in text.split("\n"))


def _at_words(line: str, width: int) -> str:
    if len(line) <= width or line.startswith("Next: "):
        return line
    whole = COMMAND.sub(lambda command: command[0].replace(" ", BLANK), line)
    margin = " " * (len(line) - len(line.lstrip()) + 2)
    lines = textwrap.wrap(
        whole, width, subsequent_indent=margin, break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(lines).replace(BLANK, " ")


def _columns(stream: TextIO) -> int:
    """Return the columns of the terminal behind a stream, or what ``COLUMNS`` says."""
    try:
        return int(os.environ.get("COLUMNS") or os.get_terminal_size(stream.fileno()).columns) or 80
    except (OSError, ValueError):  # no size is known
        return 80


def plain(text: str) -> str:
    r"""Return a text in ASCII: signs by signs alike, Greek letters by name, others as ``\xe9``."""
    return "".join(sign if sign.isascii() else _plain(sign) for sign in text)


def _plain(sign: str) -> str:
    if sign in SIGNS:
        return SIGNS[sign]
    if unicodedata.decomposition(sign).startswith("<"):  # raised, lowered, wide, one half
        alike = unicodedata.normalize("NFKD", sign).replace("\u2044", "/")
        if alike != sign:
            return plain(alike)
    name = unicodedata.name(sign, "")
    if name.startswith("GREEK") and "LETTER" in name:
        letter = name.rpartition("LETTER ")[2].replace("LAMDA", "LAMBDA").partition(" ")[0]
        return letter.lower() if "SMALL" in name else letter.capitalize()
    return sign.encode("ascii", "backslashreplace").decode()


def _handle(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return plain(error.object[error.start : error.end]), error.end


codecs.register_error(HANDLER, _handle)
