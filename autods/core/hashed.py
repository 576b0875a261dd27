"""How far hashing is: whatever hashes a file tells it, and a command that waits for it listens.

Nothing is passed from function to function: whoever listens is known to the context, and without
one nothing is told.
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
    """Tell whoever listens that so many bytes more are hashed."""
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
