"""Run parsers of files that are not ours in a child process, with limits on memory and time.

A parser in C may crash on a damaged file, take all memory or never end. In a child that is the
end of the child alone, and one error here. A child is kept for the next call, and ends when it
was idle for a while or this process is gone. Where there is no such child (Windows), the
functions run in this process.
"""

from __future__ import annotations

import atexit
import io
import json
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from typing import Any, BinaryIO

from autods.core.processes import how_ended
from autods.core.slices import Slice
from autods.errors import AutodsError

MEMORY, TIMES = 1 << 29, 16  # bytes that a call may take, and so many for each byte of its input
SECONDS, BYTES_A_SECOND = 20.0, 1 << 20  # until the answer or its next item, and for its input
IDLE = 60.0  # seconds after which a child ends
HEAD = struct.Struct("<cQ")  # kind and length of a message
VALUE, ITEM, END, FAILED, REFUSED = b"v", b"i", b"e", b"f", b"r"
LEFT = "Left"  # kind of the error of a child that ended without a crash
AVAILABLE = hasattr(socket, "send_fds") and os.name == "posix"

_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]); "
    "from autods.core.limited_child import serve; serve(int(sys.argv[1]))"
)


class ParserFailed(ValueError):
    """A function in a child raised an error, crashed, or came to a limit; the text says which.

    ``kind`` is the name of the error's class; ``crashed``: the process itself ended.
    """

    def __init__(self, kind: str, text: str, crashed: bool = False) -> None:
        super().__init__(text or kind)
        self.kind, self.crashed = kind, crashed


def call(function: str, source: BinaryIO | bytes, *arguments: Any) -> Any:
    """Return what ``MODULE:FUNCTION`` returns for a file and further arguments.

    The function gets the content of ``source`` as a binary file of its own; arguments and answer
    are copied between the processes.

    Raises
    ------
    ParserFailed
        For whatever it raises, but errors of `autods.errors`, which are raised here.
    """
    return [*stream(function, source, *arguments)][-1]


def stream(function: str, source: BinaryIO | bytes, *arguments: Any) -> Iterator[Any]:
    """Yield what the iterator yields that a function returns, else what it returns; see `call`."""
    if not AVAILABLE:
        yield from _here(function, source, arguments)
        return
    data, handle, start, size = _content(source)
    memory, seconds = MEMORY + TIMES * size, SECONDS + size / BYTES_A_SECOND
    request = pickle.dumps((function, data, start, size, arguments, memory, seconds))
    child, (kind, answer) = _asked(request, handle, seconds)
    try:
        while kind == ITEM:
            yield answer
            kind, answer = child.answer()
    except BaseException:  # the rest of the items is still to come
        child.end()
        raise
    child.release()
    if kind == VALUE:
        yield answer
    elif kind == REFUSED:
        raise answer
    elif kind == FAILED:
        raise ParserFailed(*answer)


def _content(source: BinaryIO | bytes) -> tuple[bytes | None, int | None, int, int]:
    """Return a source as bytes, or as a descriptor with the range of bytes in its file."""
    if isinstance(source, bytes):
        return source, None, 0, len(source)
    raw = getattr(source, "raw", source)
    start, size, file = 0, -1, source
    if isinstance(raw, Slice):
        file, start, size = raw.window()
    try:
        descriptor = file.fileno()
    except (OSError, AttributeError, io.UnsupportedOperation):
        source.seek(0)
        data = source.read()
        return data, None, 0, len(data)
    if size < 0:
        size = os.fstat(descriptor).st_size
    return None, descriptor, start, max(0, min(size, os.fstat(descriptor).st_size - start))


def _here(function: str, source: BinaryIO | bytes, arguments: tuple[Any, ...]) -> Iterator[Any]:
    handle = io.BytesIO(source) if isinstance(source, bytes) else source
    handle.seek(0)
    try:
        answer = named(function)(handle, *arguments)
        if isinstance(answer, Iterator):
            yield from answer
        else:
            yield pickle.loads(pickle.dumps(answer))  # as what comes from a child
    except AutodsError:
        raise
    except Exception as error:  # whatever a parser raises on a damaged file
        raise ParserFailed(type(error).__name__, str(error)) from None


def named(function: str) -> Any:
    """Return a function by ``MODULE:NAME``."""
    module, _, name = function.partition(":")
    return getattr(import_module(module), name)


def received(link: socket.socket, size: int) -> bytes | None:
    """Return the next ``size`` bytes of a socket, ``None`` if it was closed before."""
    blocks = []
    while size:
        block = link.recv(min(size, 1 << 20))
        if not block:
            return None
        blocks.append(block)
        size -= len(block)
    return b"".join(blocks)


class _Child:
    """One child process and the socket to it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            # stderr: libraries in C write their remarks there
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, str(theirs.fileno()), json.dumps(sys.path)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        self._socket = ours
        self._owner = os.getpid()

    @property
    def usable(self) -> bool:
        return self._owner == os.getpid() and self._process.poll() is None

    def ask(self, request: bytes, descriptor: int | None, seconds: float) -> None:
        self._seconds = seconds
        self._socket.settimeout(seconds + 5)  # the child has a limit of its own
        head = HEAD.pack(b"q", len(request))
        socket.send_fds(self._socket, [head], [] if descriptor is None else [descriptor])
        self._socket.sendall(request)

    def answer(self) -> tuple[bytes, Any]:
        try:
            kind, size = HEAD.unpack(self._exactly(HEAD.size))
            return kind, pickle.loads(self._exactly(size))
        except TimeoutError:
            self._process.kill()
            self.end()
            raise self._too_slow() from None
        except (EOFError, OSError):
            code = self.end()
            if code == -signal.SIGXCPU:
                raise self._too_slow() from None
            kind = "Crash" if code else LEFT
            raise ParserFailed(kind, f"its reader crashed ({how_ended(code)})", True) from None

    def _too_slow(self) -> ParserFailed:
        return ParserFailed("Timeout", f"it was not read in {self._seconds:.0f} seconds", True)

    def _exactly(self, size: int) -> bytes:
        if (data := received(self._socket, size)) is None:
            raise EOFError
        return data

    def release(self) -> None:
        _idle.append(self)

    def end(self) -> int:
        """Close the socket; return the exit code, after a kill unless the process ended itself."""
        self._socket.close()
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(0.2)
        self._process.kill()
        return self._process.wait()


_idle: list[_Child] = []


def _asked(
    request: bytes, descriptor: int | None, seconds: float
) -> tuple[_Child, tuple[bytes, Any]]:
    """Return a child that got a request, an idle one if there is one, and its first answer."""
    while _idle:
        child = _idle.pop()
        if not child.usable:
            continue
        try:
            child.ask(request, descriptor, seconds)
            return child, child.answer()
        except OSError:  # it ended before it was asked
            child.end()
        except ParserFailed as error:
            if error.kind != LEFT:  # it was idle for long just when it was asked
                raise
    child = _Child()
    child.ask(request, descriptor, seconds)
    return child, child.answer()


def _end_all() -> None:
    while _idle:
        child = _idle.pop()
        if child.usable:
            child.end()


atexit.register(_end_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)
