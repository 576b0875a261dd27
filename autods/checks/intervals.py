"""The interval of a share that was counted."""

from __future__ import annotations

Z = 1.959964  # of 95 %


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Return the 95 % score interval of a share, within 0 and 1 (Wilson 1927)."""
    if count == 0:
        return 0.0, 1.0
    share, square = hits / count, Z * Z / count
    centre = (share + square / 2) / (1 + square)
    half = Z * (share * (1 - share) / count + square / (4 * count)) ** 0.5 / (1 + square)
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return (0.0 if hits == 0 else low), (1.0 if hits == count else high)  # whatever the rounding
