"""The engine of a Ray cluster: experts are Ray tasks, the centre consolidates where the run is.

Each expert receives the base model once and sends its buffer once. The training data of a task
is placed with its worker by Ray's object store, since the features need not be on a file system
that all machines share; this is data placement, counted apart from communication.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from autods.core.output import counted
from autods.core.ray_cluster import connect, import_ray
from autods.errors import AutodsError, ClusterError, UsageError
from bmc.config import Config
from bmc.engines.apart import Answer, Setting
from bmc.engines.base import Trained, model_bytes
from bmc.engines.ray_worker import Place, task_bytes, train_part, versions
from bmc.network.mlp import ResidualMLP
from bmc.train.data import TaskTensors
from bmc.train.memory import Samples
from bmc.train.movement import moved

MOST_LOSSES = 10  # workers that one expert may cost
LOOK = 10.0  # seconds without news until Ray is looked after


class RayEngine:
    """Trains experts on a Ray cluster.

    A worker or machine that is lost costs the experts it was training: Ray starts them again
    elsewhere, and they send the same buffers. On the CPU each expert has a core and one thread,
    on GPUs the experts of a group are dealt out to the GPUs and train there as banks.

    The buffers have the bits of the local engine where all machines compute alike (the same
    instruction set) and torch's products do not depend on the number of threads, as with the
    default widths; `docs/benchmarks/bmc_ray.md` says what was tried.

    The address is as of `autods.core.ray_cluster.connect`; a cluster of this machine alone ends
    with `close`. ``workers`` experts (on GPUs: banks) train at once; ``None``: as many as the
    cluster has cores (GPUs). The device, ``cpu`` or ``cuda``, is that of the run: where the
    experts train is part of the results. ``note`` gets a line about each event.
    """

    name: ClassVar[str] = "ray"

    def __init__(
        self,
        address: str | None = None,
        workers: int | None = None,
        device: str = "cpu",
        note: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.placed_bytes = 0  # training data that was handed to Ray so far
        self._address = address
        self._workers = workers
        self._device = device
        self._note = note
        self._ray: Any = None
        self._ours = False
        self._peaks = {"peak_worker_host_bytes": 0, "peak_worker_device_bytes": 0}

    @property
    def workers(self) -> int:
        """Number of parts that can train at once; 0 before it is connected."""
        return self._slots() if self._ray is not None else 0

    def connect(self) -> None:
        """Connect to the cluster, or start one on this machine."""
        if self._ray is not None:
            return
        ray = import_ray()
        self._ours = not ray.is_initialized()
        if self._ours:
            connect(ray, self._address, objects=None, cores=self._workers)
        self._ray = ray
        slots, kind = self._slots(), _kind(self._device)
        if not slots:
            self.close()
            raise UsageError(
                f"expected a cluster with {kind}s, as --device {self._device} asks for, got one "
                "that has none; nothing was done. Use another --device, or another cluster."
            )
        self._note(f"Ray: experts train on {counted(slots, kind)}")

    def close(self) -> None:
        """Leave the cluster, and end it if it was started here."""
        if self._ray is not None and self._ours:
            self._ray.shutdown()
        self._ray = None

    def expect(self, rows: Sequence[int], together: int, config: Config) -> None:
        """Do nothing: the cluster is there."""

    def train(self, base: ResidualMLP, tasks: Sequence[TaskTensors], config: Config) -> Trained:
        """Train one expert per task from the base model; those with most samples start first.

        Raises `ClusterError` if a machine has other versions, Ray has ended, or workers die again
        and again.
        """
        if base.weights.device.type != self._device:
            raise UsageError(
                f"the run is on {base.weights.device.type}, its experts would be on "
                f"{self._device}: their numbers would differ. Give the engine the run's device."
            )
        self.connect()
        model = model_bytes(base)
        # one thread: a machine has as many workers as cores
        widest = max(task.n_classes for task in tasks)
        setting = Setting(config, base.dim, base.n_classes, widest, threads=1)
        done: dict[tuple[int, ...], tuple[bytes, int]] = {}
        for part, answer in self._train_all(setting, model, self._parts(tasks)):
            for task, buffer, steps in zip(part, answer.buffers, answer.steps, strict=True):
                done[task.key] = buffer, steps
            for kind in ("host", "device"):
                key, peak = f"peak_worker_{kind}_bytes", getattr(answer, f"peak_{kind}_bytes")
                self._peaks[key] = max(self._peaks[key], peak)
        sent = [done[task.key][0] for task in tasks]
        device = base.weights.device
        return Trained(
            buffers=[Samples.from_bytes(data, device) for data in sent],
            steps=[done[task.key][1] for task in tasks],
            communication_bytes=sum(map(len, sent)),
            broadcast_bytes=len(model) * len(tasks),
        )

    def peaks(self) -> dict[str, int]:
        """Return the largest peak of a worker's memory so far, on its host and its device."""
        return self._peaks

    def _parts(self, tasks: Sequence[TaskTensors]) -> deque[list[TaskTensors]]:
        """Return what is trained together: on the CPU each expert alone, else a bank per GPU."""
        ordered = sorted(tasks, key=lambda task: -len(task.train))
        n = len(tasks) if self._device == "cpu" else min(len(tasks), max(1, self._slots()))
        return deque(ordered[i::n] for i in range(n))

    def _train_all(
        self, setting: Setting, model: bytes, parts: deque[list[TaskTensors]]
    ) -> list[tuple[list[TaskTensors], Answer]]:
        """Train all parts, so many at once as there are workers: data is placed as it is used."""
        base = self._ray.put(model)  # once: machines fetch it from each other
        slots = max(1, self._slots())
        under_way: dict[Any, list[TaskTensors]] = {}
        answers = []
        # After an error what is under way ends by itself, or with the connection: Ray's cancel
        # aborts this whole program where a task ends at the same moment.
        while parts or under_way:
            while parts and len(under_way) < slots:
                part = parts.popleft()
                under_way[self._start(setting, base, part)] = part
            for ready in self._wait(list(under_way)):
                answers.append((under_way[ready], self._result(ready)))
                del under_way[ready]
                moved(len(answers), len(answers) + len(parts) + len(under_way), "done")
        return answers

    def _start(self, setting: Setting, base: Any, part: Sequence[TaskTensors]) -> Any:
        remote = self._ray.remote(train_part).options(
            num_cpus=1, num_gpus=int(self._device == "cuda"),
            max_retries=MOST_LOSSES, scheduling_strategy="SPREAD",
        )  # fmt: skip
        places = [Place(t.index, t.name, t.dataset, t.start, t.stop, t.part) for t in part]
        data = [task_bytes(task) for task in part]
        self.placed_bytes += sum(map(len, data))
        placed = map(self._ray.put, data)
        return remote.remote(setting, versions(), self._device, places, base, *placed)

    def _wait(self, references: list[Any]) -> list[Any]:
        """Return what is ready, as soon as something is."""
        told = False
        while True:
            ready, _ = self._ray.wait(references, timeout=LOOK)
            if ready:
                return list(ready)
            here = self._ray.get_runtime_context().get_node_id()
            alive = [node["NodeID"] for node in self._ray.nodes() if node["Alive"]]
            if here not in alive:
                raise ClusterError(
                    "Ray has ended on this machine while experts trained; finished groups are "
                    "kept. Run the same command again with --resume."
                )
            if not told and not self._slots():
                self._note(f"Ray: no {_kind(self._device)} is left; waiting for the cluster")
                told = True

    def _result(self, reference: Any) -> Answer:
        exceptions = self._ray.exceptions
        try:
            answer: Answer = self._ray.get(reference)
        except exceptions.RayTaskError as error:
            if isinstance(error.cause, AutodsError | OSError):
                raise error.cause from None
            if isinstance(error.cause, exceptions.RaySystemError):
                raise ClusterError(
                    f"a worker could not start: {f'{error}'.strip().splitlines()[-1]}; finished "
                    "groups are kept. Install the same version of autods-bmc on all machines of "
                    "the cluster, then run the same command with --resume."
                ) from None
            raise  # a defect of ours: with the traceback from over there
        except exceptions.RayError as error:
            raise ClusterError(
                f"an expert was lost with its worker {MOST_LOSSES + 1} times, most likely for "
                f"want of memory: {' '.join(f'{error}'.split())[:300]}; finished groups are "
                "kept. Run the same command again with --resume and fewer --ray-workers."
            ) from None
        return answer

    def _slots(self) -> int:
        """Return how many parts can train at once."""
        key = _kind(self._device)
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        there = sum(int(node.get(key, 0)) for node in nodes)
        return there if self._workers is None else min(there, self._workers)


def _kind(device: str) -> str:
    """Return what Ray calls the resource."""
    return "GPU" if device == "cuda" else "CPU"
