"""The kinds of images that their first bytes show."""

from __future__ import annotations

import re

ENOUGH = 16  # bytes that show every kind
_SIGNS = (
    ("jpg", rb"\xff\xd8\xff"),
    ("png", rb"\x89PNG\r\n"),
    ("gif", rb"GIF8[79]a"),
    ("bmp", rb"BM.{4}\0{4}"),
    ("webp", rb"RIFF.{4}WEBP"),
    ("tif", rb"II\*\0|MM\0\*"),
    ("ppm", rb"P[1-6][ \t\r\n#]"),
)
_COMPILED = tuple((suffix, re.compile(sign, re.DOTALL)) for suffix, sign in _SIGNS)


def image_suffix(head: bytes) -> str | None:
    """Return the usual suffix of an image that begins so, without the dot; ``None`` if none."""
    return next((suffix for suffix, sign in _COMPILED if sign.match(head)), None)
