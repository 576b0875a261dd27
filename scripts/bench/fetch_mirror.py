"""A loopback mirror over http that misbehaves on purpose, for fetch.py."""

from __future__ import annotations

import hashlib
import re
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from urllib.parse import unquote

# Fault to the state in which it must leave a dataset. Those that pass happen once per file.
PASSING = {"dropped connection": "done", "503, Retry-After": "done", "stall": "done"}
LASTING = {
    "wrong bytes": "corrupt",
    "truncated": "corrupt",
    "403": "failed",
    "web page, status 200": "failed",
    "404": "gone",
}
STALL = 2.0  # seconds
PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Sign in</body></html>"
BLOCK = 1 << 16


class Mirror(ThreadingHTTPServer):
    """Serves ``files`` (path in the address to file) and does the ``faults`` (path to fault)."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, files: dict[str, Path], faults: dict[str, str]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.faults = files, faults
        self.asked: list[str] = []
        self.happened: dict[str, int] = {}
        self._lock = Lock()

    @property
    def url(self) -> str:
        """The address of the mirror."""
        return f"http://127.0.0.1:{self.server_port}"

    def start(self) -> None:
        """Serve in a thread that ends with the program."""
        Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def fault(self, path: str) -> str | None:
        """Return what to do wrong with this request, and remember that it was done."""
        with self._lock:
            self.asked.append(path)
            fault = self.faults.get(path)
            if fault is None or (fault in PASSING and self.happened.get(path)):
                return None
            self.happened[path] = self.happened.get(path, 0) + 1
            return fault


class _Handler(BaseHTTPRequestHandler):
    server: Mirror

    def log_message(self, *_: object) -> None:
        pass

    def handle(self) -> None:
        with suppress(ConnectionError):
            super().handle()

    def do_GET(self) -> None:
        path = unquote(self.path).lstrip("/")
        file = self.server.files.get(path)
        fault = self.server.fault(path)
        if file is None or fault == "404":
            self.send_error(404)
        elif fault == "403":
            self.send_error(403)
        elif fault == "503, Retry-After":
            self.answer(503, {"Retry-After": "1"}, 0)
        elif fault == "web page, status 200":
            self.answer(200, {"Content-Type": "text/html"}, len(PAGE))
            self.wfile.write(PAGE)
        else:
            self.send(file, fault)

    def answer(self, status: int, headers: dict[str, str], length: int) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(length)}.items():
            self.send_header(key, value)
        self.end_headers()

    def send(self, file: Path, fault: str | None) -> None:
        """Send a file, or its rest, with what goes wrong in the body."""
        size = file.stat().st_size // 2 if fault == "truncated" else file.stat().st_size
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        first = int(wanted[1]) if wanted else 0
        tag = hashlib.sha256(f"{file} {fault in LASTING}".encode()).hexdigest()[:16]
        headers = {"ETag": f'"{tag}"'}
        if first >= size > 0 and wanted:
            self.answer(416, {**headers, "Content-Range": f"bytes */{size}"}, 0)
            return
        if wanted:
            headers["Content-Range"] = f"bytes {first}-{size - 1}/{size}"
        self.answer(206 if wanted else 200, headers, size - first)
        middle = first + (size - first) // 2
        self.copy(file, first, middle, fault)
        if fault == "dropped connection":
            return
        if fault == "stall":
            self.wfile.flush()
            time.sleep(STALL)
        self.copy(file, middle, size, fault)

    def copy(self, file: Path, first: int, end: int, fault: str | None) -> None:
        with file.open("rb") as handle:
            handle.seek(first)
            while first < end:
                block = handle.read(min(BLOCK, end - first))
                first += len(block)
                self.wfile.write(
                    bytes(b ^ 0x5A for b in block) if fault == "wrong bytes" else block
                )
