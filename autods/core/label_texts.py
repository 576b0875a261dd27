"""Labels of tables as text: one rule for all formats that have types."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any


def label_text(value: Any) -> str:
    """Return a label as text, ``""`` if there is none (null, NaN).

    Whole numbers are written without a fraction, whatever their type: a column of whole numbers
    with gaps comes out of pandas as floats.
    """
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="backslashreplace")
    if not isinstance(value, float | Decimal) or math.isinf(value):
        return str(value)
    if math.isnan(value):
        return ""
    return str(int(value)) if value == int(value) else str(value)
