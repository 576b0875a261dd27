"""Check feature sets of others in a process of their own: HDF5 reads damaged files in C.

A reader that crashes, hangs or asks for all memory takes the child down, not the command.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from autods.core.root import DataRoot
from autods.errors import AutodsError
from autods.interop.shared.manifest import SharedFeatures, SharedSet

START_SECONDS, SLOWEST = 60.0, 5e6  # of a child; bytes a second
MEMORY = 8 << 30  # bytes of address space beyond the files, which are mapped
PROGRAM = "from autods.interop.shared.check import main; main()"


def check_set(root: DataRoot, shared: SharedFeatures, one: SharedSet) -> list[str]:
    """Return what is wrong with a feature set that has arrived, none if it is what was stated."""
    request = {
        "root": str(root.path),
        "encoder": shared.encoder,
        "provenance": shared.provenance,
        "dim": shared.dim,
        "size": one.size,
        **one.model_dump(include={"dataset", "fingerprint", "samples_sha256", "splits", "classes"}),
    }
    seconds = START_SECONDS + one.size / SLOWEST
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        return list(json.loads(done.stdout))
    except subprocess.TimeoutExpired:
        return [f"its shards could not be read within {seconds:.0f} seconds"]
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
        return [f"its shards cannot be read: the reader ended with {done.returncode} ({last:.160})"]


def main() -> None:
    """Check what standard input asks for; print the problems as JSON."""
    request = json.load(sys.stdin)
    with suppress(ImportError, ValueError, OSError):  # not on every platform
        import resource

        most = MEMORY + 4 * int(request["size"])
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    try:
        found = _problems(request)
    except AutodsError as error:
        found = [str(error)]
    print(json.dumps(found))


def _problems(request: Mapping[str, Any]) -> list[str]:
    from autods.checks.features import verify_features
    from autods.features.sets import describe_features, open_features
    from autods.streams.checks import INFORMATIONAL

    root, encoder, dataset = DataRoot(Path(request["root"])), request["encoder"], request["dataset"]
    stored = open_features(root, encoder, dataset)
    if problems := verify_features(root, encoder, [dataset]):
        return problems
    described = describe_features(stored)
    keys = ("dataset", "dim", "fingerprint", "samples_sha256", "splits", "classes")
    found = [
        f"{key}: the features manifest says {request[key]!s:.80}, the shards say "
        f"{described[key]!s:.80}"
        for key in keys
        if request[key] != described[key]
    ]
    one, two = request["provenance"], dict(stored.info.encoder)
    found += [
        f"encoder {key}: the features manifest says {one.get(key)!s:.80}, the shards say "
        f"{two.get(key)!s:.80}"
        for key in sorted((one.keys() | two.keys()) - INFORMATIONAL)
        if one.get(key) != two.get(key)
    ]
    return found
