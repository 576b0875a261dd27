"""Draw the demo's image datasets: one folder per class, PNG files, seeded.

digits    scikit-learn's real handwritten digits (8 x 8, from UCI)
shapes    filled polygons and ellipses on noise
glyphs    letters in random size, place and shade
textures  procedural patterns: stripes, checks, dots, rings, noise, gradients
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIZE = 64
PER_CLASS = 12
Draw = Callable[[np.random.Generator], Image.Image]


def digits() -> dict[str, list[Image.Image]]:
    from sklearn.datasets import load_digits

    data = load_digits()
    images = {}
    for digit in range(10):
        chosen = data.images[data.target == digit][:PER_CLASS]
        images[str(digit)] = [
            Image.fromarray((image * (255 / 16)).astype(np.uint8)) for image in chosen
        ]
    return images


def background(rng: np.random.Generator) -> Image.Image:
    shade = rng.integers(0, 120, 3)
    noise = rng.integers(0, 40, (SIZE, SIZE, 3))
    return Image.fromarray((shade + noise).astype(np.uint8))


def shape(corners: int) -> Draw:
    """Return a drawer of regular polygons; 0 corners: an ellipse."""

    def draw(rng: np.random.Generator) -> Image.Image:
        image = background(rng)
        x, y = rng.uniform(24, 40, 2)
        radius, turn = rng.uniform(12, 22), rng.uniform(0, 2 * math.pi)
        colour = tuple(int(c) for c in rng.integers(140, 256, 3))
        pen = ImageDraw.Draw(image)
        if corners == 0:
            pen.ellipse([x - radius, y - 0.7 * radius, x + radius, y + 0.7 * radius], fill=colour)
        else:
            angles = [turn + 2 * math.pi * i / corners for i in range(corners)]
            pen.polygon(
                [(x + radius * math.cos(a), y + radius * math.sin(a)) for a in angles], fill=colour
            )
        return image

    return draw


def glyph(letter: str) -> Draw:
    def draw(rng: np.random.Generator) -> Image.Image:
        image = background(rng)
        font = ImageFont.load_default(size=float(rng.uniform(28, 48)))
        place = tuple(rng.uniform(6, 18, 2))
        shade = tuple(int(c) for c in rng.integers(160, 256, 3))
        ImageDraw.Draw(image).text(place, letter, font=font, fill=shade)
        return image

    return draw


def texture(value: Callable[[np.ndarray, np.ndarray, float], np.ndarray]) -> Draw:
    """Return a drawer of a pattern: value(x, y, period) in -1 ... 1, coloured at random."""

    def draw(rng: np.random.Generator) -> Image.Image:
        y, x = np.mgrid[:SIZE, :SIZE] + rng.uniform(0, 16, (2, 1, 1))
        mix = (value(x, y, rng.uniform(6, 14)) + 1)[..., None] / 2
        dark, light = rng.integers(0, 110, 3), rng.integers(146, 256, 3)
        noise = rng.normal(0, 6, (SIZE, SIZE, 1))
        return Image.fromarray(np.clip(dark + mix * (light - dark) + noise, 0, 255).astype("u1"))

    return draw


SHAPES = {"ellipse": 0, "triangle": 3, "square": 4, "pentagon": 5, "hexagon": 6}
TEXTURES = {
    "stripes": lambda x, y, p: np.sign(np.sin(2 * np.pi * x / p)),
    "checks": lambda x, y, p: np.sign(np.sin(2 * np.pi * x / p) * np.sin(2 * np.pi * y / p)),
    "dots": lambda x, y, p: np.where(np.hypot(x % p - p / 2, y % p - p / 2) < 0.3 * p, 1.0, -1.0),
    "rings": lambda x, y, p: np.sin(2 * np.pi * np.hypot(x - 32, y - 32) / p),
    "waves": lambda x, y, p: np.sin(2 * np.pi * (x + 4 * np.sin(y / 5)) / p),
    "ramp": lambda x, y, p: (x + y) / SIZE - 1,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    drawers: dict[str, dict[str, Draw]] = {
        "shapes": {name: shape(corners) for name, corners in SHAPES.items()},
        "glyphs": {letter: glyph(letter) for letter in "ABEFKMRSXZ"},
        "textures": {name: texture(value) for name, value in TEXTURES.items()},
    }
    rng = np.random.default_rng(0)
    datasets = {"digits": digits()} | {
        name: {label: [draw(rng) for _ in range(PER_CLASS)] for label, draw in classes.items()}
        for name, classes in drawers.items()
    }
    for name, classes in datasets.items():
        for label, images in classes.items():
            target = folder / name / label
            target.mkdir(parents=True, exist_ok=True)
            for number, image in enumerate(images):
                image.save(target / f"{number:02d}.png")
        print(f"{name}: {len(classes)} classes, {sum(map(len, classes.values()))} images")


if __name__ == "__main__":
    main()
