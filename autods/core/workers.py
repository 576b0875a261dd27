"""Worker processes that answer requests in order, each by a pipe of its own.

Workers share no queue and no lock: one that is killed may hold a lock that all others need, or
leave half a message in a queue that is then waited for without end. A pipe ends with its process,
so that a worker that is lost is known at once.
"""

from __future__ import annotations

import os
import pickle
import queue
import random
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from itertools import cycle, islice
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from autods.core.processes import end_with_parent, how_ended, undisturbed, worker_context
from autods.errors import WorkerLost

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext

RequestT = TypeVar("RequestT")
AnswerT = TypeVar("AnswerT")

AHEAD = 2  # requests that each worker has under way
NICE = 10  # how far the workers give way to an encoder on the same cores
PAUSES = (0.1, 0.5, 2.0)  # seconds before a process is started once more


def worker_answers(
    answer: Callable[[RequestT], AnswerT],
    requests: Iterable[RequestT],
    workers: int,
    preloaded: Sequence[str],
    yielding: bool = False,
) -> Iterator[AnswerT]:
    """Yield the answers to requests in order, given by worker processes that end with this one.

    Without workers this process answers. See `Workers`.
    """
    if not workers:
        yield from map(answer, requests)
        return
    with closing(Workers(answer, workers, preloaded, yielding)) as started:
        yield from started.answers(requests)


class Workers(Generic[RequestT, AnswerT]):
    """Processes that are started when they are first asked, and kept until they are closed.

    The ``preloaded`` modules are imported once for all workers; see `worker_context`.
    ``yielding`` workers leave the cores to an encoder that needs them too.
    """

    def __init__(
        self,
        answer: Callable[[RequestT], AnswerT],
        count: int,
        preloaded: Sequence[str],
        yielding: bool = False,
    ) -> None:
        self._answer, self._count = answer, count
        self._preloaded, self._yielding = preloaded, yielding
        self._workers: list[_Worker] = []

    def answers(self, requests: Iterable[RequestT]) -> Generator[AnswerT, None, None]:
        """Yield the answers in order; requests are taken `AHEAD` of them for each worker.

        Raises what a worker raises, and `WorkerLost` when one ends without an answer.
        """
        coming = iter(requests)
        waiting: deque[_Worker] = deque()
        try:
            self._start()
            turns = cycle(self._workers)
            for request in islice(coming, AHEAD * self._count):
                waiting.append(next(turns).ask(request))
            while waiting:
                answer = waiting.popleft().answer()
                for request in islice(coming, 1):
                    waiting.append(next(turns).ask(request))
                yield answer
        except BaseException:  # some have answers left that nobody waits for
            self.close()
            raise

    def close(self) -> None:
        """End the processes."""
        for worker in self._workers:
            worker.end()
        self._workers = []

    def _start(self) -> None:
        if self._workers:
            return
        with undisturbed():
            context = worker_context(self._preloaded)
            for number in range(self._count):
                self._workers.append(_Worker(context, self._answer, number, self._yielding))


def start(process: BaseProcess) -> None:
    """Start a process; raise `WorkerLost` if the fork server is lost again and again.

    It is started anew with the next process, but only once the system knows that it ended.
    """
    for pause in PAUSES:
        with suppress(EOFError, ConnectionError):
            process.start()
            return
        time.sleep(pause)
    raise WorkerLost(
        "worker processes could not be started: the process that starts them was lost "
        f"{len(PAUSES)} times, most likely for want of memory or by a limit on processes (ulimit "
        "-u); what is finished is kept. Run the same command again with fewer workers."
    )


class _Worker:
    """A process as its parent sees it."""

    def __init__(
        self,
        context: ForkServerContext | SpawnContext,
        answer: Callable[[Any], Any],
        number: int,
        yielding: bool,
    ) -> None:
        self._connection, there = context.Pipe()
        arguments = (answer, number, yielding, there)
        self.process: BaseProcess = context.Process(target=_serve, args=arguments, daemon=True)
        with there:  # closed here, the end of the process ends what can be received
            start(self.process)

    def ask(self, request: Any) -> _Worker:
        """Send a request; that the worker is lost shows when its answer is awaited."""
        with suppress(ConnectionError):
            self._connection.send(request)
        return self

    def answer(self) -> Any:
        """Return the next answer; raise what the worker raised."""
        try:
            error, answer = self._connection.recv()
        except (EOFError, OSError):
            code = self.end()
            raise WorkerLost(
                f"a worker process was lost by {how_ended(code)}, most likely for want of memory; "
                "what is finished is kept. Use fewer workers; 0 starts none."
            ) from None
        if error is not None:
            raise error
        return answer

    def end(self) -> int:
        """End the process; return its exit code."""
        self._connection.close()
        self.process.kill()
        self.process.join()
        return self.process.exitcode or 0


def _serve(answer: Callable[[Any], Any], number: int, yielding: bool, parent: Connection) -> None:
    """Answer what the parent asks for until it closes the pipe."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    _seed(number)
    if yielding and hasattr(os, "nice"):
        os.nice(NICE)
    requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(parent, requests), daemon=True).start()
    with suppress(ConnectionError):
        while True:
            parent.send_bytes(_answered(answer, requests.get()))


def _receive(parent: Connection, requests: queue.SimpleQueue[Any]) -> None:
    """Take requests at once: the parent must never wait to send while this process does."""
    with suppress(EOFError, OSError):
        while True:
            requests.put(parent.recv())
    os._exit(0)


def _answered(answer: Callable[[Any], Any], request: Any) -> Any:
    """Return the message that answers a request: an error or ``None``, and the answer."""
    try:
        return ForkingPickler.dumps((None, answer(request)))
    except Exception as error:  # the parent raises it
        told = traceback.format_exc()
        try:
            message = ForkingPickler.dumps((error, None))
            pickle.loads(message)
        except Exception:  # an error of any class, which may not survive the way
            message = ForkingPickler.dumps(
                (RuntimeError(f"a worker process failed:\n{told}"), None)
            )
        return message


def _seed(number: int) -> None:
    """Seed what transforms draw from; the processes of a fork server would draw the same."""
    random.seed(number)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(number)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
        sys.modules["torch"].manual_seed(number)
