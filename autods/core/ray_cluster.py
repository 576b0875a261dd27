"""A connection to a Ray cluster, or a cluster on this machine. Ray itself is optional."""

from __future__ import annotations

import os
import socket
from typing import Any

from autods.core.cores import usable_cores
from autods.core.extras import require
from autods.errors import ClusterError, UsageError

OBJECTS = 256 << 20  # bytes of shared memory of a local cluster: jobs and reports are small
REACH = 5.0  # seconds for a cluster to answer
SETTINGS = {  # Ray reads them when it is imported
    "RAY_USAGE_STATS_ENABLED": "0",  # send no usage statistics
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",  # an error is raised where its answer is asked for
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".*",  # we report a lost worker ourselves, in one line
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # or it remarks on this choice itself
}


def import_ray() -> Any:
    """Return the module ``ray``; raise `UsageError` if it is not installed."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    require("engine 'ray'", "ray")
    import ray

    return ray


def connect(
    ray: Any, address: str | None, *, objects: int | None = OBJECTS, cores: int | None = None
) -> None:
    """Connect to a cluster, or start one on this machine.

    ``address`` is ``host:port``, or ``auto``, the cluster that this machine belongs to;
    ``None``: that of ``RAY_ADDRESS``, else a cluster of this machine alone, with ``objects``
    bytes of shared memory (``None``: Ray's default) and ``cores`` tasks at once (``None``: as many
    as this process may use cores).
    `UsageError` or `ClusterError` if the address cannot be used or does not answer.
    """
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    options: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": "ERROR"}
    if address == "local":
        cores = cores or usable_cores()
        options.update(include_dashboard=False, object_store_memory=objects, num_cpus=cores)
    elif address.startswith("ray://"):
        raise UsageError(
            f"expected the host:port of a Ray cluster, got '{address}': the command runs on a "
            "machine of the cluster, which sees the data root; nothing was done. Run it there, "
            "for example by `ray job submit`."
        )
    elif address != "auto":
        _check_reach(address)
    try:
        ray.init(**options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        cause = f"{error}".strip().splitlines() or [type(error).__name__]
        raise ClusterError(
            f"the Ray cluster at '{address}' cannot be used: {' '.join(cause)[:300]}; nothing was "
            "done. Check --ray-address, and that Python and Ray are of the same version there."
        ) from None


def _check_reach(address: str) -> None:
    """Refuse an address that does not answer: Ray itself would try for a quarter of an hour."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACH).close()
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"expected a Ray cluster at '{address}' (host:port), got: {error}; nothing was done. "
            "Correct --ray-address, or start the cluster with `ray start --head`."
        ) from None
