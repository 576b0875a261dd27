"""Kill fetch, index, run, sweep and compare, for `kills.py`.

Each is the command itself, in a process forked off one that has imported everything. It is
killed at a random moment and started again until it completes; what it leaves must then be what
an undisturbed one leaves. Seconds are left out: they differ on every run.
"""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from flips import ENCODER, make_features

from autods.cli.app import main as autods
from autods.core.files import hash_file, hash_tree
from autods.core.root import DataRoot
from bmc.cli.app import main as bmc_stream

NAME = "killed"
MEMBERS, BYTES = 400, 20_000  # of each archive
STREAM = ["--scenario", "class-il", "--stream", "one,two", "--encoder", ENCODER]
TRAINED = ["--epochs", "10", "--batch-size", "8"]
TIMED = ("timing.json", "report.html")  # of a run or study: seconds, and what shows them
ARCHIVES = ("a.zip", "b.tgz", "c")


def call(program: str, arguments: Sequence[str]) -> None:
    """Run a command without its output; it ends the process."""
    sys.argv = [program, *arguments]
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        {"autods": autods, "bmc-stream": bmc_stream}[program]()


@dataclass(frozen=True)
class Killed:
    """A command to be killed.

    Attributes
    ----------
    arguments
        Of the program, the first.
    folder
        What it writes; other files there are those of ``kept``.
    left
        Returns what must be the same in the end, by name.
    fresh
        Brings the folder to where the command begins.
    """

    arguments: Sequence[str]
    folder: Path
    left: Callable[[Path], Mapping[str, Any]]
    fresh: Callable[[Path], None]


def commands(base: Path) -> dict[str, Killed]:
    """Make archives, manifests and features below a folder; return the commands by name."""
    base.mkdir(parents=True)
    chance = random.Random(0)
    members = {f"{i % 10}/{i:04d}.jpg": chance.randbytes(BYTES) for i in range(MEMBERS)}
    _pack(base / "published", members)
    _manifest(base)
    root, features = base / "root", DataRoot.open(base / "features")
    for seed, name in enumerate(("one", "two")):
        make_features(features, name, seed)
    where = ["--root", str(root), "--manifests", str(base / "manifests")]
    stream = [*STREAM, *TRAINED, "--root", str(features.path), "--resume"]

    def fetched(folder: Path) -> None:
        empty(folder)
        _finish("autods", ["fetch", NAME, *where])

    def runs(command: str, *options: str) -> Killed:
        folder = base / command
        arguments = ["bmc-stream", command, *stream, *options, "--out", str(folder)]
        return Killed(arguments, folder, trained, empty)

    return {
        "fetch": Killed(["autods", "fetch", NAME, *where], root / "datasets", stored, empty),
        "index": Killed(["autods", "index", NAME, *where], root / "datasets", stored, fetched),
        "run": runs("run", "--method", "er,ncm"),
        "sweep": runs("sweep", "--method", "er", "--grid", "er.memory=10,20"),
        "compare": runs("compare", "--method", "er,ncm"),
    }


def empty(folder: Path) -> None:
    """Remove a folder."""
    shutil.rmtree(folder, ignore_errors=True)


