"""TIFF files of any depth and colour space, written by hand: Pillow writes few of them."""

import struct
from collections.abc import Sequence

import numpy as np

ORDERS = {"II": "<", "MM": ">"}  # the byte order as the file says it


def tiff(
    values: np.ndarray,
    bits: int,
    photometric: int,
    order: str = "II",
    *,
    extra: Sequence[int] = (),
    sample_format: int = 1,
) -> bytes:
    """Return an uncompressed TIFF of pixels [h, w, samples].

    ``extra`` says what samples beyond the colours are: 0 unspecified, 1 alpha that is multiplied
    into the colours, 2 alpha. ``sample_format`` is 1 unsigned, 2 signed, 3 floating point.
    """
    height, width, samples = values.shape
    pixels = _packed(values.reshape(height, -1), bits, ORDERS[order], sample_format)
    short, long = ("H", 3), ("I", 4)
    tags: dict[int, tuple[tuple[str, int], list[int]]] = {
        256: (short, [width]),
        257: (short, [height]),
        258: (short, [bits] * samples),
        259: (short, [1]),  # not compressed
        262: (short, [photometric]),
        273: (long, [8]),  # where the pixels begin: after the head
        277: (short, [samples]),
        278: (short, [height]),
        279: (long, [len(pixels)]),
        339: (short, [sample_format] * samples),
    }
    if extra:
        tags[338] = (short, list(extra))
    if photometric == 6:
        tags[530] = (short, [1, 1])  # colours are not subsampled
    directory_at = 8 + len(pixels) + len(pixels) % 2
    further_at = directory_at + 2 + 12 * len(tags) + 4
    directory, further = struct.pack(ORDERS[order] + "H", len(tags)), b""
    for tag, ((letter, code), content) in sorted(tags.items()):
        raw = struct.pack(f"{ORDERS[order]}{len(content)}{letter}", *content)
        if len(raw) > 4:
            place = struct.pack(ORDERS[order] + "I", further_at + len(further))
            further += raw + bytes(len(raw) % 2)
        else:
            place = raw.ljust(4, b"\0")
        directory += struct.pack(ORDERS[order] + "HHI", tag, code, len(content)) + place
    head = order.encode() + struct.pack(ORDERS[order] + "HI", 42, directory_at)
    return head + pixels + bytes(len(pixels) % 2) + directory + bytes(4) + further


def _packed(rows: np.ndarray, bits: int, order: str, sample_format: int) -> bytes:
    if bits % 8 == 0:
        letter = {1: "u", 2: "i", 3: "f"}[sample_format]
        return rows.astype(f"{order}{letter}{bits // 8}").tobytes()
    found = b""
    for row in rows:  # each begins at a whole byte
        text = "".join(f"{int(value):0{bits}b}" for value in row)
        text = text.ljust(-(-len(text) // 8) * 8, "0")
        found += int(text, 2).to_bytes(len(text) // 8, "big")
    return found
