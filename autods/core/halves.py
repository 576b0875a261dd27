"""Rows of numbers as float16, the type of stored features, and which rows it cannot hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

LARGEST = float(np.finfo(np.float16).max)
SMALLEST = float(np.finfo(np.float16).tiny)  # below it a number loses digits, at last all of them
LARGEST_BITS, SMALLEST_BITS = (int(np.float16(x).view(np.uint16)) for x in (LARGEST, SMALLEST))

EXPECTED = f"finite values within +-{LARGEST:.0f}, the largest of a row at least {SMALLEST:.1e}"
SCALE = "Multiply all features by the same power of two, so that they fit float16"


def unfit_rows(rows: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return which rows of floating-point numbers [n, d] float16 cannot hold: bool [n].

    Those with a number that is not finite or above `LARGEST`, and those whose numbers are all
    below `SMALLEST`, of which digits would vanish. A row of zeros is held.
    """
    if rows.dtype == np.float16:  # by the bits: their order is that of the magnitudes
        largest = (rows.view(np.uint16) & 0x7FFF).max(axis=1, initial=0)
        unfit: npt.NDArray[np.bool_] = (largest > LARGEST_BITS) | (
            (largest > 0) & (largest < SMALLEST_BITS)
        )
        return unfit
    # NaN is neither, and so unfit
    size = np.abs(rows).max(axis=1, initial=0)
    fits: npt.NDArray[np.bool_] = (size == 0) | ((size >= SMALLEST) & (size <= LARGEST))
    return ~fits


def worst(row: npt.NDArray[Any]) -> str:
    """Say which number of an unfit row [d] is at fault, and in which column."""
    bad = ~(np.abs(row) <= LARGEST)
    column = int(bad.argmax()) if bad.any() else int(np.abs(row).argmax())
    return f"{row[column]} in column {column}" + ("" if bad.any() else ", its largest")
