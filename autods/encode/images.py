"""From the bytes of an image file to the encoder's input. No files, no containers.

Decoding is strict: what PIL cannot read to its end is unreadable, and says why.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

# The formats of layouts.base.IMAGE_SUFFIXES. A closed list: PIL would run external
# programs for others (EPS), and an archive's content is not ours.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")

Pixels = npt.NDArray[np.float32]


class Unreadable(Exception):
    """An image that cannot be decoded; the text is the reason, equal on every run."""


def content_hash(data: bytes) -> int:
    """Return the hash of an image file: first 8 bytes of its sha256, little endian."""
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "little")


def decode(data: bytes, transform: Callable[[Image.Image], object]) -> Pixels:
    """Decode an image file and apply an encoder's preprocessing.

    Orientation tags are not applied, transparency is dropped and the first frame of an
    animation is taken, as open_clip does. Sixteen-bit grey values are scaled to eight
    bits first: PIL would cut them off at 255, which turns such images white.

    Parameters
    ----------
    data
        The encoded file (JPEG, PNG ...).
    transform
        PIL image to float32 tensor [3, h, w].

    Returns
    -------
    float32 [3, h, w].

    Raises
    ------
    Unreadable
        For truncated, damaged, empty or unknown files, and decompression bombs. Not for want
        of memory, and not for errors of ``transform``: they are not the image's fault.
    """
    image, _ = load_image(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(transform(image), dtype=np.float32)


def load_image(data: bytes) -> tuple[Image.Image, str]:
    """Decode an image file to its end; return the image and the mode it is stored in.

    This is all of `decode` but the preprocessing.

    Raises
    ------
    Unreadable
        As `decode` does.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on metadata, one per image
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            image.load()
        return _eight_bits(image), image.mode
    except UnidentifiedImageError:
        what = (
            "is empty" if not data else "is not an image of a known format, or its head is damaged"
        )
        raise Unreadable(f"the file {what}") from None
    except MemoryError:
        raise
    except Exception as error:  # decoders raise errors of every class on damaged files
        text = re.sub(r" at 0x[0-9a-f]+", "", f"{error}") or type(error).__name__
        raise Unreadable(text.splitlines()[0][:200]) from None


def _eight_bits(image: Image.Image) -> Image.Image:
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.int64).clip(0, 65535)
    return Image.fromarray((values >> 8).astype(np.uint8))
