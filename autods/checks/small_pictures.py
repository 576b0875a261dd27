"""Small versions of images, whose edges reveal copies: no files, no features."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from autods.encode.decode import to_rgb

SIDE, TINTS = 16, 4  # 16 x 16 of luma, 4 x 4 of each chroma
LEVELS = SIDE**2 + 2 * TINTS**2
EDGES = 2 * SIDE * (SIDE - 1) + 4 * TINTS * (TINTS - 1)
FLAT = 2.0  # grey levels of standard deviation below which a picture shows nothing

Levels = npt.NDArray[np.uint8]


def small_picture(image: Image.Image) -> Levels:
    """Return luma and chroma of a decoded image, uint8 [288].

    Zeros, which no image has, stand for one that shows nothing: of fewer pixels than a small
    picture on a side, or of one grey level.
    """
    if min(image.size) < SIDE:
        return np.zeros(LEVELS, np.uint8)
    if image.mode not in ("L", "RGB"):
        image = to_rgb(image)
    small = to_rgb(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=3.0))
    luma, *chroma = small.convert("YCbCr").split()
    tints = (band.resize((TINTS, TINTS), Image.Resampling.BOX) for band in chroma)
    levels = np.concatenate([np.asarray(band).ravel() for band in (luma, *tints)])
    return levels if levels[: SIDE**2].std() >= FLAT else np.zeros_like(levels)


def edges(levels: Levels, mirror: bool = False) -> npt.NDArray[np.float32]:
    """Return the differences of neighbours in small pictures: float32 [n, 528], of length 1.

    Products of two rows are correlations of edges. Levels themselves would correlate for any two
    smooth pictures. ``mirror`` is of the pictures mirrored; zeros stay zeros.
    """
    count = len(levels)
    luma = levels[:, : SIDE**2].reshape(count, 1, SIDE, SIDE)
    tints = levels[:, SIDE**2 :].reshape(count, 2, TINTS, TINTS)
    weight = (SIDE / TINTS) ** 0.5  # a border between two places of chroma is four of luma long
    out, start = np.empty((count, EDGES), np.float32), 0
    for bands, scale in ((luma, 1), (tints, weight)):
        shown = bands[..., ::-1] if mirror else bands
        for axis in (2, 3):
            steps = np.diff(shown.astype(np.int16), axis=axis).reshape(count, -1)
            np.multiply(steps, scale, out=out[:, start : start + steps.shape[1]])
            start += steps.shape[1]
    length = np.sqrt(np.einsum("nd,nd->n", out, out))[:, None]
    out /= np.where(length > 0, length, 1)
    return out
