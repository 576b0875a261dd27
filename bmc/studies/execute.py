"""Executes the runs of a study, several at once: each in its own process, or as a Ray task.

A run keeps its state in its folder, so that whatever is killed is resumed from there. A run
whose process is lost is started once more, from its last checkpoint.
"""

from __future__ import annotations

import signal
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autods.core.processes import end_with_parent, how_ended, undisturbed, worker_context
from autods.core.progress import Progress
from autods.core.refusals import refusal, why_refused
from autods.core.workers import start
from autods.errors import AutodsError, UsageError
from bmc.runs.choice import StreamChoice
from bmc.runs.folder import RunFolder
from bmc.studies.plan import PlannedRun

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext

# What runs import; torch's classes of optimisers, which a few methods use, need the compiler.
PRELOADED = [
    __name__,
    "bmc.runs.run",
    "autods.streams.synthetic",
    "torch._dynamo",
    "safetensors.torch",
]
TOLD_EVERY = 1.0  # seconds between two messages of a run about how far it is
ATTEMPTS = 2  # processes that a run may cost
POLL_SECONDS = 1.0  # between two looks at Ray's tasks


@dataclass(frozen=True)
class Job:
    """A planned run with all that a process elsewhere needs to execute it."""

    run: PlannedRun
    choice: StreamChoice
    folder: Path
    device: str
    threads: int
    share: int = 0  # runs that share the cores of this machine; 0: it starts no workers

    @property
    def name(self) -> str:
        """Name of the run's folder."""
        return self.folder.name

    @property
    def status(self) -> str:
        """See `bmc.runs.folder.RunFolder.status`."""
        return RunFolder(self.folder).status

    def execute(self, report: Progress | None = None) -> None:
        """Execute the run here, or complete it. Errors as of `bmc.runs.run.run`."""
        from bmc.train.phases import START, Stopwatch

        watch = Stopwatch(START)
        from autods.core.devices import choose_device
        from bmc.engines import open_engine, worker_devices
        from bmc.runs.run import run

        stream = self.choice.open(self.run.order)
        device = choose_device(self.device)
        devices = worker_devices(device, self.threads, self.share) if self.share else []
        with open_engine("local", devices=devices) as engine:
            run(
                stream, self.run.method, self.run.config, self.folder,
                device=device, engine=engine, threads=self.threads, resume=True, watch=watch,
                report=report,
            )  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    job: Job
    message: str | None  # why it failed; None: it is finished
    detail: str = ""  # the traceback of an unforeseen error


Runner = Callable[[Sequence[Job]], Generator[Outcome, None, None]]


def runner_of(
    name: str, jobs: int, address: str | None, moved: Callable[[float], None] = lambda _: None
) -> Runner:
    """Return what executes runs: ``local`` processes, or tasks of ``ray`` at an address.

    ``moved`` gets now and then what processes have done so far of unfinished runs, in runs.
    """
    from autods.core.registry import unknown

    if name not in ("local", "ray"):
        raise unknown("runner", name, ("local", "ray"))
    if name == "local" and address:
        raise UsageError("--ray-address needs --runner ray; leave it out. Nothing was run.")
    return RayTasks(address, jobs) if name == "ray" else Processes(jobs, moved)


def execute(
    jobs: Sequence[Job], runner: Runner, report: Callable[[Outcome], None]
) -> list[Outcome]:
    """Execute runs, those already finished first; ``report`` takes each outcome."""
    ordered = sorted(jobs, key=lambda job: job.status != "finished")  # stable
    outcomes: list[Outcome] = []
    for outcome in runner(ordered):
        outcomes.append(outcome)
        report(outcome)
    return outcomes


def attempt(job: Job, report: Progress | None = None) -> Outcome:
    """Execute a run and say how it ended."""
    try:
        job.execute(report)
    except AutodsError as error:
        return Outcome(job, str(error))
    except OSError as error:
        return Outcome(job, f"the system refused: {why_refused(error)}. {refusal(error).cure}.")
    except Exception as error:  # a defect in one run must not cost the others
        return Outcome(job, f"{type(error).__name__}: {error}", traceback.format_exc())
    return Outcome(job, None)


def _lost(job: Job, how: str) -> Outcome:
    return Outcome(
        job,
        f"its process was lost {ATTEMPTS} times, at last by {how}, perhaps for want of memory; "
        "its checkpoint is kept. Use fewer --jobs.",
    )


