"""Signals that end a command: they close what is open, and leave no file and no process."""

from __future__ import annotations

import signal
import time

TOGETHER = 1.0  # seconds within which a second signal is the same wish


class Interrupted(BaseException):
    """A signal that ends us. Not `KeyboardInterrupt`, which typer would end without our message."""

    def __init__(self, number: int) -> None:
        is_ctrl_c = number == signal.SIGINT
        super().__init__("interrupted" if is_ctrl_c else f"ended by {signal.Signals(number).name}")
        self.number = number


def end_by_signals() -> None:
    """Raise `Interrupted` in the main thread at Ctrl-C, and at signals with the same meaning.

    Those come from `kill`, batch systems and containers that stop (SIGTERM), and from a terminal
    that is closed (SIGHUP), unless ``nohup`` or the like has this process ignore them.
    """
    end = _End()
    signal.signal(signal.SIGINT, end)
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end)


class _End:
    """Raises `Interrupted` at the first signal, so that what is open is closed.

    A second one right after it is the same wish: wrappers hand on what the terminal sent to all.
    A later one ends this process at once.
    """

    def __init__(self) -> None:
        self._first: float | None = None

    def __call__(self, number: int, _: object) -> None:
        if self._first is None:
            self._first = time.monotonic()
            raise Interrupted(number)
        if time.monotonic() - self._first > TOGETHER:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
