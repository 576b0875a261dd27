"""Inline SVG without a plotting library: frames with axes, markers, text.

Colours are classes (``m0 ... m7`` for methods, ``h0 ... h9`` for accuracy levels) that
the page's style sheet resolves, so one drawing serves light, dark and print.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

STYLES = 8  # distinct colours; beyond them marker and dash pattern tell methods apart
MARKERS = 5


def number(value: float) -> str:
    """Format a coordinate: at most one decimal, no trailing zero."""
    text = f"{value:.1f}"
    return text.removesuffix(".0") if text != "-0.0" else "0"


def style_class(style: int, reference: bool) -> str:
    """Return the style sheet classes of a method."""
    return "ref" if reference else f"m{style % STYLES} d{style % MARKERS}"


def text(x: float, y: float, content: str, anchor: str = "start", cls: str = "") -> str:
    """Draw one line of text; ``anchor`` is start, middle or end."""
    attributes = "" if anchor == "start" else f' text-anchor="{anchor}"'
    attributes += f' class="{cls}"' if cls else ""
    return f'<text x="{number(x)}" y="{number(y)}"{attributes}>{escape(content)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, cls: str) -> str:
    """Draw a straight line."""
    ends = f'x1="{number(x1)}" y1="{number(y1)}" x2="{number(x2)}" y2="{number(y2)}"'
    return f'<line {ends} class="{cls}"/>'


def rect(x: float, y: float, width: float, height: float, cls: str, *, tip: str = "") -> str:
    """Draw a rectangle, with a tooltip if one is given."""
    box = f'x="{number(x)}" y="{number(y)}" width="{number(width)}" height="{number(height)}"'
    return f'<rect {box} class="{cls}"><title>{escape(tip)}</title></rect>' if tip else (
        f'<rect {box} class="{cls}"/>'
    )  # fmt: skip


def points(pairs: Iterable[tuple[float, float]]) -> str:
    """Write coordinates as the ``points`` attribute wants them."""
    return " ".join(f"{number(x)},{number(y)}" for x, y in pairs)


def marker(style: int, x: float, y: float, cls: str, *, radius: float = 4.5, tip: str = "") -> str:
    """Draw the marker of a method: circle, square, triangle, diamond or inverted triangle."""
    r = radius
    corners = [
        [],
        [(-r, -r), (r, -r), (r, r), (-r, r)],
        [(0, -1.2 * r), (1.15 * r, r), (-1.15 * r, r)],
        [(0, -1.35 * r), (1.35 * r, 0), (0, 1.35 * r), (-1.35 * r, 0)],
        [(0, 1.2 * r), (1.15 * r, -r), (-1.15 * r, -r)],
    ][style % MARKERS]
    title = f"<title>{escape(tip)}</title>" if tip else ""
    if not corners:
        circle = f'cx="{number(x)}" cy="{number(y)}" r="{number(r)}"'
        return f'<circle {circle} class="{cls}">{title}</circle>'
    at = points((x + dx, y + dy) for dx, dy in corners)
    return f'<polygon points="{at}" class="{cls}">{title}</polygon>'


def figure(width: float, height: float, label: str, parts: Iterable[str], cls: str = "") -> Markup:
    """Wrap drawn parts into an image that a screen reader reads as ``label``."""
    body = "\n".join(part for part in parts if part)
    size = f'viewBox="0 0 {number(width)} {number(height)}" style="max-width:{number(width)}px"'
    # Every string that came from outside was escaped where it was drawn.
    name = f'role="img" aria-label="{escape(label)}"'
    return Markup(f'<svg {size} class="{cls}" {name}>\n{body}\n</svg>')


@dataclass(frozen=True)
class Frame:
    """A plotting area in pixels and the data range that it shows.

    ``log`` spreads x by its logarithm.
    """

    left: float
    top: float
    right: float
    bottom: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    log: bool = False

    def x(self, value: float) -> float:
        """Return the pixel column of a data value."""
        low, high = self.x_range
        if self.log:
            value, low, high = math.log(value), math.log(low), math.log(high)
        return self.left + (value - low) / (high - low) * (self.right - self.left)

    def y(self, value: float) -> float:
        """Return the pixel row of a data value."""
        low, high = self.y_range
        return self.bottom - (value - low) / (high - low) * (self.bottom - self.top)

    def y_axis(self, ticks: Sequence[float], suffix: str = "") -> str:
        """Draw horizontal grid lines with their values at the left."""
        return "".join(
            line(self.left, self.y(t), self.right, self.y(t), "zero" if t == 0 else "grid")
            + text(self.left - 6, self.y(t) + 4, f"{t:g}{suffix}", "end", "tick")
            for t in ticks
        )

    def x_axis(self, ticks: Sequence[tuple[float, str]], title: str) -> str:
        """Draw tick labels below the frame and the axis title below them."""
        labels = (text(self.x(v), self.bottom + 16, label, "middle", "tick") for v, label in ticks)
        middle = (self.left + self.right) / 2
        return "".join(labels) + text(middle, self.bottom + 33, title, "middle", "axis")


def count_ticks(total: int) -> list[int]:
    """Choose whole numbers from 1 to ``total`` to label, at most nine, ends included."""
    if total <= 8:
        return list(range(1, total + 1))
    step = next(s * 10**e for e in range(9) for s in (1, 2, 5) if total / (s * 10**e) <= 8)
    inner = [t for t in range(step, total, step) if total - t > step / 2]
    return [1, *(t for t in inner if t > 1 + step / 3), total]


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move label positions apart to at least ``gap``, staying near and within bounds."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    placed: list[float] = []
    for i in order:
        placed.append(max(wanted[i], placed[-1] + gap) if placed else max(wanted[i], low))
    limit = high
    for k in range(len(placed) - 1, -1, -1):
        placed[k] = min(placed[k], limit)
        limit = placed[k] - gap
    result = [0.0] * len(wanted)
    for k, i in enumerate(order):
        result[i] = placed[k]
    return result
