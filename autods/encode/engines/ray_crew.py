"""The workers of a Ray cluster: who is there, who makes which shards, who was lost.

A shard of a worker that was lost goes to the next one that is free; another worker takes
the place of the lost one as soon as the cluster has room for it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

from autods.core.output import counted
from autods.encode.engines.devices import Factory
from autods.encode.engines.ray_worker import Machine, Token, Worker
from autods.encode.jobs import Jobs, ShardJob, ShardReport
from autods.errors import AutodsError, ClusterError

MOST_LOSSES = 10  # workers that one shard, or loading the encoder, may cost
CHUNK = 8  # shards that a GPU gets at once: it reads ahead while it encodes
LOADING = "it loaded the encoder"
LOOK = 10.0  # seconds without news until Ray is looked after
PATIENCE = 6  # polls without any worker before it is reported


@dataclass(frozen=True)
class CrewPlan:
    """The workers of a cluster."""

    device: str  # ``cpu``, or ``cuda``: a GPU for each worker
    workers: int
    cores: int  # that each worker takes
    decoders: int  # processes that decode for each worker; 0: itself

    def describe(self) -> str:
        """Return the workers in a few words."""
        by = "GPU" if self.device == "cuda" else counted(self.cores, "core")
        decode = f" and {self.decoders} processes that decode" if self.decoders else ""
        return f"{counted(self.workers, 'worker')} with {by}{decode} each"


@dataclass(eq=False)
class _Member:
    """One worker: Ray's handle of it, and where it is once it is ready."""

    handle: Any
    machine: Machine | None = None
    left: deque[ShardJob] = field(default_factory=deque)  # to make, in order; not yet reported


