"""Worker processes of this machine that train experts: started once, asked again and again.

A worker that is lost is replaced, and what it was training is trained again.
"""

from __future__ import annotations

import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from torch import Tensor

from autods.core.processes import end_with_parent, how_ended, undisturbed, worker_context
from autods.core.workers import start
from autods.errors import AutodsError, ClusterError
from bmc.engines.apart import Answer, Setting, train_apart
from bmc.engines.shared import Shared, opened
from bmc.train.data import Split, TaskTensors, no_texts, placed
from bmc.train.movement import Listener, listening, moved

PRELOADED = [__name__, "safetensors.torch"]  # what workers import
TOLD_EVERY = 0.5  # seconds between two messages of a worker about how far it is
MOST_LOSSES = 3  # workers that the same experts may cost


class Crew:
    """Workers on devices of this machine: ``cpu`` several times, or one on each GPU.

    They import the calling program again, so a script must start them below
    ``if __name__ == "__main__"``. ``note`` gets a line about each that is lost.
    """

    def __init__(self, devices: Sequence[str], note: Callable[[str], None]) -> None:
        self.devices = list(devices)
        self._note = note
        self._workers: list[_Worker] = []
        self._beginning: threading.Thread | None = None
        self._changing = threading.Lock()  # while some start, the list of workers may change

    @property
    def is_ready(self) -> bool:
        """Whether there are workers, all of which have started."""
        return bool(self._workers) and not (self._beginning and self._beginning.is_alive())

    def begin(self) -> None:
        """Start the workers while this process goes on; one that fails is started when used."""
        if self._beginning is None and not self._workers:
            starting = threading.Thread(target=self._start_all, args=[self._workers], daemon=True)
            self._beginning = starting
            self._beginning.start()

    def train(
        self, setting: Setting, base: Mapping[str, Tensor], parts: Sequence[Sequence[TaskTensors]]
    ) -> list[Answer]:
        """Train the experts of all parts; whoever is free takes the next part.

        ``base`` is the state of the base model. Raises what a worker raises, `OSError` if there is
        no shared memory for the tasks, and `ClusterError` when workers are lost with the same part
        again and again.
        """
        if self._beginning:
            self._beginning.join()
        work = [(setting, base, [_slim(task) for task in part]) for part in parts]
        shared = Shared(work)
        waiting, losses = deque(range(len(parts))), [0] * len(parts)
        answers: dict[int, Answer] = {}
        shares = [0.0] * len(parts)  # of each part, how much is done
        busy: dict[Any, tuple[_Worker, int]] = {}  # by the connection
        try:
            while waiting or busy:
                for worker in self._free(busy, len(waiting)):
                    number = waiting.popleft()
                    worker.send(shared.message(work[number]))
                    busy[worker.connection] = worker, number
                for ready in wait(list(busy)):
                    worker, number = busy.pop(ready)
                    answer = worker.answer()
                    if answer is not None:
                        shares[number] = answer if isinstance(answer, float) else 1.0
                        moved(_done(shares, parts), 100, "%")
                    if isinstance(answer, float):  # it is still at work
                        busy[ready] = worker, number
                        continue
                    if answer is not None:
                        answers[number] = answer
                        continue
                    losses[number] += 1
                    self._remove(worker, losses[number])
                    waiting.appendleft(number)
        except BaseException:  # the workers may be in any state: none can be used again
            self.close()
            raise
        return [answers[number] for number in range(len(parts))]

    def close(self) -> None:
        """End the workers, those too that are about to start."""
        with self._changing:
            for worker in self._workers:
                worker.end()
            self._workers, self._beginning = [], None

    def _start_all(self, workers: list[_Worker]) -> None:
        """Start all workers, unless they are to end before."""
        for device in self.devices:
            try:
                with undisturbed():
                    worker = _Worker(device)
            except (AutodsError, OSError):
                return
            with self._changing:
                if workers is not self._workers:
                    worker.end()
                    return
                workers.append(worker)

    def _free(self, busy: Mapping[Any, Any], most: int) -> list[_Worker]:
        """Return workers without work, at most so many; start those that are missing."""
        free = [worker for worker in self._workers if worker.connection not in busy]
        for device in self.devices[len(self._workers) :][: max(0, most - len(free))]:
            with undisturbed():
                self._workers.append(_Worker(device))
            free.append(self._workers[-1])
        return free[:most]

    def _remove(self, worker: _Worker, losses: int) -> None:
        """Remove a worker that was lost; another one will take its place."""
        how = how_ended(worker.end())
        self._workers.remove(worker)
        self.devices.remove(worker.device)
        self.devices.append(worker.device)
        if losses >= MOST_LOSSES:
            raise ClusterError(
                f"a process that trains experts was lost {losses} times with the same experts, "
                f"at last by {how}, most likely for want of memory; finished groups are kept. Run "
                "the same command again with --resume and fewer --workers; 1 starts none."
            )
        self._note(f"a process that trains experts was lost by {how}; they are trained again")


