"""The picture of a package's rooms: boxes in layers, and arrows computed from the imports."""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from html import escape
from pathlib import Path
from textwrap import wrap

REPOSITORY = Path(__file__).resolve().parents[2]
WIDTH, HEIGHT, GAP_X, GAP_Y = 240, 68, 32, 36  # pixels
LETTERS = 40  # in a line of a box
Arrows = dict[str, set[str]]


def rooms(package: Path) -> dict[str, str]:
    """Return the folders and modules at the top of a package, and the first line about each."""
    found = {}
    for path in sorted(package.iterdir()):
        source = path / "__init__.py" if path.is_dir() else path
        if source.suffix == ".py" and source.exists() and path.stem != "__init__":
            text = ast.get_docstring(ast.parse(source.read_text("utf-8"))) or ""
            found[path.stem] = text.split("\n\n")[0].replace("\n", " ").replace("`", "")
    return found


def imports(package: Path) -> Arrows:
    """Return which rooms each room imports; deferred and type-only imports count."""
    known, arrows = rooms(package), defaultdict(set)
    for path in sorted(package.rglob("*.py")):
        room = path.relative_to(package).parts[0].removesuffix(".py")
        if room not in known:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            for name in names:
                top, _, rest = name.partition(".")
                other = rest.partition(".")[0]
                if top == package.name and other in known and other != room:
                    arrows[room].add(other)
    return {room: arrows[room] for room in known}


def layers(arrows: Arrows) -> list[list[str]]:
    """Return the rooms in layers, the lowest first: each room is above those that it imports."""
    level: dict[str, int] = {}

    def place(room: str, above: tuple[str, ...] = ()) -> int:
        if room not in level:
            below = arrows[room] - {room, *above}  # a circle is cut where it closes
            level[room] = 1 + max((place(other, (*above, room)) for other in below), default=-1)
        return level[room]

    rows: dict[int, list[str]] = defaultdict(list)
    for room in sorted(arrows):
        rows[place(room)].append(room)
    return [rows[number] for number in sorted(rows)]


def direct(arrows: Arrows) -> Arrows:
    """Leave out the arrows that others imply."""

    def below(room: str, seen: set[str]) -> set[str]:
        for other in arrows[room] - seen:
            seen.add(other)
            below(other, seen)
        return seen

    return {
        room: {o for o in others if not any(o in below(p, {room}) for p in others - {o})}
        for room, others in arrows.items()
    }


def drawing(package: Path) -> str:
    """Return the picture as SVG; an arrow that points upwards is red and dashed."""
    texts, arrows = rooms(package), imports(package)
    rows = layers(arrows)
    widest = max(map(len, rows))
    spots = {}
    for number, row in enumerate(rows):
        left = (widest - len(row)) * (WIDTH + GAP_X) / 2
        for column, room in enumerate(row):
            spots[room] = (
                GAP_X + left + column * (WIDTH + GAP_X),
                GAP_X + (len(rows) - 1 - number) * (HEIGHT + GAP_Y),
            )
    centre = (widest * (WIDTH + GAP_X) + GAP_X - WIDTH) / 2
    lines = [
        _arrow(spots[room], spots[other], centre)
        for room, others in direct(arrows).items()
        for other in others
    ]
    boxes = [_box(room, texts[room], *spots[room]) for room in spots]
    size = (GAP_X + widest * (WIDTH + GAP_X), 2 * GAP_X + len(rows) * (HEIGHT + GAP_Y) - GAP_Y)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size[0]} {size[1]}" '
            f'width="{size[0]}" font-family="sans-serif" role="img">',
            f"<title>The rooms of {package.name} and what they import</title>",
            '<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" '
            'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="#888"/></marker></defs>',
            *sorted(lines),
            *boxes,
            "</svg>",
        ]
    )


def _box(room: str, text: str, x: float, y: float) -> str:
    lines = wrap(text, LETTERS, max_lines=3, placeholder=" ...")
    return (
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6" fill="#f4f6fb" '
        f'stroke="#5c6bc0"/><text x="{x + 10}" y="{y + 19}" font-size="15" font-weight="bold" '
        f'fill="#1a237e">{room}</text>'
    ) + "".join(
        f'<text x="{x + 10}" y="{y + 34 + 13 * number}" font-size="11" fill="#333">'
        f"{escape(line)}</text>"
        for number, line in enumerate(lines)
    )


def _arrow(upper: tuple[float, float], lower: tuple[float, float], centre: float) -> str:
    """Return an arrow that passes the layers between beside their boxes, away from the centre."""
    (x, y), (to_x, to_y) = upper, lower
    look = 'stroke="#888"' if to_y > y else 'stroke="#d32f2f" stroke-dasharray="5 3"'
    aside = max(x, to_x, key=lambda value: abs(value - centre)) + WIDTH / 2
    x, to_x, top, end = x + WIDTH / 2, to_x + WIDTH / 2, y + HEIGHT, to_y
    half = GAP_Y / 2
    path = f"M{x} {top}C{x} {top + half} "
    if end - top != GAP_Y:  # not the next layer
        path += f"{aside} {top + half} {aside} {top + GAP_Y}L{aside} {end - GAP_Y}C{aside} "
        path += f"{end - half} "
    path += f"{to_x} {end - half} {to_x} {end}"
    return f'<path d="{path}" fill="none" {look} marker-end="url(#head)"/>'


if __name__ == "__main__":
    print(drawing(REPOSITORY / sys.argv[1]))