def stored(folder: Path) -> dict[str, Any]:
    """Return what lies below a folder, but locks: the hash of each file."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hash_file(path, "sha256")
        for path in files
        if path.suffix != ".lock"
    }


def trained(folder: Path) -> dict[str, Any]:
    """Return what runs and studies leave, without seconds and what is computed from them."""
    left = stored(folder)
    for name in list(left):
        file = name.rpartition("/")[2]
        if file in TIMED or file.startswith(("sweep.", "compare.")):
            del left[name]
        elif file == "checkpoint.safetensors":
            left[name] = _checkpoint(folder / name)
    return left


def _checkpoint(path: Path) -> Any:
    """Return the content of a checkpoint but its seconds, and the hash over them."""
    from safetensors import safe_open
    from safetensors.numpy import load_file

    with safe_open(path, framework="np") as file:
        state = json.loads(file.metadata()["state"])
    for timed in ("seconds", "sha256"):
        state.pop(timed, None)
    return state, {name: tensor.tobytes() for name, tensor in load_file(path).items()}


def _pack(folder: Path, members: Mapping[str, bytes]) -> None:
    folder.mkdir()
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(f"zip/{name}"), data)
    with tarfile.open(folder / "b.tgz", "w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(f"tar/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    for name, data in members.items():
        path = folder / "c" / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _manifest(base: Path) -> None:
    """Write a manifest of a zip, a compressed tar and a folder."""
    published = base / "published"
    files = []
    for name in ARCHIVES:
        path = published / name
        digest = (
            f"tree:{hash_tree(path)}" if path.is_dir() else f"sha256:{hash_file(path, 'sha256')}"
        )
        source = {"kind": "file", "url": str(path)}
        files.append({"name": name, "checksum": digest, "mirrors": [source]})
    layout = {
        "family": "class-folders",
        "files": list(ARCHIVES),
        "pattern": "*/{class}/*",
        "labels": {"class": "{class}"},
    }
    unknown = dict.fromkeys(("homepage", "citation", "licence"))
    (base / "manifests").mkdir()
    (base / "manifests" / f"{NAME}.yaml").write_text(
        yaml.safe_dump(
            {
                "name": NAME,
                "title": NAME,
                **unknown,
                "access": "open",
                "files": files,
                "layout": layout,
                "tasks": {"class": {}},
                "default_task": "class",
                "splits": {"clean": {"rule": "random", "test_fraction": 0.25}},
            }
        )
    )


def _finish(program: str, arguments: Sequence[str]) -> None:
    """Run a command to its end, in a process of its own."""
    if (child := os.fork()) == 0:
        status = 1
        try:
            call(program, arguments)
        except SystemExit as end:
            status = int(end.code or 0)
        finally:
            os._exit(status)
    if os.waitpid(child, 0)[1]:
        raise RuntimeError(f"{program} {' '.join(arguments)} failed")


class Repeated:
    """Kills a command and repeats it until it completes, as often as it takes."""

    def __init__(self, name: str, command: Killed, start: Callable[..., Any], row: Any) -> None:
        self.name, self.command, self.start, self.row = name, command, start, row

    def punish(self, kills: int, chance: random.Random, strike: Callable[[Any], None]) -> Any:
        """Kill so many times; return the row of what was done."""
        began = time.monotonic()
        expected, seconds = self._undisturbed()
        while self.row.total < kills:
            self.command.fresh(self.command.folder)
            self._until_done(kills, chance, strike, seconds)
            left = self.command.left(self.command.folder)
            self.row.extractions += 1
            self.row.identical += left == expected
            if left != expected:
                names = sorted(
                    n for n in left.keys() | expected.keys() if left.get(n) != expected.get(n)
                )
                print(f"{self.name}: not identical: {', '.join(names)}", file=sys.stderr)
            print(f"{self.name}: {self.row.total} of {kills} kills, {self.row.identical} of "
                  f"{self.row.extractions} identical", file=sys.stderr)  # fmt: skip
        self.row.seconds = time.monotonic() - began
        return self.row

    def _undisturbed(self) -> tuple[Mapping[str, Any], float]:
        """Return what the command leaves if nobody kills it, and the seconds that it takes."""
        for _ in range(2):  # the first includes the start of what processes are forked off
            self.command.fresh(self.command.folder)
            began = time.monotonic()
            run = self.start(*self.command.arguments)
            if run.wait() != 0:
                raise RuntimeError(f"the undisturbed {self.name} failed")
            seconds = time.monotonic() - began
        return self.command.left(self.command.folder), seconds

    def _until_done(
        self, kills: int, chance: random.Random, strike: Callable[[Any], None], seconds: float
    ) -> None:
        while True:
            run = self.start(*self.command.arguments)
            if self.row.total < kills:
                run.wait(partial(_is_over, time.monotonic() + chance.uniform(0, seconds)))
                if run.status is None:
                    strike(run)
            if run.wait() == 0:
                return


def _is_over(until: float) -> bool:
    return time.monotonic() > until
