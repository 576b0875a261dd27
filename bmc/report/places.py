"""Places for the names of points in a drawing, so that none covers another or a point."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from bmc.report import svg

Box = tuple[float, float, float, float]  # left, top, right, bottom
Spot = tuple[float, float]

LETTER = 7.7  # pixels, the width of most letters of 12 px text in a wide font
WIDE, NARROW = (11.8, "mwMW%@"), (5.0, " iljtfrI.,:;()'-")  # and of those that differ most
LIMIT = 40  # characters of a name
POINT = 8.0  # half a marker with some air
RINGS = (0, 14, 28)  # pixels by which a name moves away from its point
NEAR = 10.0  # pixels from which on a line leads back to the point


class Place(NamedTuple):
    """Where the name of a point stands, and the line that leads back to it, if one is needed."""

    name: str
    box: Box
    leader: tuple[Spot, Spot] | None


def place_names(
    spots: Sequence[Spot],
    names: Sequence[str],
    first: Sequence[int],
    line: Sequence[Spot],
    area: Box,
) -> str:
    """Draw names beside their points as SVG; arguments as of `choose_places`."""
    drawn = ""
    for place in choose_places(spots, names, first, line, area):
        if place.leader:
            drawn += svg.line(*place.leader[0], *place.leader[1], "leader")
        drawn += svg.text(place.box[0], place.box[3] - 3, place.name)
    return drawn


def choose_places(
    spots: Sequence[Spot],
    names: Sequence[str],
    first: Sequence[int],
    line: Sequence[Spot],
    area: Box,
    point: float = POINT,
) -> list[Place]:
    """Find places for names beside their points; where none is free, a name is left out.

    Parameters
    ----------
    spots, names
        Points, in pixels with y downwards, and their names in text of 12 pixels.
    first
        Indices of the points in the order in which they choose places.
    line
        Corners of a line that names keep off where they can.
    area
        Left, right, top and bottom edges that names stay within.
    point
        Half a marker with some air.
    """
    taken = [(x - point, y - point, x + point, y + point) for x, y in spots]
    along = [(x - 2, y - 2, x + 2, y + 2) for x, y in _sampled(line)]
    chosen = []
    for index in first:
        name = names[index]
        name = name if len(name) <= LIMIT else name[: LIMIT - 1].rstrip() + "…"
        best = min(
            (
                (sum(_overlap(box, other) for other in along) + 0.4 * away, number, box, away)
                for number, (box, away) in enumerate(_candidates(spots[index], name))
                if _inside(box, area)
                and not any(_overlap(box, other) for other in taken)
                and not _crosses(spots[index], box, away, taken, point)
            ),
            default=None,
        )
        if best is None:
            continue
        _, _, box, away = best
        taken.append(box)
        leader = (spots[index], _end(spots[index], box)) if away > NEAR else None
        chosen.append(Place(name, box, leader))
    return chosen


def text_width(text: str) -> float:
    """Estimate the pixels that 12 px text takes, rather too many than too few."""
    widths = {letter: width for width, letters in (WIDE, NARROW) for letter in letters}
    return sum(widths.get(letter, LETTER) for letter in text)


def _end(spot: Spot, box: Box) -> Spot:
    """Return where the line from a point to a name above or below it ends."""
    return min(max(spot[0], box[0]), box[2]), box[3] if box[3] < spot[1] else box[1]


def _crosses(spot: Spot, box: Box, away: float, taken: Sequence[Box], point: float) -> bool:
    """Tell whether the line to a name would touch another point or name."""
    if away <= NEAR:
        return False
    own = (spot[0] - point, spot[1] - point, spot[0] + point, spot[1] + point)
    others = [other for other in taken if other != own]
    return any(
        _overlap((x - 1, y - 1, x + 1, y + 1), other)
        for x, y in _sampled([spot, _end(spot, box)])
        for other in others
    )


def _candidates(spot: Spot, name: str) -> Iterator[tuple[Box, float]]:
    """Yield boxes for a name around its point, near ones first, and how far each is away."""
    x, y = spot
    long = text_width(name)
    for away in RINGS:
        level = [(x + 10, y - 7), (x - 10 - long, y - 7)] if away == 0 else []
        shifts = (-0.5, -0.15, -0.85, 0.05, -1.05)
        above = [(x + s * long, y - 22 - away) for s in shifts]
        below = [(x + s * long, y + 9 + away) for s in shifts]
        for left, top in [*level, *above, *below]:
            yield (left, top, left + long, top + 14), float(away)


def _sampled(line: Sequence[Spot], every: float = 5.0) -> Iterator[Spot]:
    for (x1, y1), (x2, y2) in pairwise(line):
        steps = max(1, round(max(abs(x2 - x1), abs(y2 - y1)) / every))
        for k in range(steps + 1):
            yield x1 + (x2 - x1) * k / steps, y1 + (y2 - y1) * k / steps


def _inside(box: Box, area: Box) -> bool:
    left, right, top, bottom = area
    return left <= box[0] and box[2] <= right and top <= box[1] and box[3] <= bottom


def _overlap(a: Box, b: Box) -> float:
    """Return the common area of two boxes."""
    wide = min(a[2], b[2]) - max(a[0], b[0])
    high = min(a[3], b[3]) - max(a[1], b[1])
    return max(0.0, wide) * max(0.0, high)
