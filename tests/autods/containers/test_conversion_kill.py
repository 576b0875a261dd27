"""A conversion that is killed, whenever, and run again ends with the same bytes."""

import gzip
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from archives import folders_layout, make_zip, manifest_of, open_file, placed
from array_tools import PIXELS, npy
from container_tools import FILES, build, inner_bytes

from autods.containers.array_specs import ArrayImages
from autods.core.files import BLOCK
from autods.core.progress import Silent
from autods.core.root import DataRoot

EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "subprocess.Popen", "os.rmdir")
LARGE = {**FILES, "a/large.jpg": os.urandom(2 * BLOCK + 5)}


class Deadly(Silent):
    """Kills this process at the ``countdown``-th thing it does to files, or block it wrote."""

    def __init__(self, countdown: int) -> None:
        self.countdown = countdown
        sys.addaudithook(lambda event, _: event in EVENTS and self.tick())

    def advance(self, amount: int) -> None:
        self.tick()

    def tick(self) -> None:
        self.countdown -= 1
        if not self.countdown:
            os.kill(os.getpid(), signal.SIGKILL)


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def dies(countdown: int, *arguments, **options) -> bool:
    """Open a container in a process that dies at ``countdown``; tell whether it came so far."""
    if (child := os.fork()) == 0:
        try:
            open_file(*arguments, progress=Deadly(countdown), **options)
        finally:
            os._exit(0)
    status = os.waitpid(child, 0)[1]
    return os.WIFSIGNALED(status)


def source_of(tmp_path: Path, case: str) -> tuple[Path, dict]:
    if case == "arrays":
        source = tmp_path / "x.npy.gz"
        source.write_bytes(gzip.compress(npy(np.repeat(PIXELS, 2, axis=0))))
        return source, {"arrays": [ArrayImages(file="x.npy.gz", axes="NHWC")]}
    if case.startswith("inner"):
        inner = case.removeprefix("inner ")
        files = {inner: inner_bytes(tmp_path, inner, LARGE)}
        return make_zip(tmp_path / "x.zip", files, 8), {"nested": ["*"]}
    return build(tmp_path, case, LARGE), {}


@pytest.mark.parametrize("case", [
    "x.tgz", "x.csv.gz", "x.rar", "x.7z", "deflate64.zip", "arrays",
    "inner in.zip", "inner in.tgz", "inner in.rar",
])  # fmt: skip
def test_a_killed_conversion_ends_with_the_same_bytes(tmp_path, case):
    source, options = source_of(tmp_path, case)
    file = source.name
    manifest = manifest_of({file: source}, folders_layout(file))

    def fresh(name: str):
        root = DataRoot(tmp_path / name)
        return root, placed(root, manifest, {file: source}), file

    undisturbed = fresh("undisturbed")
    container = open_file(*undisturbed, **options)
    members = {member.name: container.read(member.name) for member in container.members()}
    expected = content(undisturbed[0].dataset("things") / "converted")
    assert expected
    kills = 0
    for countdown in range(1, 1000):
        killed = fresh(f"killed-{countdown}")
        if not dies(countdown, *killed, **options):
            break
        kills += 1
        container = open_file(*killed, **options)
        assert content(killed[0].dataset("things") / "converted") == expected
        assert {m.name: container.read(m.name) for m in container.members()} == members
    assert kills > 5
