"""Engines: where the experts of a group train. All give the same buffers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from autods.core.registry import unknown
from autods.errors import UsageError
from bmc.engines.base import Engine
from bmc.engines.local_engine import LocalEngine, crew_devices, worker_devices

__all__ = ["ENGINES", "Engine", "LocalEngine", "crew_devices", "open_engine", "worker_devices"]

ENGINES = ("local", "ray")


@contextmanager
def open_engine(
    name: str,
    address: str | None = None,
    workers: int | None = None,
    device: str = "cpu",
    note: Callable[[str], None] = lambda _: None,
    devices: Sequence[str] = (),
) -> Iterator[Engine]:
    """Give an engine by name, ready to train; a cluster that was started for it ends with it.

    ``devices`` are those of `LocalEngine`; the rest is as of
    `bmc.engines.ray_engine.RayEngine`, and address and workers are for ``ray`` alone.
    """
    if name not in ENGINES:
        raise unknown("engine", name, ENGINES)
    if name == "local":
        for option, value in (("--ray-address", address), ("--ray-workers", workers)):
            if value:
                raise UsageError(f"{option} goes with --engine ray; nothing was done.")
        local = LocalEngine(devices, note)
        try:
            yield local
        finally:
            local.close()
        return

    from bmc.engines.ray_engine import RayEngine

    engine = RayEngine(address, workers, device, note)
    engine.connect()
    try:
        yield engine
    finally:
        engine.close()
