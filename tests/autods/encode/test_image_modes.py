"""Every mode and depth that Pillow opens is converted to the right grey or colour, or refused."""

import io

import numpy as np
import pytest
from PIL import Image
from tiffs import ORDERS, tiff

from autods.encode.decode import FORMATS, Unreadable, _convertible, load_image, to_rgb

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
        assert mode in ("I", "F", "LAB") and f"mode {mode}" in str(reason)
        assert kind in ("TIFF", "PPM") and ("8 or 16 bits" in str(reason) or mode == "LAB")
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


BLACK_IS_ZERO, WHITE_IS_ZERO, RGB, CMYK, YCBCR, LAB = 1, 0, 2, 5, 6, 8
HALF = np.zeros((32, 32, 1), np.int64)
HALF[:, 16:] = 1


def colours(bits: int, channels: int, alpha: int = 0) -> np.ndarray:
    """Return black and white halves of so many channels, and opaque alpha."""
    full = 2**bits - 1
    return np.concatenate(
        [HALF.repeat(channels, 2) * full, np.full((32, 32, alpha), full, np.int64)], axis=2
    )


def kinds() -> dict[str, tuple]:
    """Return the arguments of `tiff` for every kind of pixels, and a word of the refusal if any."""
    found = {}
    for bits in (1, 2, 4, 8, 12, 16):
        found[f"grey {bits}"] = (colours(bits, 1), bits, BLACK_IS_ZERO), {}
        found[f"white is zero {bits}"] = (2**bits - 1 - colours(bits, 1), bits, WHITE_IS_ZERO), {}
    for bits in (8, 16):
        found[f"colours {bits}"] = (colours(bits, 3), bits, RGB), {}
        for extra in (0, 1, 2):
            more = {"extra": [extra]}
            found[f"colours {bits} alpha {extra}"] = (colours(bits, 3, 1), bits, RGB), more
            found[f"grey {bits} alpha {extra}"] = (colours(bits, 1, 1), bits, BLACK_IS_ZERO), more
        found[f"CMYK {bits}"] = (2**bits - 1 - colours(bits, 4), bits, CMYK), {}
    luma = np.concatenate([HALF * 255, np.full((32, 32, 2), 128)], axis=2)
    found["YCbCr"] = (luma, 8, YCBCR), {}
    found["LAB"] = (np.concatenate([HALF * 255, np.zeros((32, 32, 2), int)], axis=2), 8, LAB), {}
    found["signed 16"] = (HALF * 32767, 16, BLACK_IS_ZERO), {"sample_format": 2}
    found["signed 8"] = (HALF * 127, 8, BLACK_IS_ZERO), {"sample_format": 2}
    found["signed colours 8"] = (colours(7, 3), 8, RGB), {"sample_format": 2}
    for bits, form in ((32, 1), (32, 2), (32, 3), (64, 3)):
        what = (HALF * (1 if form == 3 else 2**31 - 1), bits, BLACK_IS_ZERO)
        found[f"deep {bits} {form}"] = what, {"sample_format": form}
    return found


# of these Pillow knows nothing, or not which value is white or what RGB is meant
REFUSED = {"LAB", "deep 32 1", "deep 32 2", "deep 32 3", "deep 64 3", "signed 16",
           "signed 8", "signed colours 8"}  # fmt: skip

# kinds and byte orders that Pillow cannot open
UNKNOWN = {
    ("grey 12", "MM"), ("white is zero 12", "II"), ("white is zero 12", "MM"),
    ("white is zero 16", "MM"),
    *((f"grey 16 alpha {extra}", order) for extra in (0, 1, 2) for order in ORDERS),
}  # fmt: skip


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", kinds())
def test_a_tiff_of_any_depth_and_colour_space_is_read_right_or_refused(kind, order):
    arguments, options = kinds()[kind]
    try:
        image, _ = load_image(tiff(*arguments, order, **options))
    except Unreadable as reason:
        assert "mode" in str(reason) or "a depth or colour space that Pillow" in str(reason)
        assert kind in REFUSED or (kind, order) in UNKNOWN
        return
    assert kind not in REFUSED
    pixels = np.asarray(to_rgb(image)).astype(int)
    assert pixels[:, :12].max() <= 8 and pixels[:, 20:].min() >= WHITE - 8


@pytest.mark.parametrize("mode", ["La", "RGBa", "HSV", "YCbCr", "CMYK", "LA", "PA"])
def test_every_mode_with_colours_that_pillow_holds_is_converted(mode):
    steps = {"La": ("LA", "La"), "RGBa": ("RGBA", "RGBa"), "PA": ("P", "PA")}.get(mode, (mode,))
    image = halves("L").convert("RGB")
    for step in steps:
        image = (image.convert("L") if step == "LA" else image).convert(step)
    pixels = np.asarray(to_rgb(_convertible(image))).astype(int)
    assert pixels[:, :12].max() <= 8 and pixels[:, 20:].min() >= WHITE - 8