class Crew:
    """The workers of one run; ``ray`` is the connected module, ``driver`` this machine."""

    def __init__(
        self,
        ray: Any,
        plan: CrewPlan,
        factory: Factory,
        driver: Machine,
        note: Callable[[str], None],
    ) -> None:
        self._ray, self._plan, self._factory = ray, plan, factory
        self._driver, self._note = driver, note
        self._loading: dict[Any, _Member] = {}  # by the reference to come
        self._idle: deque[_Member] = deque()
        self._busy: dict[Any, _Member] = {}  # by the generator of its reports
        self._losses: Counter[str] = Counter()  # by what the worker did
        self._processors: set[str] = set()

    def make(self, jobs: Jobs, token: Token) -> Generator[ShardReport, None, None]:
        """Make all shards; raises what `autods.encode.engines.ray_engine.RayEngine` says."""
        ahead, again = deque(jobs.plans), deque[ShardJob]()
        self._losses.clear()
        try:
            while ahead or again or self._busy:
                self._fill_up()
                while self._idle and (ahead or again):
                    if again:
                        shards = [again.popleft()]
                    else:
                        count = self._chunk(len(ahead))
                        shards = [jobs.job(ahead.popleft()) for _ in range(count)]
                    self._start(self._idle.popleft(), shards, token)
                for ready in self._wait():
                    if member := self._loading.pop(ready, None):
                        self._welcome(member, ready)
                    elif made := self._report(ready, again):
                        yield made
        finally:  # what is under way is of no further use, and must not go on unseen
            for member in self._busy.values():
                self._ray.kill(member.handle)
            self._busy.clear()

    def dismiss(self) -> None:
        """End all workers."""
        for member in [*self._idle, *self._loading.values()]:
            self._ray.kill(member.handle)
        self._idle.clear()
        self._loading.clear()

    def _chunk(self, left: int) -> int:
        """Return how many shards to give at once: few at the end, so that all end together."""
        if self._plan.device == "cpu":
            return 1
        return max(1, min(CHUNK, left // (2 * self._plan.workers)))

    def _fill_up(self) -> None:
        plan = self._plan
        worker = self._ray.remote(Worker).options(
            num_cpus=plan.cores,
            num_gpus=1 if plan.device == "cuda" else 0,
            scheduling_strategy="SPREAD",
        )
        there = len(self._loading) + len(self._idle) + len(self._busy)
        for _ in range(plan.workers - there):
            handle = worker.remote()
            ready = handle.prepare.remote(
                self._factory, plan.device, plan.cores, plan.decoders, self._driver
            )
            self._loading[ready] = _Member(handle)

    def _start(self, member: _Member, shards: list[ShardJob], token: Token) -> None:
        made = member.handle.make.options(num_returns="streaming").remote(shards, token)
        member.left = deque(shards)
        self._busy[made] = member

    def _wait(self) -> list[Any]:
        """Return what is ready, as soon as something is."""
        looks = 0
        while True:
            ready, _ = self._ray.wait([*self._busy, *self._loading], timeout=LOOK)
            if ready:
                return list(ready)
            self._check_alive()
            looks += 1
            if not self._busy and looks % PATIENCE == 0:
                self._note("Ray: no worker has started; waiting for the cluster to have room")

    def _check_alive(self) -> None:
        """Refuse to wait for ever where Ray itself has ended on this machine."""
        here = self._ray.get_runtime_context().get_node_id()
        if not any(node["Alive"] and node["NodeID"] == here for node in self._ray.nodes()):
            raise ClusterError(
                "Ray has ended on this machine while workers made shards; finished shards are "
                "kept. Run the same command again."
            )

    def _welcome(self, member: _Member, ready: Any) -> None:
        """Take a worker that has loaded its encoder."""
        try:
            machine = self._result(ready)
        except _Lost as lost:
            self._lose(member, LOADING, str(lost))
            return
        self._losses[LOADING] = 0
        if self._processors and machine.processor not in self._processors:
            self._note(
                f"Ray: {machine.name} computes with {machine.processor}, others with "
                f"{', '.join(sorted(self._processors))}: last bits of their features can differ"
            )
        self._processors.add(machine.processor)
        member.machine = machine
        self._idle.append(member)

    def _report(self, made: Any, again: deque[ShardJob]) -> ShardReport | None:
        """Return the next report of a worker; ``None`` when it has no more, or was lost."""
        member = self._busy[made]
        try:
            report: ShardReport = self._result(next(made))
        except StopIteration:
            del self._busy[made]
            self._idle.append(member)
            return None
        except _Lost as lost:
            del self._busy[made]
            again.extend(member.left)
            doing = f"it made {member.left[0].path.name}" if member.left else "it had no more to do"
            self._lose(member, doing, str(lost))
            return None
        member.left.popleft()
        return report

    def _lose(self, member: _Member, doing: str, cause: str) -> None:
        self._ray.kill(member.handle)  # it may live on, out of reach
        self._losses[doing] += 1
        if self._losses[doing] >= MOST_LOSSES:
            raise ClusterError(
                f"{MOST_LOSSES} workers were lost, each while {doing}, most likely for want of "
                f"memory: {cause}; finished shards are kept. Run the same command again with fewer "
                "--workers or a smaller --batch-size."
            )
        where = f" on {member.machine.name}" if member.machine else ""
        self._note(f"Ray: a worker{where} was lost while {doing}; another one takes over")

    def _result(self, reference: Any) -> Any:
        """Return what a worker gave; raises what it raised, or `_Lost`."""
        exceptions = self._ray.exceptions
        try:
            return self._ray.get(reference)
        except exceptions.RayTaskError as error:
            if isinstance(error.cause, AutodsError | OSError):
                raise error.cause from None
            if isinstance(error.cause, exceptions.RaySystemError):
                raise _cannot_start(error) from None
            raise  # a defect of ours: with the traceback from over there
        except exceptions.RayError as error:
            if getattr(error, "actor_init_failed", False):
                raise _cannot_start(error) from None
            raise _Lost(" ".join(f"{error}".split())[:300]) from None


def _cannot_start(error: Exception) -> ClusterError:
    return ClusterError(
        f"a worker could not start: {f'{error}'.strip().splitlines()[-1]}; nothing was done. "
        "Install the same version of autods-bmc, and the code of an encoder of your own, on all "
        "machines of the cluster."
    )


class _Lost(Exception):
    """A worker died, or its machine is gone; the text is Ray's reason."""
