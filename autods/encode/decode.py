"""From the bytes of an image file to the encoder's input. No files, no containers.

Decoding is strict: what PIL cannot read to its end is unreadable, and says why.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import tempfile
import warnings
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

# The formats of layouts.base.IMAGE_SUFFIXES. A closed list: PIL would run external
# programs for others (EPS), and an archive's content is not ours.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")

# How images are decoded: as the published toolkits do; JPEG at reduced scale; JPEG on a GPU.
DECODINGS = ("reference", "draft", "gpu")

JPEG_END = b"\xff\xd9"
TAIL = 64  # bytes in which a JPEG file ends; some programs append a few
PLAIN_COLOURS = 0  # an Adobe transform: red, green and blue as they are
NARROWEST = 2000  # longer side over shorter: enlarged to 224 pixels, 300 MB are needed
LARGE = 1 << 25  # pixels, 100 MB as RGB; Pillow refuses more than 179 million
TIFF = (b"II*\0", b"MM\0*")  # the first bytes
BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF
SIGNED = 2  # a sample format
WHITE_IS_ZERO = 0  # a photometric interpretation
PLAIN = {"La": "LA", "RGBa": "RGBA"}  # modes with alpha multiplied into the colours
CONVERTIBLE = ("1", "L", "P", "LA", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV")


class Unreadable(Exception):
    """An image that cannot be decoded; the text is the reason, equal on every run."""


def content_hash(data: bytes) -> int:
    """Return the hash of an image file: first 8 bytes of its sha256, little endian."""
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "little")


def load_image(
    data: bytes, draft: tuple[int, int] | None = None, turns: ExitStack | None = None
) -> tuple[Image.Image, str]:
    """Decode an image file to its end; return the image and the mode it is stored in.

    Orientation tags are not applied and the first frame of an animation is taken, as
    open_clip does. Grey values of 9 to 16 bits are scaled to eight: PIL would cut them off at 255,
    which turns such images white. Those of 32 bits, signed or floating point are refused, as are
    colours that Pillow does not convert (LAB).
    With ``draft`` (width, height), JPEG files are decoded at the smallest scale of 1, 1/2, 1/4 or
    1/8 that leaves at least this size: faster for large images, and the pixels are others.
    With ``turns``, at most one of the processes of a machine has an image of more than `LARGE`
    pixels in memory, until the stack is closed.

    Raises `Unreadable` for truncated, damaged, empty or unknown files, and decompression bombs;
    not for want of memory, which is not the image's fault.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on metadata, one per image
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            if draft:
                image.draft(None, draft)
            if turns is not None and image.width * image.height > LARGE:
                _wait_for_turn(turns)
            image.load()
        return _convertible(_eight_bits(image)), image.mode
    except UnidentifiedImageError:
        raise Unreadable(f"the file {_unidentified(data)}") from None
    except MemoryError:
        raise
    except Exception as error:  # decoders raise errors of every class on damaged files
        text = re.sub(r" at 0x[0-9a-f]+", "", f"{error}") or type(error).__name__
        raise Unreadable(text.splitlines()[0][:200]) from None


def _wait_for_turn(turns: ExitStack) -> None:
    """Hold a lock of this user and machine until the stack is closed."""
    from filelock import FileLock

    user = os.getuid() if hasattr(os, "getuid") else 0
    lock = FileLock(Path(tempfile.gettempdir()) / f"autods-large-image-{user}.lock")
    with suppress(OSError):  # a temporary folder that cannot be written: no turns
        turns.enter_context(lock)


def is_plain_jpeg(data: bytes) -> bool:
    """Whether a file is a whole grey or colour JPEG, which a GPU decodes and resizes as PIL does.

    Of other files its decoder fills up what is missing at the end, or may take colours that are
    stored as red, green and blue for the usual ones.
    """
    if JPEG_END not in data[-TAIL:]:
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=("JPEG",))
    except Exception:  # `load_image` judges it
        return False
    if not isinstance(image, JpegImageFile):
        return False
    # Adobe's marker says how colours are stored; without one, the names of the components do
    named = bytes(component[0] for component in image.layer)
    as_they_are = image.info.get("adobe_transform") == PLAIN_COLOURS or named == b"RGB"
    fits = image.mode == "L" or (image.mode == "RGB" and not as_they_are)
    return fits and not is_too_narrow(image)


def is_too_narrow(image: Image.Image) -> bool:
    """Whether an image is so narrow that its enlarged form could take all memory."""
    return max(image.size) > NARROWEST * min(image.size)


def to_rgb(image: Image.Image) -> Image.Image:
    """Return an image of `load_image` as RGB; alpha is dropped, as the reference encoders do."""
    if image.mode == "RGB":
        return image
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on palettes with transparency, one per image
        return image.convert("RGB")


def _unidentified(data: bytes) -> str:
    if not data:
        return "is empty"
    if data.startswith(TIFF):
        return "is a TIFF of a depth or colour space that Pillow does not read, or is damaged"
    return "is not an image of a known format, or its head is damaged"


def _convertible(image: Image.Image) -> Image.Image:
    """Return an image in a mode that every encoder's conversion to RGB takes, or refuse it."""
    image = image.convert(PLAIN[image.mode]) if image.mode in PLAIN else image
    if image.mode not in CONVERTIBLE:
        raise Unreadable(f"colours of mode {image.mode} are not supported; convert it to RGB")
    return image


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale grey values of 9 to 16 bits to 8, and refuse those without a known range."""
    if image.mode == "F" or (image.mode == "I" and _bits(image) > 16):
        kind = "floating-point" if image.mode == "F" else "32-bit"
        raise Unreadable(
            f"{kind} grey values (mode {image.mode}) do not say which of them is white; convert "
            "the image to 8 or 16 bits"
        )
    is_signed = SIGNED in getattr(image, "tag_v2", {}).get(SAMPLE_FORMAT, ())
    if not image.mode.startswith("I") and not is_signed:
        return image
    values = np.asarray(image)  # int32 or uint16
    if is_signed or (values.size and values.min() < 0):
        raise Unreadable(
            f"signed values (mode {image.mode}) do not say which of them is black; convert the "
            "image to 8 or 16 bits without a sign"
        )
    bits = _bits(image)
    grey = np.empty(values.shape, np.uint8)
    for row, line in enumerate(values):  # by rows: copies of the whole would be four times as large
        grey[row] = line.astype(np.int64).clip(0, 2**bits - 1) >> (bits - 8)
    tags = getattr(image, "tag_v2", {})  # Pillow inverts those of 8 bits only
    return Image.fromarray(~grey if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO else grey)


def _bits(image: Image.Image) -> int:
    """Return the bits of a deep grey value: those of a TIFF file's tag; PIL scales others to 16."""
    tags = getattr(image, "tag_v2", None)
    return 16 if tags is None else int(tags.get(BITS_PER_SAMPLE, (1,))[0])
