"""How many cores this process may use, and how many threads the libraries of its workers start."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PROC = Path("/proc/self/cgroup")
CGROUPS = Path("/sys/fs/cgroup")
# read by OpenMP (torch's own pool), OpenBLAS (numpy's), MKL and Accelerate when they are loaded
POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
NUMPY = ("OPENBLAS_NUM_THREADS",)  # torch does not read it; Accelerate serves both on a Mac


def usable_cores() -> int:
    """Return the number of cores that this process may use.

    Those of its affinity (`taskset`, a batch system), at most the CPU quota of its control groups
    (a container's ``--cpus``), rounded up: of processes that do not wait for each other, one more
    than the quota uses it up.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = _quota()
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def _quota() -> float | None:
    """Return the cores' worth of time that control groups allow, the least of all levels."""
    try:
        lines = PROC.read_text().splitlines()
    except OSError:
        return None  # no Linux
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mounts = [CGROUPS / controllers, CGROUPS / "cpu"] if controllers else [CGROUPS]
        mount = next((folder for folder in mounts if folder.is_dir()), None)
        if mount is None:
            continue
        own = mount / path.lstrip("/")
        # in a container the path may be that of the host; its own limits are then at the mount
        for level in (own, *own.parents):
            found.append(_version_1(level) if controllers else _version_2(level))
            if level == mount:
                break
    return min((quota for quota in found if quota is not None), default=None)


def _version_2(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _version_1(folder: Path) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        return quota / int((folder / "cpu.cfs_period_us").read_text()) if quota > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None


@contextmanager
def intra_op_threads(count: int) -> Iterator[None]:
    """Compute with so many threads of torch within the body."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def one_thread_by_default(pools: Sequence[str] = POOLS) -> None:
    """Let libraries that are loaded from here on compute with one thread, unless a user chose.

    ``pools`` are their variables; with `NUMPY` alone an encoder may still use all cores.
    """
    for name in pools:
        os.environ.setdefault(name, "1")


@contextmanager
def single_threaded_children() -> Iterator[None]:
    """Within the body, let started processes compute with one thread each.

    Workers are as many as cores: pools of threads in each would wait for each other. One that
    has several cores to itself asks torch for more threads when it runs.
    """
    before = {name: os.environ.get(name) for name in POOLS}
    os.environ.update(dict.fromkeys(POOLS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
