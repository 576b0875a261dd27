"""Worker processes: how many, how they are started, and that they end with their parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from typing import TYPE_CHECKING

from autods.core import sharing
from autods.core.cores import single_threaded_children, usable_cores

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext

FEW = 1024  # images that are decoded sooner than worker processes start
NO_THREAD = 71  # exit code of a process that can start no thread: sysexits' system error
MOST = 32  # workers, unless more are asked for


def choose_workers(images: int, processes: int = 1) -> int:
    """Return how many processes decode by default: one per core, none for a few images.

    ``processes`` share the cores, each with as many workers. None where processes cannot share
    memory.
    """
    few = images < FEW * processes or not sharing.AVAILABLE
    return 0 if few else max(1, min(MOST, usable_cores()) // processes)


def how_ended(code: int) -> str:
    """Return the exit code of a process in words; negative ones are signals."""
    if code == NO_THREAD:
        return f"exit code {code} (no thread could be started: 'ulimit -u')"
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def worker_context(preloaded: Sequence[str]) -> ForkServerContext | SpawnContext:
    """Return how workers are started: by a fork server if the platform has one.

    Workers that are forked off a process with threads can hang, and they inherit its
    locks, which they would keep after a kill -9. A fork server has neither; it imports the
    ``preloaded`` modules once, for all workers, whose libraries compute with one thread.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["autods.core.fork_server", *preloaded])
    with undisturbed(), single_threaded_children():
        forkserver.ensure_running()
    return context


@contextmanager
def undisturbed() -> Iterator[None]:
    """Defer Ctrl-C while processes start: it would stop one half-way, with a traceback.

    The mask of signals is for them, who inherit it from this thread, as do the workers of a fork
    server. In the main thread it is not enough: the signal may come to another one, and its
    handler runs in the main one all the same. A process that is started and noted within the body
    always has somebody who ends it; for that, a handler of SIGTERM waits, too.
    """
    if "forkserver" in multiprocessing.get_all_start_methods():
        resource_tracker.ensure_running()  # first: it would take our mask off
    came: list[int] = []
    handlers = {}
    if threading.current_thread() is threading.main_thread():  # no other one may set handlers
        known = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        handlers = {number: handler for number, handler in known.items() if callable(handler)}
    for number in handlers:
        signal.signal(number, lambda number, _: came.append(number))
    masked = hasattr(signal, "pthread_sigmask")  # Windows has no masks
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if masked else set()
    try:
        yield
    finally:
        if masked:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])


def end_with_parent() -> None:
    """Make this process end when the one that started it is killed.

    Watching the parent process, as torch does, would watch the fork server instead.
    """
    if parent := multiprocessing.parent_process():

        def watch() -> None:
            parent.join()
            os._exit(1)

        try:
            threading.Thread(target=watch, daemon=True).start()
        except RuntimeError:  # it would print a traceback; the parent tells it in its own words
            os._exit(NO_THREAD)
