"""How slow a host may be: connections that drip count as dropped."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from threading import Timer
from typing import Any

from autods.fetch.sources.base import SLOWEST, WINDOW, Interrupted


def steady(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield blocks as they arrive; `Interrupted` if fewer than `SLOWEST` bytes a second come.

    Only the time in which the network is waited for counts, in windows of `WINDOW` seconds.
    """
    arriving = iter(blocks)
    waited, got = 0.0, 0
    while True:
        began = time.monotonic()
        block = next(arriving, None)
        if block is None:
            return
        waited, got = waited + time.monotonic() - began, got + len(block)
        if waited >= WINDOW:
            if got < SLOWEST * waited:
                raise Interrupted(f"only {got:,} bytes came in {waited:.0f} s", slow=True)
            waited, got = 0.0, 0
        yield block


class Deadline:
    """Shuts the sockets of a client down if an answer does not begin in time.

    A server that sends a header every few seconds is never silent for long; timeouts of
    single reads do not notice.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds, self.passed = seconds, False
        self._sockets: list[Callable[[], socket.socket | None]] = []
        self._timer: Timer | None = None

    def watch(self, connection: Callable[[], socket.socket | None]) -> None:
        """Shut what this returns, too, when time is up."""
        self._sockets.append(connection)

    def trace(self, event: str, info: dict[str, Any]) -> None:
        """Follow a request of httpx: as its extension ``trace``."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            self.watch(partial(info["return_value"].get_extra_info, "socket"))
        elif event.endswith("send_request_headers.started"):
            self.start()
        elif event.endswith(
            ("receive_response_headers.complete", "receive_response_headers.failed")
        ):
            self.stop()

    @contextmanager
    def running(self) -> Iterator[Deadline]:
        """Let the time run within the body."""
        self.start()
        try:
            yield self
        finally:
            self.stop()

    def start(self) -> None:
        """Let the time run from now on."""
        self.stop()
        self.passed = False
        self._timer = Timer(self.seconds, self._expire)
        self._timer.daemon = True
        self._timer.start()

    def stop(self) -> None:
        """Let the time stand still."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def told(self) -> Interrupted | None:
        """Return the cause if it was this that ended a connection, else ``None``."""
        if not self.passed:
            return None
        return Interrupted(f"no whole answer within {self.seconds:.0f} s", slow=True)

    def _expire(self) -> None:
        self.passed = True
        for connection in self._sockets:
            if (opened := connection()) is not None:
                with suppress(OSError):  # closed already
                    # not the method of TLS sockets, which forgets its session under the reader
                    socket.socket.shutdown(opened, socket.SHUT_RDWR)
