"""Every mode and depth that Pillow opens is converted to the right grey or colour, or refused."""

import io

import numpy as np
import pytest
from PIL import Image

from autods.encode.decode import FORMATS, Unreadable, load_image, to_rgb

MODES = (
    "1", "L", "P", "LA", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "I", "I;16", "I;16L",
    "I;16B", "F",
)  # fmt: skip
WHITE = 255


def stored(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"quality": 100} if kind in ("JPEG", "WEBP") else {}))
    return buffer.getvalue()


def halves(mode: str) -> Image.Image:
    """Return an image whose left half is black and whose right half is white."""
    grey = np.zeros((32, 32), np.uint8)
    grey[:, 16:] = WHITE
    if mode.startswith("I"):
        deep = grey.astype({"I": np.int32, "I;16B": ">u2"}.get(mode, "<u2")) * 257
        return Image.frombytes(mode, (32, 32), deep.tobytes())
    if mode == "F":
        return Image.fromarray(grey.astype(np.float32) / WHITE)
    image = Image.fromarray(grey)
    if mode == "PA":
        return image.convert("P").convert("PA")
    return image.convert("RGB").convert(mode) if mode in ("CMYK", "YCbCr", "LAB") else (
        image.convert(mode))  # fmt: skip


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("mode", MODES)
def test_black_stays_black_and_white_white_or_the_mode_is_refused(mode, kind):
    try:
        data = stored(halves(mode), kind)
    except (OSError, ValueError, KeyError):
        pytest.skip(f"Pillow writes no {mode} as {kind}")
    if kind in ("GIF", "WEBP") and (mode.startswith("I") or mode == "F"):
        pytest.skip("Pillow cuts such values when it writes")
    try:
        image, shown = load_image(data)
    except Unreadable as reason:
        assert mode in ("I", "F") and f"mode {mode}" in str(reason)
        assert kind in ("TIFF", "PPM") and "8 or 16 bits" in str(reason)
        return
    pixels = np.asarray(to_rgb(image)).astype(int)
    assert pixels.shape == (32, 32, 3), shown
    assert pixels[:, :12].max() <= 8 and pixels[:, 20:].min() >= WHITE - 8


@pytest.mark.parametrize(
    "values", [np.float32([0, 1]), np.int32([0, 2**31 - 1]), np.int32([-5, 9])]
)
def test_grey_values_without_a_range_are_refused_by_name(values):
    image = Image.fromarray(np.tile(values, (8, 4)))
    with pytest.raises(Unreadable, match=rf"mode {image.mode}.*8 or 16 bits"):
        load_image(stored(image, "TIFF"))
