"""Check feature sets of others in a process of their own: HDF5 reads damaged files in C.

A reader that crashes, hangs or asks for all memory takes the child down, not the command.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from threading import Timer
from typing import Any

from autods.core.root import DataRoot
from autods.errors import AutodsError
from autods.interop.shared.manifest import SharedFeatures, SharedSet

START_SECONDS, SLOWEST = 60.0, 5e6  # of a child; bytes a second
MEMORY = 8 << 30  # bytes of address space beyond the files, which are mapped
STATED = {"dataset", "fingerprint", "samples_sha256", "splits", "classes"}  # of a set
PROGRAM = "from autods.interop.shared.check import main; main()"


class Checker:
    """Checks sets one after another in a child, which is started anew when it has ended."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[str] | None = None

    def __enter__(self) -> Checker:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def problems(self, root: DataRoot, shared: SharedFeatures, one: SharedSet) -> list[str]:
        """Return what is wrong with a set that has arrived, none if it is what was stated."""
        request = {
            "root": str(root.path),
            "encoder": shared.encoder,
            "provenance": shared.provenance,
            "dim": shared.dim,
            "size": one.size,
            **one.model_dump(include=STATED),
        }
        child = self._started()
        seconds = START_SECONDS + one.size / SLOWEST
        timer = Timer(seconds, child.kill)
        timer.start()
        try:
            print(json.dumps(request), file=child.stdin, flush=True)
            answer = child.stdout.readline() if child.stdout else ""
        except BrokenPipeError:
            answer = ""
        finally:
            timer.cancel()
        if answer:
            return list(json.loads(answer))
        self._end()
        return [f"its shards cannot be read: the reader ended with {child.returncode}"]

    def _started(self) -> subprocess.Popen[str]:
        if self._child is None:
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-c", PROGRAM],  # nothing is imported from this folder
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        return self._child

    def _end(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None


def main() -> None:
    """Check what each line of standard input asks for; answer with a line of problems as JSON."""
    for line in sys.stdin:
        request = json.loads(line)
        with suppress(ImportError, ValueError, OSError):  # not on every platform
            import resource

            _, hard = resource.getrlimit(resource.RLIMIT_AS)
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY + 4 * int(request["size"]), hard))
        try:
            found = _problems(request)
        except AutodsError as error:
            found = [str(error)]
        print(json.dumps(found), flush=True)


def _problems(request: Mapping[str, Any]) -> list[str]:
    from autods.checks.features import verify_features
    from autods.features.sets import describe_features, open_features
    from autods.streams.checks import differing_facts

    root, encoder, dataset = DataRoot(Path(request["root"])), request["encoder"], request["dataset"]
    stored = open_features(root, encoder, dataset)
    if problems := verify_features(root, encoder, [dataset]):
        return problems
    described = describe_features(stored)
    found = [
        f"{key}: the features manifest says {request[key]!s:.80}, the shards say "
        f"{described[key]!s:.80}"
        for key in sorted(STATED | {"dim"})
        if request[key] != described[key]
    ]
    one, two = request["provenance"], dict(stored.info.encoder)
    found += [
        f"encoder {key}: the features manifest says {one.get(key)!s:.80}, the shards say "
        f"{two.get(key)!s:.80}"
        for key in differing_facts(one, two)
    ]
    return found
