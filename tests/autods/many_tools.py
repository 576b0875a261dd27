"""What the tests of fetching many datasets share: a loopback host, manifests, the command."""

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Lock
from time import monotonic, sleep
from typing import Any

import yaml
from servers.web import running
from warm import program

from autods.manifest.schema import Manifest


def content(name: str, size: int = 100_000) -> bytes:
    """Return the bytes of an archive, other ones for each name."""
    return hashlib.shake_128(name.encode()).digest(size)


class Host(ThreadingHTTPServer):
    """Serves files by path, with ranges.

    Attributes
    ----------
    files
        Path to content; other paths are gone.
    held
        Paths whose second half waits until `release` is called.
    down
        Path to how many requests are answered with ``answers`` of it (503, if it is not
        there), and with ``retry_after`` seconds if these are not 0.
    log
        ``("begin", path, first byte)`` and ``("end", path, first byte)`` as they happen.
    """

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files
        self.held: set[str] = set()
        self.down: dict[str, int] = {}
        self.answers: dict[str, int] = {}
        self.retry_after = 0
        self.log: list[tuple[str, str, int]] = []
        self._released, self._lock = Event(), Lock()

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.server_port}/{path}"

    def note(self, what: str, path: str, first: int) -> None:
        with self._lock:
            self.log.append((what, path, first))

    def ended(self) -> list[str]:
        return [path for what, path, _ in self.log if what == "end"]

    def begun(self) -> list[str]:
        return [path for what, path, _ in self.log if what == "begin"]

    def hold(self) -> None:
        self._released.wait(60)

    def release(self) -> None:
        self._released.set()


class _Handler(BaseHTTPRequestHandler):
    server: Host

    def log_message(self, *_: object) -> None:
        pass

    def handle(self) -> None:
        with suppress(ConnectionError):  # the client was interrupted
            super().handle()

    def do_GET(self) -> None:
        path = self.path.lstrip("/")
        body = self.server.files.get(path)
        if body is None:
            self.send_error(404)
            return
        if self.server.down.get(path, 0) > 0:
            self.server.down[path] -= 1
            self.send_response(self.server.answers.get(path, 503))
            if self.server.retry_after:
                self.send_header("Retry-After", str(self.server.retry_after))
            self.end_headers()
            return
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        first = int(wanted[1]) if wanted else 0
        self.server.note("begin", path, first)
        self.send_response(206 if wanted else 200)
        self.send_header("ETag", f'"{path}"')
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - first))
        self.end_headers()
        middle = first + (len(body) - first) // 2
        self.wfile.write(body[first:middle])
        if path in self.server.held:
            self.wfile.flush()
            self.server.hold()
        self.wfile.write(body[middle:])
        self.server.note("end", path, first)


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[Host]:
    """Give a running host."""
    with running(Host(files)) as host:
        try:
            yield host
        finally:
            host.release()


def described(name: str, files: dict[str, tuple[bytes, str]], **more: Any) -> dict[str, Any]:
    """Return a manifest as in YAML: name of each file to its content and address."""
    entries = [
        {
            "name": file,
            "checksum": f"sha256:{hashlib.sha256(body).hexdigest()}",
            "mirrors": [{"kind": "http", "url": url}],
        }
        for file, (body, url) in files.items()
    ]
    pattern = {"pattern": "{class}/*", "labels": {"class": "{class}"}}
    return {
        "name": name,
        "title": f"Images of {name}",
        **dict.fromkeys(["homepage", "citation", "licence"]),
        "access": "open",
        "files": entries,
        "layout": {"family": "class-folders", "files": [entries[0]["name"]], **pattern},
        "tasks": {"class": {"classes": None}},
        "default_task": "class",
        "splits": {"clean": {"rule": "random", "test_fraction": 0.25}},
        **more,
    }


def published(
    host: Host, *names: str, at: str = "127.0.0.1", **more: Any
) -> dict[str, dict[str, Any]]:
    """Let a host serve ``<name>/a.bin`` of each dataset; return their manifests."""
    found = {}
    for name in names:
        body = host.files.setdefault(f"{name}/a.bin", content(name))
        found[name] = described(name, {"a.bin": (body, host.url(f"{name}/a.bin", at))}, **more)
    return found


def manifests(values: dict[str, dict[str, Any]]) -> list[Manifest]:
    return [Manifest.model_validate(value) for value in values.values()]


def write_manifests(folder: Path, values: dict[str, dict[str, Any]]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, value in values.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(value), encoding="utf-8")
    return folder


def environment(**more: str) -> dict[str, str]:
    """Return an environment in which nothing but the loopback is reached."""
    kept = {k: v for k, v in os.environ.items() if not k.upper().endswith("_PROXY")}
    nowhere = dict.fromkeys(["http_proxy", "https_proxy", "all_proxy"], "http://127.0.0.1:9")
    return {**kept, **nowhere, "no_proxy": "127.0.0.1,localhost", "AUTODS_MANIFESTS": "", **more}


def begin(*arguments: object, **more: Any) -> subprocess.Popen[str]:
    """Begin ``autods`` with arguments in a process of its own."""
    cold = [sys.executable, "-c", "from autods.cli.app import main; main()"]
    start = cold if more else [program("autods")]  # limits of a process do not reach a fork
    return subprocess.Popen(
        [*start, *map(str, arguments)],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        **more,
    )


def autods(*arguments: object, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run ``autods`` with arguments to its end."""
    child = begin(*arguments, **more)
    out, err = child.communicate(timeout=120)
    return subprocess.CompletedProcess(child.args, child.returncode, out, err)


def until(happened: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for something that another thread or process does."""
    end = monotonic() + seconds
    while not happened():
        assert monotonic() < end, "it did not happen"
        sleep(0.01)
