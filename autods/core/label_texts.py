"""Labels of tables as text: one rule for all formats that have types."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

WHOLE = re.compile(r"([+-]?[0-9]+)(\.0+)?")


def whole_texts(labels: Sequence[str]) -> Sequence[str]:
    """Return labels without fractions of zeros (``1.0``) if all are whole numbers."""
    found = {label: WHOLE.fullmatch(label) for label in dict.fromkeys(labels)}
    if not all(found.values()) or not any(match[2] for match in found.values() if match):
        return labels
    whole = {label: match[1] for label, match in found.items() if match}
    return [whole[label] for label in labels]


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