@dataclass(eq=False)
class _Worker:
    """A process that executes one run."""

    job: Job
    process: BaseProcess
    outcomes: Connection

    @classmethod
    def start(cls, context: ForkServerContext | SpawnContext, job: Job) -> _Worker:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(job, sender), name=job.name)
        with sender:  # closed here, the end of the process ends what can be received
            start(process)
        return cls(job, process, receiver)

    def outcome(self) -> Outcome | float | None:
        """Return the outcome of a process that ended; ``None`` if it ended without one.

        A number is how much of the run is done, from 0 to 1: the process goes on.
        """
        try:
            outcome: Outcome | float | None = self.outcomes.recv()
        except EOFError:
            outcome = None
        if isinstance(outcome, float):
            return outcome
        self.outcomes.close()
        self.process.join()
        return outcome

    def lost(self) -> Outcome:
        return _lost(self.job, how_ended(self.process.exitcode or 0))


@dataclass(frozen=True)
class Processes:
    """Executes ``jobs`` runs at once, each in its own process of this machine."""

    jobs: int
    moved: Callable[[float], None] = lambda _: None

    def __call__(self, jobs: Sequence[Job]) -> Generator[Outcome, None, None]:
        """Yield the outcome of every run as it ends."""
        shares: dict[str, float] = {}  # of runs under way, how much is done
        context = worker_context(PRELOADED)
        waiting = deque((job, ATTEMPTS) for job in jobs)
        left: dict[str, int] = {}
        workers: list[_Worker] = []
        try:
            while waiting or workers:
                while waiting and len(workers) < self.jobs:
                    job, left[job.name] = waiting.popleft()
                    with undisturbed():
                        workers.append(_Worker.start(context, job))
                ready = wait([worker.outcomes for worker in workers])
                for worker in [worker for worker in workers if worker.outcomes in ready]:
                    outcome, job = worker.outcome(), worker.job
                    if isinstance(outcome, float):
                        shares[job.name] = outcome
                        self.moved(sum(shares.values()))
                        continue
                    workers.remove(worker)
                    shares.pop(job.name, None)
                    if outcome is None and left[job.name] > 1:
                        waiting.appendleft((job, left[job.name] - 1))
                    else:
                        yield outcome or worker.lost()
        finally:  # an interrupted command leaves no process behind
            for worker in workers:
                worker.process.kill()
                worker.process.join()


def _work(job: Job, outcomes: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command answers Ctrl-C
    end_with_parent()  # so that its run can be resumed
    outcomes.send(attempt(job, _Teller(outcomes)))


class _Teller(Progress):
    """Tells the command now and then how much of a run is done."""

    def __init__(self, outcomes: Connection) -> None:
        self._outcomes = outcomes
        self._total, self._done, self._told = 0, 0, time.monotonic()

    def start(self, title: str, total: int | None, unit: str, done: int = 0) -> None:
        self._total, self._done = total or 0, done

    def advance(self, amount: int) -> None:
        self._done += amount
        self.partly(0.0)

    def partly(self, amount: float) -> None:
        now = time.monotonic()
        if self._total and now - self._told >= TOLD_EVERY:
            self._told = now
            self._outcomes.send(min(1.0, (self._done + amount) / self._total))


@dataclass(frozen=True)
class RayTasks:
    """Executes runs as tasks of a Ray cluster whose machines see the study's folder and features.

    A cluster that is started here executes ``jobs`` runs at once and ends with the study; see
    `autods.core.ray_cluster.connect`.
    """

    address: str | None
    jobs: int

    def __call__(self, jobs: Sequence[Job]) -> Generator[Outcome, None, None]:
        """Yield the outcome of every run as it ends; errors as of `connect`."""
        from autods.core.ray_cluster import connect, import_ray

        ray = import_ray()
        ours = not ray.is_initialized()
        if ours:
            threads = max((job.threads for job in jobs), default=1)
            connect(ray, self.address, cores=self.jobs * threads)
        try:
            yield from _ray_outcomes(ray, jobs, ours)
        finally:
            if ours:
                ray.shutdown()


def _ray_outcomes(ray: Any, jobs: Sequence[Job], ours: bool) -> Generator[Outcome, None, None]:
    task = ray.remote(max_retries=ATTEMPTS - 1, max_calls=1)(attempt)
    pending = {
        task.options(
            num_cpus=job.threads, num_gpus=1 if job.device.startswith("cuda") else 0
        ).remote(job): job
        for job in jobs
    }
    try:
        while pending:
            ready, _ = ray.wait(list(pending), timeout=POLL_SECONDS)
            for reference in ready:
                job = pending.pop(reference)
                try:
                    yield ray.get(reference)
                except ray.exceptions.RayTaskError as error:  # a worker that cannot execute runs
                    cause = f"{error}".strip().splitlines()[-1]
                    yield Outcome(job, f"it could not start on the cluster: {cause}")
                except ray.exceptions.RayError as error:
                    yield _lost(job, " ".join(f"{error}".split())[:200])
    finally:
        # Our own connection ends with all that is under way. Not cancelled there: a cancel aborts
        # this whole program where a task ends at the same moment.
        for reference in () if ours else pending:
            ray.cancel(reference, force=True)
