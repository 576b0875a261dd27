"""Extraction on several devices of this machine: a process for each, on disjoint shards.

A process asks for its next shard when it is ready, so a fast device makes more of them.
The content of a shard does not depend on the process that makes it.
"""

from __future__ import annotations

import atexit
import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from autods.core.cores import usable_cores
from autods.core.devices import choose_device
from autods.core.processes import (
    choose_workers,
    end_with_parent,
    undisturbed,
    worker_context,
)
from autods.core.progress import Progress
from autods.core.workers import start
from autods.encode.encoders.interface import Encoder
from autods.encode.engines.local import LocalEngine, make_shards
from autods.encode.jobs import BatchReport, Engine, Jobs, Report, ShardJob, ShardReport
from autods.encode.loader import PRELOADED
from autods.encode.timings import Processes
from autods.errors import AutodsError, EncoderError, UsageError

Factory = Callable[[str], Encoder]  # builds the encoder on a device; can be pickled


class _Signal(Enum):
    """What a device says to its parent, apart from its reports."""

    NEXT = "send me the next shard"
    DONE = "the last shard of this dataset is made"


Message = _Signal | BatchReport | ShardReport | AutodsError | OSError


@dataclass(eq=False)
class _Device:
    """The process of one device as its parent sees it."""

    name: str
    process: Any
    connection: Connection


class DeviceEngine:
    """Makes shards in one process for each device. Each keeps its encoder for the next dataset.

    The factory is called in each process with the name of its device: ``cuda:0``, ``cuda:1`` ...;
    ``cpu`` may be named several times. It is imported there, so a script that defines it must
    start below ``if __name__ == "__main__"``. ``workers`` decode for each device; 0: the device's
    own process; ``None``: as many as suit.
    """

    def __init__(
        self, factory: Factory, devices: Sequence[str], workers: int | None = None
    ) -> None:
        self._factory = factory
        self._names = list(devices)
        self._workers = workers
        self._devices: list[_Device] = []

    def processes(self, images: int) -> Processes:
        """Return how many processes decode and encode, over all devices."""
        return Processes(len(self._names) * self._each(images), len(self._names))

    def __call__(self, jobs: Jobs, report: Report) -> Generator[ShardReport, None, None]:
        """Make all shards of a dataset; yield a report for each, in any order.

        Raises what the process of a device raises, and `EncoderError` when one ends without a word;
        finished shards are kept.
        """
        try:
            self._start()
            for device in self._devices:
                _send(device, self._each(jobs.images))
            yield from self._reports(iter(jobs), report)
        except BaseException:  # the processes may be in any state: none can be used again
            self.close()
            raise

    def close(self) -> None:
        """End the processes."""
        atexit.unregister(self.close)
        for device in self._devices:
            device.process.kill()
            device.process.join()
            device.connection.close()
        self._devices = []

    def _each(self, images: int) -> int:
        if self._workers is not None:
            return self._workers
        return choose_workers(images, len(self._names))

    def _start(self) -> None:
        if self._devices:
            return
        atexit.register(self.close)  # a program does not end before the processes it started
        threads = max(1, usable_cores() // len(self._names))
        context = worker_context(PRELOADED)
        for name in self._names:
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(self._factory, name, threads, there))
            with there, undisturbed():
                start(process)
                self._devices.append(_Device(name, process, here))

    def _reports(
        self, jobs: Iterator[ShardJob], report: Report
    ) -> Generator[ShardReport, None, None]:
        busy: dict[Any, _Device] = {device.connection: device for device in self._devices}
        while busy:
            for connection in wait(list(busy)):
                message = _received(busy[connection])
                if isinstance(message, ShardReport):
                    yield message
                elif isinstance(message, BatchReport):
                    report(message)
                elif message is _Signal.NEXT:
                    _send(busy[connection], next(jobs, None))
                elif message is _Signal.DONE:
                    del busy[connection]
                else:
                    raise message


def choose_devices(text: str) -> list[str]:
    """Return the devices that a user names: ``auto``, or one or several with commas between.

    ``auto`` means all GPUs, or the CPU if there is none. Raises `UsageError` if this machine or
    its torch has no such device, or devices of different kinds are named, whose features differ
    in the last bits.
    """
    if text == "auto":
        return [f"cuda:{number}" for number in range(torch.cuda.device_count())] or ["cpu"]
    devices = [str(choose_device(name.strip())) for name in text.split(",")]
    kinds = sorted({torch.device(name).type for name in devices})
    if len(kinds) > 1:
        raise UsageError(
            f"expected devices of one kind, got {' and '.join(kinds)}: the last bits of their "
            "features differ; nothing was done. Name the one or the other."
        )
    return devices


def local_engine(
    factory: Callable[..., Encoder],
    devices: Sequence[str],
    workers: int | None,
    progress: Progress,
) -> tuple[Encoder, Engine]:
    """Return the encoder and the engine that makes shards with it on devices of this machine.

    The factory takes the device and, by name, ``progress``. With several devices it must be
    picklable, and its encoder a dataclass; the one returned then only describes the features.
    """
    if len(devices) == 1:
        encoder = factory(devices[0], progress=progress)
        return encoder, LocalEngine(encoder, workers)
    encoder = on_device(factory("cpu", progress=progress), torch.device(devices[0]).type)
    return encoder, DeviceEngine(factory, devices, workers)


def on_device(encoder: Encoder, device: str) -> Encoder:
    """Return an encoder, a dataclass, that says that it computes on ``device``."""
    provenance = {**encoder.provenance, "device": device}
    # the protocol cannot say "a dataclass"; factories promise it
    return replace(encoder, provenance=provenance)  # type: ignore[type-var]


def _send(device: _Device, what: int | ShardJob | None) -> None:
    try:
        device.connection.send(what)
    except ConnectionError:
        raise _ended(device) from None


def _received(device: _Device) -> Message:
    try:
        message: Message = device.connection.recv()
    except (EOFError, ConnectionError):
        raise _ended(device) from None
    return message


def _ended(device: _Device) -> EncoderError:
    return EncoderError(
        f"the process of device '{device.name}' ended without a word, most likely for want "
        "of memory; finished shards are kept. Run the same command again with fewer "
        "--workers, a smaller --batch-size or fewer devices."
    )


def _serve(factory: Factory, name: str, threads: int, parent: Connection) -> None:
    """Make shards of one dataset after another until the parent ends this process."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    try:
        _settle(name, threads)
        encoder = factory(name)
        while True:
            workers = parent.recv()
            asked = iter(partial(_ask, parent), None)
            for made in make_shards(asked, encoder, workers, parent.send):
                parent.send(made)
            parent.send(_Signal.DONE)
    except (AutodsError, OSError) as error:
        parent.send(error)


def _settle(name: str, threads: int) -> None:
    """Let this process compute on a device; raises what `choose_device` does."""
    device = choose_device(name)
    if device.type == "cpu":
        torch.set_num_threads(threads)
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)  # otherwise every process takes memory of the first one too


def _ask(parent: Connection) -> ShardJob | None:
    parent.send(_Signal.NEXT)
    job: ShardJob | None = parent.recv()
    return job
