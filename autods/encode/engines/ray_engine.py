"""Extraction on a Ray cluster: each worker holds an encoder and makes one shard after another.

The data root must be one file system that every machine sees at the same path: workers read
archives there and write shards there. Only jobs and reports travel, and Ray moves them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autods.core.output import counted
from autods.core.processes import MOST
from autods.core.progress import Progress
from autods.core.ray_cluster import connect, import_ray
from autods.encode.encoders.interface import Encoder
from autods.encode.engines.devices import Factory, on_device
from autods.encode.engines.ray_crew import Crew, CrewPlan
from autods.encode.engines.ray_worker import Machine, shared_token
from autods.encode.jobs import Engine, Jobs, Report, ShardReport
from autods.encode.timings import Processes
from autods.errors import UsageError


class RayEngine:
    """Makes shards on a Ray cluster. Workers keep their encoder for the next dataset.

    If a worker or machine is lost, others make the shards that it had begun.

    Parameters
    ----------
    factory
        Builds the encoder in each worker, given ``cpu`` or ``cuda``. It is pickled, and what
        it needs must be installed on every machine.
    address
        ``host:port`` of a cluster, or ``auto``: the one that this machine belongs to. ``None``:
        that of the environment variable ``RAY_ADDRESS``, else a cluster of this machine
        alone, which ends with `close`.
    workers
        On the CPU, the number of workers; on GPUs, the processes that decode for each.
        ``None``: as many as the cluster has cores.
    """

    def __init__(
        self,
        factory: Factory,
        address: str | None = None,
        workers: int | None = None,
        device: str = "auto",
        note: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._factory = factory
        self._address = address
        self._workers = workers
        self._device = device
        self._note = note
        self._cluster: _Cluster | None = None

    @property
    def device(self) -> str:
        """What the encoders compute on: ``cpu`` or ``cuda``. Connects to the cluster.

        Raises `UsageError` without Ray or for an unusable address or device, and `ClusterError`
        when the cluster cannot be reached.
        """
        return self._connected().plan.device

    def processes(self, images: int) -> Processes:
        """Return how many processes work at once, over all machines; errors as of `device`."""
        plan = self._connected().plan
        return Processes(plan.workers * plan.decoders, plan.workers)

    def __call__(self, jobs: Jobs, report: Report) -> Generator[ShardReport, None, None]:
        """Make all shards of a dataset; yield a report for each, in any order.

        Raises what a worker raises, and `ClusterError` when a machine does not see the data root or
        has other software, or workers die again and again; finished shards are kept.
        """
        cluster = self._connected()
        with shared_token(jobs.plans[0].path.parent) as token:
            for made in cluster.crew.make(jobs, token):
                report(made.as_batch())
                yield made

    def close(self) -> None:
        """End the workers, and the cluster if it was started here."""
        if self._cluster:
            self._cluster.crew.dismiss()
            if self._cluster.ours:
                self._cluster.ray.shutdown()
            self._cluster = None

    def _connected(self) -> _Cluster:
        if self._cluster is None:
            ray = import_ray()
            ours = not ray.is_initialized()
            if ours:
                connect(ray, self._address)
            try:
                self._cluster = self._described(ray, ours)
            except BaseException:
                if ours:
                    ray.shutdown()
                raise
        return self._cluster

    def _described(self, ray: Any, ours: bool) -> _Cluster:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        plan = plan_crew(nodes, self._device, self._workers)
        self._note(f"Ray: {plan.describe()} on {counted(len(nodes), 'machine')}")
        crew = Crew(ray, plan, self._factory, Machine.here(plan.device), self._note)
        return _Cluster(ray, ours, plan, crew)


@dataclass(frozen=True)
class _Cluster:
    """A cluster that is connected, whether that was done here, and its workers."""

    ray: Any
    ours: bool
    plan: CrewPlan
    crew: Crew


def cluster_engine(
    factory: Callable[..., Encoder],
    address: str | None,
    device: str,
    workers: int | None,
    progress: Progress,
) -> tuple[Encoder, Engine]:
    """Return an encoder that describes the features, and the engine that makes shards on a cluster.

    The factory takes the device and, by name, ``progress``; it can be pickled, and gives a
    dataclass. The rest is as in `RayEngine`, which has the errors too.
    """
    import_ray()
    encoder = factory("cpu", progress=progress)
    engine = RayEngine(factory, address, workers, device, progress.note)
    return on_device(encoder, engine.device), engine


def plan_crew(nodes: Sequence[Mapping[str, float]], device: str, workers: int | None) -> CrewPlan:
    """Choose the workers of a cluster of ``nodes``, each with its number of ``CPU`` and ``GPU``.

    On GPUs there is one for each, and the cores of its machine are shared among those that
    decode for it. On the CPU there are ``workers`` with as many cores each as are there for
    all; by default one for each core. Raises `UsageError` when the cluster has no such device.
    """
    gpus = [node for node in nodes if node.get("GPU", 0) >= 1]
    kind = ("cuda" if gpus else "cpu") if device == "auto" else device
    if kind not in ("cpu", "cuda"):
        raise UsageError(
            f"engine 'ray' expects device auto, cpu or cuda, got '{device}': Ray gives each "
            "worker a GPU of its own. Nothing was done."
        )
    if kind == "cuda" and not gpus:
        raise UsageError(
            "expected a cluster with GPUs, got one that has none; nothing was done. "
            "Use --device cpu."
        )
    if kind == "cuda":
        cores = min(int(node.get("CPU", 0) // node["GPU"]) for node in gpus)
        decoders = min(MOST, max(1, cores)) if workers is None else workers
        count = sum(int(node["GPU"]) for node in gpus)
        return CrewPlan("cuda", count, min(cores, max(1, decoders)), decoders)
    cpus = [int(node.get("CPU", 0)) for node in nodes]
    count = min(workers or sum(cpus), sum(cpus))
    each = 1
    while count and sum(cpu // (each + 1) for cpu in cpus) >= count:
        each += 1
    return CrewPlan("cpu", max(1, count), each, 0)
