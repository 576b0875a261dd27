"""A map of features as a page, with names and thumbnails under the pointer, and as a picture."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from autods.checks.feature_map import FeatureMap
from autods.checks.near import Joined
from autods.core.files import atomic
from autods.core.root import DataRoot
from autods.errors import UsageError
from autods.features.sets import StoredFeatures
from autods.pages.contact_sheet import ENDINGS, colour_of, fitting, font
from autods.pages.page import write_page
from autods.pages.palette import COLOURS
from autods.pages.thumbnails import QUALITY, Pictures, shrunk

WIDTH, HEIGHT, MARGIN = 1000, 700, 20  # of the drawing
SHAPES = 5  # circle, square, triangle, diamond, cross
TOLD = COLOURS * SHAPES  # groups of the legend; more share looks
SIDE, ACROSS = 48, 25  # pixels of a thumbnail, thumbnails of a line of the sheet
THUMBNAILS = 1000  # points that have one
SHARPER = 2  # pixels a pixel of the picture is drawn with
LEGEND = 230  # pixels of the picture's legend


def write_map(
    out: Path,
    root: DataRoot,
    sets: Sequence[StoredFeatures],
    found: FeatureMap,
    command: str = "",
) -> Path:
    """Write a map as ``.html`` or ``.png``; raises `UsageError` for another ending."""
    ending = out.suffix.lower()
    if ending not in ENDINGS:
        raise UsageError(f"{out}: expected a name that ends in .html or .png; nothing was written.")
    if ending == ".png":
        with atomic(out) as temporary:
            draw(found).save(temporary, "PNG", optimize=True)
        return out
    names, sheet, shown = _images(root, sets, found)
    looks = [look(number) for number in range(len(found.groups))]
    counts = np.bincount(found.group, minlength=len(found.groups))
    legend = [
        {"name": found.groups[i], "count": int(counts[i]), "number": i, "look": looks[i]}
        for i in np.flatnonzero(counts).tolist()
    ]
    places = _places(found)
    points = [
        {
            "x": x,
            "y": y,
            "group": group,
            "look": looks[group],
            "name": names[i],
            "place": shown.get(i),
        }
        for i, ((x, y), group) in enumerate(zip(places, found.group.tolist(), strict=True))
    ]
    return write_page(
        out,
        "map.html.jinja",
        "a page of a map",
        title=f"Map of {found.title}",
        command=command,
        found=found,
        points=points,
        legend=legend[:TOLD],
        more=max(0, len(legend) - TOLD),
        width=WIDTH,
        height=HEIGHT,
        sheet=sheet,
        side=SIDE,
        across=ACROSS,
    )


def look(number: int) -> tuple[int, int]:
    """Return colour and shape of a group."""
    return number % COLOURS, number // COLOURS % SHAPES


def _places(found: FeatureMap) -> list[tuple[float, float]]:
    """Scale the points to the drawing, both axes alike, y upwards."""
    low, high = found.xy.min(axis=0), found.xy.max(axis=0)
    space = np.array([WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN])
    scale = float((space / np.maximum(high - low, 1e-9)).min())
    centred = (found.xy - (low + high) / 2) * scale
    return [(round(WIDTH / 2 + x, 1), round(HEIGHT / 2 - y, 1)) for x, y in centred.tolist()]


def _images(
    root: DataRoot, sets: Sequence[StoredFeatures], found: FeatureMap
) -> tuple[list[str], str, dict[int, int]]:
    """Return a name of each point, a sheet of thumbnails, and point to place on the sheet."""
    table = Joined(sets)
    owner = table.set_of(found.rows)
    pictures = [Pictures(root, stored.dataset, stored) for stored in sets]
    samples = [np.concatenate([shard.sample for shard in stored.shards]) for stored in sets]
    generator = np.random.Generator(np.random.PCG64(0))
    chosen = set(generator.permutation(len(found.rows))[:THUMBNAILS].tolist())
    names: list[str] = []
    small: list[Image.Image] = []
    shown: dict[int, int] = {}
    for point, (row, number) in enumerate(zip(found.rows.tolist(), owner.tolist(), strict=True)):
        sample = int(samples[number][row - table.starts[number]])
        path = pictures[number].path(sample) or f"{sets[number].dataset} sample {sample}"
        names.append(f"{found.groups[int(found.group[point])]}\n{path}")
        image = pictures[number].image(sample) if point in chosen else ""
        if not isinstance(image, str):
            shown[point] = len(small)
            small.append(shrunk(image, SIDE))
    for one in pictures:
        one.close()
    return names, _sheet(small), shown


def _sheet(small: Sequence[Image.Image]) -> str:
    if not small:
        return ""
    lines = -(-len(small) // ACROSS)
    sheet = Image.new("RGB", (ACROSS * SIDE, lines * SIDE), "white")
    for place, image in enumerate(small):
        line, column = divmod(place, ACROSS)
        left, top = column * SIDE + (SIDE - image.width) // 2, line * SIDE
        sheet.paste(image, (left, top + (SIDE - image.height) // 2))
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def draw(found: FeatureMap) -> Image.Image:
    """Draw a map with its legend as one picture."""
    size = SHARPER * (WIDTH + LEGEND), SHARPER * (HEIGHT + 40)
    picture = Image.new("RGB", size, colour_of("ground"))
    pen = ImageDraw.Draw(picture)
    for (x, y), group in zip(_places(found), found.group.tolist(), strict=True):
        _mark(pen, x, y + 40, group, 3.5)
    numbers = [i for i in range(len(found.groups)) if (found.group == i).any()]
    lines = (HEIGHT - 20) // 22
    for place, number in enumerate(numbers[:lines]):
        y = 60 + 22 * place
        _mark(pen, WIDTH + 14, y, number, 5)
        _write(pen, WIDTH + 28, y - 9, found.groups[number], 14, LEGEND - 36)
    _write(pen, 10, 8, f"Map of {found.title}: {caption(found)}", 18, WIDTH + LEGEND - 20)
    if len(numbers) > lines:
        _write(pen, WIDTH + 28, HEIGHT + 16, f"{len(numbers) - lines:,} more", 13, LEGEND)
    return picture.resize((size[0] // SHARPER, size[1] // SHARPER), Image.Resampling.LANCZOS)


def caption(found: FeatureMap) -> str:
    """Say what the axes are, in some words."""
    if found.explained is None:
        return f"UMAP of {found.encoder}"
    return f"two principal components of {found.encoder}, {found.explained:.0%} of the variance"


def _write(pen: ImageDraw.ImageDraw, x: int, y: int, text: str, size: int, width: int) -> None:
    shown = fitting(text, SHARPER * size, SHARPER * width)
    at = SHARPER * x, SHARPER * y
    pen.text(at, shown, colour_of("ink"), font(SHARPER * size))


def _mark(pen: ImageDraw.ImageDraw, x: float, y: float, group: int, radius: float) -> None:
    colour, shape = look(group)
    x, y, r = SHARPER * x, SHARPER * y, SHARPER * radius
    fill: dict[str, Any] = {"fill": colour_of(f"m{colour}")}
    if shape == 0:
        pen.ellipse((x - r, y - r, x + r, y + r), **fill)
    elif shape == 1:
        pen.rectangle((x - r, y - r, x + r, y + r), **fill)
    elif shape == 2:
        pen.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], **fill)
    elif shape == 3:
        pen.polygon([(x, y - r), (x - r, y), (x, y + r), (x + r, y)], **fill)
    else:
        pen.line((x - r, y, x + r, y), width=round(r), **fill)
        pen.line((x, y - r, x, y + r), width=round(r), **fill)
