"""The child of `autods.core.limited`: answers requests until it is idle or the parent is gone."""

from __future__ import annotations

import io
import math
import os
import pickle
import resource
import select
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from autods.core.limited import END, FAILED, HEAD, IDLE, ITEM, REFUSED, VALUE, named, received
from autods.core.slices import Slice
from autods.errors import AutodsError


def serve(descriptor: int) -> None:
    """Answer what is asked on a socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the parent, which ends this
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with socket.socket(fileno=descriptor) as link:
        requests = select.poll()  # `select` refuses descriptors from 1,024 on
        requests.register(link, select.POLLIN)
        while requests.poll(1000 * IDLE):
            head, descriptors, _, _ = socket.recv_fds(link, HEAD.size, 1)
            if len(head) < HEAD.size:
                return
            request = received(link, HEAD.unpack(head)[1])
            if request is None:
                return
            for kind, answer in _answers(pickle.loads(request), descriptors):
                link.sendall(HEAD.pack(kind, len(answer)))
                link.sendall(answer)
                del answer


def _answers(request: Any, descriptors: list[int]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the messages that answer a request, pickled."""
    function, data, start, size, arguments, memory, seconds = request
    _limit(memory, seconds)
    try:
        if data is None:
            file = os.fdopen(descriptors[0], "rb")
            handle: Any = io.BufferedReader(Slice(file, start, size, owned=True))
        else:
            handle = io.BytesIO(data)
        with handle:
            answer = named(function)(handle, *arguments)
            if not isinstance(answer, Iterator):
                yield VALUE, _sent(answer)
                return
            for item in answer:
                yield ITEM, _sent(item)
                _limit(memory, seconds)
            yield END, _sent(None)
    except AutodsError as error:
        yield REFUSED, _sent(error)
    except MemoryError:
        text = f"it needs more than {memory >> 20:,} MB of memory"
        yield FAILED, _sent(("MemoryError", text))
    except Exception as error:  # whatever a parser raises on a damaged file
        yield FAILED, _sent((type(error).__name__, str(error)[:2000]))


def _sent(answer: Any) -> bytes:
    return pickle.dumps(answer, protocol=pickle.HIGHEST_PROTOCOL)


def _limit(memory: int, seconds: float) -> None:
    """Limit what this process may take from now on."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    spent = used.ru_utime + used.ru_stime
    _lower(resource.RLIMIT_CPU, math.ceil(spent + seconds))
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_bytes().split()[0])
        _lower(resource.RLIMIT_AS, pages * resource.getpagesize() + memory)


def _lower(which: int, value: int) -> None:
    """Set a soft limit, which may be raised again up to the hard one."""
    hard = resource.getrlimit(which)[1]
    with suppress(ValueError, OSError):
        resource.setrlimit(
            which, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard)
        )