class _Worker:
    """A process as its parent sees it."""

    def __init__(self, device: str) -> None:
        context = worker_context(PRELOADED)
        self.device = device
        self.connection, there = context.Pipe()
        # a daemon: a program that forgets to close its engine ends all the same
        self._process: BaseProcess = context.Process(
            target=_serve, args=(device, there), daemon=True
        )
        with there:  # closed here, the end of the process ends what can be received
            start(self._process)

    def send(self, message: bytes) -> None:
        """Send a message; that the worker is lost shows when its answer is awaited."""
        with suppress(ConnectionError):
            self.connection.send_bytes(message)

    def answer(self) -> Answer | float | None:
        """Return the answer, or how much of the work is done, from 0 to 1.

        ``None`` if the worker is lost; raise what it raised.
        """
        try:
            answer: Answer | float | Exception = self.connection.recv()
        except (EOFError, ConnectionError):
            return None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def end(self) -> int:
        """End the process; return its exit code."""
        self._process.kill()
        self._process.join()
        self.connection.close()
        return self._process.exitcode or 0


def _serve(device: str, parent: Connection) -> None:
    """Train what the parent asks for until it ends this process."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    if device.startswith("cuda:"):  # else torch keeps what names no device on the first GPU
        torch.cuda.set_device(device)
    with suppress(EOFError, ConnectionError):
        while True:
            message = parent.recv_bytes()
            with listening(_teller(parent), "experts"):
                answer = _answer(message, torch.device(device))
            parent.send(answer)


def _teller(parent: Connection) -> Listener:
    """Return what tells the parent, now and then, how much of the work is done."""
    told = time.monotonic()

    def tell(share: float, _: str) -> None:
        nonlocal told
        if (now := time.monotonic()) - told >= TOLD_EVERY:
            told = now
            with suppress(ConnectionError):
                parent.send(float(share))

    return tell


def _done(shares: Sequence[float], parts: Sequence[Sequence[TaskTensors]]) -> float:
    """Return the percentage of all parts that is done, by their training samples."""
    rows = [sum(len(task.train) for task in part) for part in parts]
    return 100 * sum(s * n for s, n in zip(shares, rows, strict=True)) / max(1, sum(rows))


def _answer(message: bytes, device: torch.device) -> Answer | Exception:
    try:
        ((setting, base, tasks),) = opened(message)
        return train_apart(setting, base, [_on_device(task, device) for task in tasks], device)
    except (AutodsError, OSError) as error:
        return error
    except Exception:  # a defect of ours: the parent raises it, with the traceback from here
        return RuntimeError(f"an expert failed in its process:\n{traceback.format_exc()}")


def _slim(task: TaskTensors) -> TaskTensors:
    """Return a task without what experts do not need."""
    nothing = Split(task.test.features[:0], task.test.labels[:0])
    return replace(task, test=nothing, texts=no_texts)


def _on_device(task: TaskTensors, device: torch.device) -> TaskTensors:
    """Return a task whose labels are on a device, and its features where they fit."""
    if device.type == "cpu":
        return task
    train, dev, test = (
        Split(placed(split.features, device), split.labels.to(device))
        for split in (task.train, task.dev, task.test)
    )
    sent = None if task.sent is None else task.sent.to(device)
    return replace(task, train=train, dev=dev, test=test, sent=sent)
