"""A web server with ranges, conditions and faults; the special hosts build upon it."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TypeVar
from urllib.parse import parse_qs, urlsplit

S = TypeVar("S", bound=ThreadingHTTPServer)


class Handler(BaseHTTPRequestHandler):
    """Answers as the server says, and logs every request there."""

    protocol_version = "HTTP/1.1"
    server: "Server"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        server = self.server
        wanted, condition = self.headers.get("Range"), self.headers.get("If-Range")
        server.log.append((self.path, wanted, condition))
        server.headers.append(dict(self.headers))
        if server.scripted:
            status, headers = server.scripted.pop(0)
            self.reply(status, headers)
            return
        server.answer(self)

    def do_CONNECT(self) -> None:  # of a proxy that refuses
        self.do_GET()

    def do_HEAD(self) -> None:
        self.server.heads.append(self.path)
        body = self.server.files.get(self.route)
        if not self.server.answers_head:
            self.send_response(405)
            self.send_header("Content-Length", "0")
        elif body is None:
            self.send_response(404)
            self.send_header("Content-Length", "0")
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Type", self.server.kind.get(self.route, "application/zip"))
        self.end_headers()

    @property
    def route(self) -> str:
        return urlsplit(self.path).path

    @property
    def query(self) -> dict[str, str]:
        return {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}

    def reply(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def page(self, title: str, body: str = "", status: int = 200) -> None:
        text = f"<!DOCTYPE html><html><head><title>{title}</title></head><body>{body}</body></html>"
        self.reply(status, {"Content-Type": "text/html; charset=utf-8"}, text.encode())

    def redirect(self, location: str) -> None:
        self.reply(302, {"Location": location})

    def content(self, body: bytes, kind: str | None = None) -> None:
        """Send a content, or the range of it that was asked for; perhaps break off."""
        server, status = self.server, 200
        wanted, condition = self.headers.get("Range"), self.headers.get("If-Range")
        headers = {"ETag": server.etag} if server.etag else {}
        fresh = condition is None or condition == server.etag or server.ignores_if_range
        if wanted and server.ranges and fresh:
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted)
            first, end = int(asked[1]), int(asked[2] or len(body) - 1) + 1
            if first >= len(body):
                self.reply(416, {"Content-Range": f"bytes */{len(body)}"})
                return
            said = first if server.honest else 0
            headers["Content-Range"] = f"bytes {said}-{end - 1}/{len(body)}"
            body, status = body[first:end], 206
        if kind:
            headers["Content-Type"] = kind
        if server.length:
            headers["Content-Length"] = str(len(body) + server.wrong_length)
        else:
            headers["Connection"] = "close"
        if server.wrong_length:
            self.close_connection = True
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if server.drops and (after := server.drops.pop(0)) is not None:
            self.wfile.write(body[:after])
            self.close_connection = True
            return
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    """Serves ``files`` by path; every attribute is one way to behave."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.files: dict[str, bytes] = {}
        self.etag: str | None = '"one"'
        self.kind: dict[str, str] = {}  # path to Content-Type
        self.ranges = self.honest = self.length = True
        self.wrong_length = 0  # bytes that Content-Length says too much
        self.ignores_if_range = False
        self.drops: list[int | None] = []  # bytes after which each answer breaks off
        self.scripted: list[tuple[int, dict[str, str]]] = []  # answers given before all others
        self.answers_head = True
        self.heads: list[str] = []  # paths that were asked with HEAD
        self.log: list[tuple[str, str | None, str | None]] = []  # path, Range, If-Range
        self.headers: list[dict[str, str]] = []  # of each request

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client may hang up
            super().handle_error(request, client_address)

    def answer(self, request: Handler) -> None:
        if request.route in self.files:
            request.content(self.files[request.route], self.kind.get(request.route))
        else:
            request.reply(404)

    def url(self, path: str = "/a.bin") -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"

    def ranges_asked(self) -> list[str | None]:
        return [wanted for _, wanted, _ in self.log]

    def sent(self, header: str) -> list[str | None]:
        return [headers.get(header) for headers in self.headers]


class Storage(Server):
    """A storage host: each signed address is good once, and credentials have no place here."""

    def __init__(self) -> None:
        super().__init__()
        self.signed: set[str] = set()
        self.number = 0

    def sign(self, path: str) -> str:
        """Return a new address of ``path``; it works for one request."""
        self.number += 1
        self.signed.add(f"{path}?X-Signature={self.number}")
        return self.url(f"{path}?X-Signature={self.number}")

    def answer(self, request: Handler) -> None:
        if request.path not in self.signed:
            request.reply(403)
            return
        self.signed.remove(request.path)
        super().answer(request)


@contextmanager
def running(server: S) -> Iterator[S]:
    """Serve in a thread until the body is done."""
    with server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
