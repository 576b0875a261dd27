"""How much may come out of a file that is not ours: bounds on what it makes of memory and disk."""

from __future__ import annotations

# Bytes that a compressed file may unpack to, or so many times its own: text shrinks by 30, images
# hardly, and a file that was made to fill disks by 1,000.
UNPACKED, UNPACKED_TIMES = 1 << 30, 100
WHOLE = 1 << 29  # bytes of a member that is read into memory at once: more than any image has


def unpacked_limit(size: int) -> int:
    """Return how many bytes may come out of a compressed file of ``size`` bytes."""
    return max(UNPACKED, UNPACKED_TIMES * size)
