"""The local engine: the experts of a group train on this machine, in this process or in workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch

from autods.core import sharing
from autods.core.cores import usable_cores
from bmc.config import Config
from bmc.engines.apart import Setting
from bmc.engines.base import Trained, model_bytes
from bmc.engines.local import STACK, train_experts
from bmc.engines.local_worker import Crew
from bmc.network.mlp import ResidualMLP
from bmc.train.data import TaskTensors
from bmc.train.memory import Samples
from bmc.train.sampling import rows_per_pass, steps_for

START = {"cpu": 2.0, "cuda": 10.0}  # seconds until a worker trains: it imports torch
# seconds of an update, and of each of its rows, about: of one expert, on CUDA of all that train
# together (there nothing was measured)
UPDATE, ROW = {"cpu": 0.002, "cuda": 0.0005}, {"cpu": 0.00003, "cuda": 0.0}


class LocalEngine:
    """Trains the experts in this process, on the device of the base model, or in workers.

    The bits do not depend on it. Workers start in the background if they save more on the experts
    expected than their start costs; else once they would have saved that on the groups so far, the
    one at hand included. They stay until `close`.

    Parameters
    ----------
    devices
        Of each worker: ``cpu`` several times, or several GPUs. With one or none, and for groups
        of one expert, this process trains.
    note
        Gets a line about each worker that is lost.
    start
        Seconds that starting workers costs; default: an estimate.
    """

    name: ClassVar[str] = "local"

    def __init__(
        self,
        devices: Sequence[str] = (),
        note: Callable[[str], None] = lambda _: None,
        start: float | None = None,
    ) -> None:
        self._crew = Crew(devices if sharing.AVAILABLE else (), note)
        self._note = note
        self._kind = torch.device(devices[0]).type if devices else "cpu"
        self._start = START[self._kind] if start is None else start
        self._gain = 0.0  # seconds that workers would have saved so far
        self._peaks: dict[str, int] = {}

    @property
    def workers(self) -> int:
        """Number of processes that train at once; 1: this one."""
        return max(1, len(self._crew.devices))

    def expect(self, rows: Sequence[int], together: int, config: Config) -> None:
        """Begin to start the workers if such experts, ``together`` at a time, are worth it."""
        if self.workers > 1 and self._gained(rows, together, config) >= self._start:
            self._crew.begin()

    def train(self, base: ResidualMLP, tasks: Sequence[TaskTensors], config: Config) -> Trained:
        """Train one expert per task from the base model.

        Nothing travels between machines; the bytes are those that another engine sends. Errors as
        of `bmc.engines.local_worker.Crew.train`.
        """
        received = len(model_bytes(base)) * len(tasks)
        if self._pays(base, tasks, config):
            sent, steps = self._train_apart(base, tasks, config)
            buffers = [Samples.from_bytes(data, base.weights.device) for data in sent]
            return Trained(buffers, steps, sum(map(len, sent)), received)
        buffers, steps = train_experts(base, tasks, config)
        return Trained(buffers, steps, sum(len(b.to_bytes()) for b in buffers), received)

    def peaks(self) -> dict[str, int]:
        """Return the largest peak of a worker's memory so far, if there are workers."""
        return self._peaks

    def close(self) -> None:
        """End the workers."""
        self._crew.close()

    def _pays(self, base: ResidualMLP, tasks: Sequence[TaskTensors], config: Config) -> bool:
        """Tell whether workers train this group."""
        kind = base.weights.device.type
        if self.workers == 1 or len(tasks) == 1 or self._kind != kind:
            return False
        self._gain += self._gained([len(task.train) for task in tasks], len(tasks), config)
        return self._crew.is_ready or self._gain >= self._start

    def _gained(self, rows: Sequence[int], together: int, config: Config) -> float:
        """Return about how many seconds workers save with experts on so many samples each."""
        size = config.batch_size
        drawn = (rows_per_pass(n, size, config.drop_last) for n in rows)
        steps = [steps_for(n, config.epochs, size) for n in drawn]
        updates = sum(steps) if self._kind == "cpu" else max(steps)
        seconds = updates * (UPDATE[self._kind] + ROW[self._kind] * size)
        return seconds * (1 - 1 / min(self.workers, together))

    def _train_apart(
        self, base: ResidualMLP, tasks: Sequence[TaskTensors], config: Config
    ) -> tuple[list[bytes], list[int]]:
        """Train the experts in workers; return their buffers as bytes, and their updates."""
        setting = Setting(
            config, base.dim, base.n_classes, max(task.n_classes for task in tasks),
            torch.get_num_threads(),
        )  # fmt: skip
        parts = self._parts(tasks, base.weights.device.type)
        state = {name: tensor.detach() for name, tensor in base.state_dict().items()}
        answers = self._crew.train(setting, state, [[tasks[i] for i in part] for part in parts])
        done: dict[int, tuple[bytes, int]] = {}
        for part, answer in zip(parts, answers, strict=True):
            done.update(zip(part, zip(answer.buffers, answer.steps, strict=True), strict=True))
            for kind in ("host", "device"):
                key, peak = f"peak_worker_{kind}_bytes", getattr(answer, f"peak_{kind}_bytes")
                self._peaks[key] = max(self._peaks.get(key, 0), peak)
        return [done[i][0] for i in range(len(tasks))], [done[i][1] for i in range(len(tasks))]

    def _parts(self, tasks: Sequence[TaskTensors], kind: str) -> list[list[int]]:
        """Return which tasks train together, by position; those with most samples first.

        On the CPU each worker takes several parts, so that one beside a busy program takes fewer,
        and large tasks do not share a part: one worker would train on when the others are done.
        On GPUs each worker has a bank.
        """
        rows = [len(task.train) for task in tasks]
        ordered = sorted(range(len(tasks)), key=lambda i: -rows[i])
        if kind not in STACK:
            return [ordered[i :: self.workers] for i in range(min(self.workers, len(tasks)))]
        size = max(1, min(STACK[kind], len(tasks) // (2 * self.workers)))
        most = sum(rows) / (2 * self.workers)
        parts: list[list[int]] = []
        for i in ordered:
            if parts and len(parts[-1]) < size and sum(rows[k] for k in [*parts[-1], i]) <= most:
                parts[-1].append(i)
            else:
                parts.append([i])
        return parts


def worker_devices(device: torch.device, threads: int = 1, share: int = 1) -> list[str]:
    """Return the devices of as many workers as this machine has room for.

    On the CPU, one for each usable core, or ``threads`` of them, divided by the number of runs
    that ``share`` the machine. On GPUs, one each if the device is CUDA without a number and the
    run is alone.
    """
    if device.type == "cpu":
        return ["cpu"] * max(1, usable_cores() // (threads * share))
    if device.type == "cuda" and device.index is None and share == 1:
        return [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return [str(device)]


def crew_devices(device: torch.device, threads: int, workers: int | None) -> list[str]:
    """Return the device of each of so many workers, those of `worker_devices` in turn.

    ``None``: as many as this machine has room for.
    """
    every = worker_devices(device, threads)
    return every if workers is None else [every[k % len(every)] for k in range(workers)]
