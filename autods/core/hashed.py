"""Progress of hashing: whatever hashes a file reports it, and a waiting command listens.

The listener belongs to the context, so that no function has to pass it on; without one, nothing
is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autods.core.progress import Progress

_listener: ContextVar[Callable[[int], None] | None] = ContextVar("_listener", default=None)


def hashed(amount: int) -> None:
    """Report that ``amount`` more bytes are hashed."""
    if (listener := _listener.get()) is not None:
        listener(amount)


@contextmanager
def hashing(progress: Progress, title: str, total: int) -> Iterator[None]:
    """Show how many of ``total`` bytes the body has hashed; those hashed twice count once."""
    left = total

    def listen(amount: int) -> None:
        nonlocal left
        if amount := min(amount, left):
            left -= amount
            progress.advance(amount)

    progress.start(title, total, "bytes")
    token = _listener.set(listen)
    try:
        yield
        progress.advance(left)  # of files that are not there, or not what is expected
    finally:
        _listener.reset(token)
        progress.finish()
