"""What a fork server imports first, and nobody else: it ends silently where the system refuses.

It ends when it cannot start a process. Who asked for that one tells why, in one line.
"""

from __future__ import annotations

import sys
from types import TracebackType


def quiet(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an error and its traceback, unless the system refused something."""
    if not isinstance(error, OSError):
        sys.__excepthook__(kind, error, trace)


sys.excepthook = quiet
