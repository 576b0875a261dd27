"""Fetching killed with SIGKILL at any moment, run again: the same bytes as undisturbed."""

import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from servers.web import running

from autods.core.files import hash_tree

CONTENT = hashlib.shake_128(b"content").digest(600_000)
WRONG = hashlib.shake_128(b"wrong").digest(5_000)

# Fetches once per argument ``root:n``, each in a fork of its own, which ends by SIGKILL just
# before its n-th change of the file system (0: never). Prints how each ended: -9, or the
# number of changes it made.
CHILD = """
import json, os, signal, sys
import httpx
from autods.fetch import fetch_dataset
from autods.manifest.schema import FileEntry, Manifest
from autods.core.progress import Silent
from autods.core.root import DataRoot

files = [FileEntry(**file) for file in json.loads(sys.argv[1])]
manifest = Manifest.model_construct(name="toy", files=files)

def fetch(root, moment):
    changes = 0
    def watch(event, arguments):
        nonlocal changes
        if event not in ("open", "os.rename", "os.remove", "os.rmdir"):
            return
        if not str(arguments[0]).startswith(root) or arguments[1] in ("r", "rb"):
            return
        changes += 1
        if changes == moment:
            os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(watch)
    fetch_dataset(manifest, DataRoot.open(root), Silent())
    os._exit(changes)

print("ready", flush=True)
for argument in sys.argv[2:]:
    root, _, moment = argument.rpartition(":")
    if not (pid := os.fork()):
        fetch(root, int(moment))
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Handler(BaseHTTPRequestHandler):
    """Serves with ranges, slowly where asked to."""

    server: "Server"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        body = WRONG if self.path == "/wrong" else CONTENT
        wanted = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        first = int(wanted[1]) if wanted else 0
        self.server.log.append((self.path, first))
        status = 200 if not wanted else 206 if first < len(body) else 416
        self.send_response(status)
        self.send_header("ETag", f'"{self.path}"')
        end = f"{first}-{len(body) - 1}" if status == 206 else "*"
        self.send_header("Content-Range", f"bytes {end}/{len(body)}")
        self.send_header("Content-Length", str(max(0, len(body) - first)))
        self.end_headers()
        for start in range(first, len(body), 20_000):
            time.sleep(self.server.pause)
            self.wfile.write(body[start : start + 20_000])

    def handle(self) -> None:
        with suppress(ConnectionError):  # the client was killed
            super().handle()


class Server(ThreadingHTTPServer):
    """A loopback server; ``pause`` is the number of seconds before each 20 kB."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pause = 0.0
        self.log: list[tuple[str, int]] = []

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"


@pytest.fixture
def server() -> Iterator[Server]:
    with running(Server()) as started:
        yield started


@pytest.fixture
def files(tmp_path: Path, server: Server) -> list[dict[str, Any]]:
    """Describe one file of each nature: http behind a wrong mirror, a folder, a git commit."""
    folder = tmp_path / "folder"
    for name in ("cats/1.png", "dogs/1.png"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(name.encode() * 1000)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    commands = [
        ["init", "--quiet"],
        ["add", "--all"],
        ["-c", "user.name=A", "-c", "user.email=a@example.org", "commit", "--quiet", "-m", "1"],
        ["rev-parse", "HEAD"],
    ]
    repository = tmp_path / "repository"
    (repository / "images").mkdir(parents=True)
    (repository / "images" / "1.png").write_bytes(b"1")
    for command in commands:
        done = subprocess.run(
            ["git", *command], cwd=repository, env=environment, check=True, capture_output=True
        )
    http = [{"kind": "http", "url": server.url(path)} for path in ("/wrong", "/a.bin")]
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    return [
        {"name": "a.bin", "checksum": f"sha256:{sha256}", "mirrors": http},
        {
            "name": "images",
            "checksum": f"tree:{hash_tree(folder)}",
            "mirrors": [{"kind": "file", "url": str(folder)}],
        },
        {
            "name": "code",
            "checksum": f"git:{done.stdout.decode().strip()}",
            "mirrors": [{"kind": "git", "url": repository.as_uri()}],
        },
    ]


def start(files: list[dict[str, Any]], *roots: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, "-c", CHILD, json.dumps(files), *roots]
    child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


def results(child: subprocess.Popen[str]) -> list[int]:
    output, _ = child.communicate(timeout=60)
    assert child.returncode == 0
    return [int(line) for line in output.split()]


def tree(root: Path) -> dict[str, bytes | None]:
    """Return every path below a root with its bytes; lock files are not content."""
    found = {path.relative_to(root).as_posix(): path for path in root.rglob("*")}
    return {
        name: path.read_bytes() if path.is_file() else None
        for name, path in found.items()
        if not name.endswith(".lock")
    }


@pytest.mark.parametrize(
    ("which", "names"), [(0, {"a.bin", "a.bin.bad"}), (1, {"images"}), (2, {"code"})]
)
def test_killed_before_any_change_of_files_it_completes_to_the_same(tmp_path, files, which, names):
    only = [files[which]]
    (changes,) = results(start(only, f"{tmp_path}/whole:0"))
    assert changes > 8
    expected = tree(tmp_path / "whole")
    assert {path.name for path in (tmp_path / "whole/datasets/toy/archives").iterdir()} == names

    moments = range(1, changes + 1)
    ends = results(start(only, *[f"{tmp_path}/{n}:{k}" for n in moments for k in (n, 0)]))
    assert ends[0::2] == [-signal.SIGKILL] * changes
    assert min(ends[1::2]) > 1  # 1 is the interpreter's: an exception
    for n in moments:
        assert tree(tmp_path / str(n)) == expected, f"killed before change {n}"


def test_killed_at_random_it_continues_and_completes_to_the_same_bytes(tmp_path, server, files):
    assert results(start(files, f"{tmp_path}/whole:0"))[0] > 1
    draw, root = random.Random(0), tmp_path / "killed"
    part = root / "datasets/toy/archives/a.bin.part"
    server.pause, server.log = 0.01, []
    for _ in range(6):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD.replace("os.fork()", "0"), json.dumps(files), f"{root}:0"],
            stdout=subprocess.DEVNULL,
        )
        size = part.stat().st_size if part.exists() else 0
        until = time.monotonic() + 20
        while child.poll() is None and time.monotonic() < until:
            if part.exists() and part.stat().st_size not in (0, size):
                break
            time.sleep(0.005)
        time.sleep(draw.uniform(0, 0.1))
        child.send_signal(signal.SIGKILL)
        child.wait()
    server.pause = 0.0
    assert results(start(files, f"{root}:0"))[0] > 1
    assert tree(root) == tree(tmp_path / "whole")
    assert any(path == "/a.bin" and first > 0 for path, first in server.log)


def test_two_processes_that_fetch_the_same_dataset_do_the_work_once(tmp_path, server, files):
    server.pause = 0.005
    children = [start(files, f"{tmp_path}/root:0") for _ in range(2)]
    assert min(results(child)[0] for child in children) > 1
    assert server.log == [("/wrong", 0), ("/a.bin", 0)]
    server.pause = 0.0
    assert results(start(files, f"{tmp_path}/whole:0"))[0] > 1
    assert tree(tmp_path / "root") == tree(tmp_path / "whole")
