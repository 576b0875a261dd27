"""Runs the cells of a sweep, several at once: each in a process of its own, or as a Ray task.

A cell leaves all it has to say in its run folder, so that whatever is killed is resumed from
there. One whose process is lost is run again once, from its last checkpoint.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from autods.core.processes import end_with_parent
from autods.errors import AutodsError
from bmc.runs.choice import StreamChoice
from bmc.studies.grid import Cell

# What every cell imports; torch's optimisers need the compiler, which takes a second or two.
PRELOADED = [
    __name__,
    "bmc.runs.run",
    "autods.streams.synthetic",
    "torch._dynamo",
    "safetensors.torch",
]
ATTEMPTS = 2  # processes that a cell may cost
LOOK = 1.0  # seconds between two looks at Ray's tasks


@dataclass(frozen=True)
class Job:
    """A cell with all that a process elsewhere needs to run it."""

    cell: Cell
    choice: StreamChoice
    folder: Path
    device: str
    threads: int

    @property
    def finished(self) -> bool:
        """Whether the cell has its results."""
        return (self.folder / "results.json").exists()

    def run(self) -> None:
        """Run the cell here, or complete it. Errors as of `bmc.runs.run.run`."""
        import torch

        from autods.core.devices import choose_device
        from bmc.runs.run import run

        torch.set_num_threads(self.threads)  # sums are split by it, and so their last bits
        stream = self.choice.open(self.cell.order)
        run(
            stream,
            self.cell.method,
            self.cell.config,
            self.folder,
            device=choose_device(self.device, ("cpu", "cuda")),
            resume=True,
        )


@dataclass(frozen=True)
class Outcome:
    """How a cell ended.

    Attributes
    ----------
    message
        Why it failed, in one or a few lines; ``None``: it is finished.
    detail
        The traceback of an error that nobody foresaw, else empty.
    """

    job: Job
    message: str | None
    detail: str = ""


Answer = tuple[str | None, str]  # message and detail of an outcome
Runner = Callable[[Sequence[Job]], Generator[Outcome, None, None]]


def attempt(job: Job) -> Answer:
    """Run a cell and return what becomes its outcome."""
    try:
        job.run()
    except AutodsError as error:
        return str(error), ""
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        return f"the system refused: {error.strerror or error}{where}", ""
    except Exception as error:  # a defect in one cell must not cost the others their runs
        return f"{type(error).__name__}: {error}", traceback.format_exc()
    return None, ""


@dataclass(eq=False)
class _Running:
    job: Job
    process: BaseProcess
    answers: Connection


@dataclass(frozen=True)
class Processes:
    """Runs ``jobs`` cells at once, each in its own process of this machine."""

    jobs: int

    def __call__(self, jobs: Sequence[Job]) -> Generator[Outcome, None, None]:
        """Yield the outcome of every cell, as they end."""
        context = _context()
        waiting = deque((job, ATTEMPTS) for job in jobs)
        left: dict[Path, int] = {}
        running: list[_Running] = []
        try:
            while waiting or running:
                while waiting and len(running) < self.jobs:
                    job, left[job.folder] = waiting.popleft()
                    running.append(_start(context, job))
                ready = wait([one.answers for one in running])
                for one in [one for one in running if one.answers in ready]:
                    running.remove(one)
                    answer = _answer(one)
                    if answer is None and left[one.job.folder] > 1:
                        waiting.appendleft((one.job, left[one.job.folder] - 1))
                    else:
                        yield Outcome(one.job, *(answer or _lost(_ended(one.process.exitcode))))
        finally:  # an interrupted command leaves nothing running behind it
            for one in running:
                one.process.kill()
                one.process.join()


def _context() -> BaseContext:
    """Return how processes are started: by a fork server that has torch, where there is one."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def _start(context: BaseContext, job: Job) -> _Running:
    receiver, sender = context.Pipe(duplex=False)
    # all contexts have Process, the base class that stubs know has not
    process = context.Process(target=_work, args=(job, sender), name=job.cell.name)  # type: ignore[attr-defined]
    process.start()
    sender.close()  # the end of the process is then the end of what can be received
    return _Running(job, process, receiver)


def _work(job: Job, answers: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the command's to answer
    end_with_parent()  # so that its cell can be resumed
    answers.send(attempt(job))


def _answer(one: _Running) -> Answer | None:
    """Return what a process had to say; ``None`` when it ended without a word."""
    try:
        answer: Answer | None = one.answers.recv()
    except EOFError:
        answer = None
    one.answers.close()
    one.process.join()
    return answer


def _ended(code: int | None) -> str:
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"


def _lost(how: str) -> Answer:
    return (
        f"its process was lost {ATTEMPTS} times, at last by {how}, perhaps for want of memory; "
        "its checkpoint is kept. Use fewer --jobs."
    ), ""


@dataclass(frozen=True)
class RayTasks:
    """Runs cells as tasks of a Ray cluster whose machines see the sweep's folder and features.

    Parameters
    ----------
    address
        As of `autods.encode.engines.ray_engine.RayEngine`.
    jobs
        Cells at once on a cluster that is started here, and ends with the sweep.
    """

    address: str | None
    jobs: int

    def __call__(self, jobs: Sequence[Job]) -> Generator[Outcome, None, None]:
        """Yield the outcome of every cell, as they end.

        Raises
        ------
        UsageError, ClusterError
            When Ray is not installed, or the cluster cannot be reached.
        """
        from autods.core.ray_cluster import connect, import_ray

        ray = import_ray()
        ours = not ray.is_initialized()
        if ours:
            threads = max((job.threads for job in jobs), default=1)
            connect(ray, self.address, cores=self.jobs * threads)
        try:
            yield from _ray_outcomes(ray, jobs)
        finally:
            if ours:
                ray.shutdown()


def _ray_outcomes(ray: Any, jobs: Sequence[Job]) -> Generator[Outcome, None, None]:
    task = ray.remote(max_retries=ATTEMPTS - 1, max_calls=1)(attempt)
    under_way = {
        task.options(
            num_cpus=job.threads, num_gpus=1 if job.device.startswith("cuda") else 0
        ).remote(job): job
        for job in jobs
    }
    try:
        while under_way:
            ready, _ = ray.wait(list(under_way), timeout=LOOK)
            for reference in ready:
                job = under_way.pop(reference)
                try:
                    answer: Answer = ray.get(reference)
                except ray.exceptions.RayTaskError as error:  # a worker that cannot run cells
                    cause = f"{error}".strip().splitlines()[-1]
                    answer = f"it could not start on the cluster: {cause}", ""
                except ray.exceptions.RayError as error:
                    answer = _lost(" ".join(f"{error}".split())[:200])
                yield Outcome(job, *answer)
    finally:
        for reference in under_way:
            ray.cancel(reference, force=True)


def run_jobs(
    jobs: Sequence[Job], runner: Runner, told: Callable[[Outcome, float | None], None]
) -> list[Outcome]:
    """Run cells, those already finished first, and tell each outcome with the seconds left.

    Parameters
    ----------
    told
        Takes an outcome and the estimated seconds left, ``None`` while nothing is known.
    """
    there = {job.folder for job in jobs if job.finished}
    ordered = sorted(jobs, key=lambda job: job.folder not in there)  # stable
    outcomes: list[Outcome] = []
    began, fresh = time.monotonic(), 0
    for outcome in runner(ordered):
        outcomes.append(outcome)
        if outcome.job.folder in there:
            began = time.monotonic()
        else:
            fresh += 1
        each = (time.monotonic() - began) / fresh if fresh else None
        told(outcome, None if each is None else each * (len(jobs) - len(outcomes)))
    return outcomes
