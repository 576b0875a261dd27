"""Fetching over http from a real server on the loopback device that can misbehave."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from autods.errors import ChecksumMismatch, FetchError
from autods.fetch import base, fetch_dataset
from autods.manifest import FileEntry, Manifest, Mirror
from autods.progress import Silent
from autods.root import DataRoot

CONTENT = hashlib.shake_128(b"content").digest(300_000)
OTHER = hashlib.shake_128(b"other").digest(310_000)
CHECKSUM = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Answers as the server's attributes say, and logs every request there."""

    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        condition = self.headers.get("If-Range")
        server.log.append((self.path, wanted, condition))
        if server.scripted:
            status, headers = server.scripted.pop(0)
            self._head(status, {"Content-Length": "0", **headers})
            return
        if self.path not in server.content:
            self._head(404, {"Content-Length": "0"})
            return
        body, status = server.content[self.path], 200
        headers = {"ETag": server.etag} if server.etag else {}
        fresh = condition is None or condition == server.etag or server.ignores_if_range
        if wanted and server.ranges and fresh:
            first = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
            if first >= len(body):
                self._head(416, {"Content-Range": f"bytes */{len(body)}", "Content-Length": "0"})
                return
            said = first if server.honest else 0
            headers["Content-Range"] = f"bytes {said}-{len(body) - 1}/{len(body)}"
            body, status = body[first:], 206
        if self.path == "/page":
            headers["Content-Type"] = server.kind
        if server.length:
            headers["Content-Length"] = str(len(body))
        else:
            headers["Connection"] = "close"
        self._head(status, headers)
        if server.drops and (after := server.drops.pop(0)) is not None:
            self.wfile.write(body[:after])
            self.close_connection = True
            return
        self.wfile.write(body)

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


class Server(ThreadingHTTPServer):
    """A loopback server; every attribute is one way to behave."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content: dict[str, bytes] = {"/a.bin": CONTENT}
        self.etag: str | None = '"one"'
        self.kind = "text/plain"  # of /page
        self.ranges = self.honest = self.length = True
        self.ignores_if_range = False
        self.drops: list[int | None] = []  # bytes after which each answer breaks off
        self.scripted: list[tuple[int, dict[str, str]]] = []  # answers given before all others
        self.log: list[tuple[str, str | None, str | None]] = []

    def url(self, path: str = "/a.bin") -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"

    def ranges_asked(self) -> list[str | None]:
        return [wanted for _, wanted, _ in self.log]


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "BACKOFF", 0.001)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    return DataRoot(tmp_path / "root")


def toy(*urls: str, checksum: str = CHECKSUM, size: int | None = None) -> Manifest:
    mirrors = [Mirror(kind="http", url=url) for url in urls]
    entry = FileEntry(name="a.bin", checksum=checksum, size=size, mirrors=mirrors)
    return Manifest.model_construct(name="toy", files=[entry])


def fetched(root: DataRoot, manifest: Manifest, progress: Any = None) -> bytes:
    fetch_dataset(manifest, root, progress or Silent())
    archives = root.archive("toy", "a.bin").parent
    assert [path.name for path in archives.iterdir()] == ["a.bin"]
    return root.archive("toy", "a.bin").read_bytes()


def begin(root: DataRoot, content: bytes, **seen: Any) -> None:
    """Leave a part and what was known about it, as a killed run does."""
    part = root.archive("toy", "a.bin.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_bytes(content)
    if seen:
        base.seen_path(part).write_text(json.dumps(seen))


def test_a_file_arrives_whole_with_its_progress_in_bytes(root: DataRoot, server: Server) -> None:
    class Count(Silent):
        total, done = None, 0

        def start(self, title: str, total: int | None, unit: str) -> None:
            self.total = total
            assert (title, unit) == ("a.bin", "bytes")

        def advance(self, amount: int) -> None:
            self.done += amount

    count = Count()
    assert fetched(root, toy(server.url()), count) == CONTENT
    assert (count.total, count.done) == (len(CONTENT), len(CONTENT))
    assert server.ranges_asked() == [None]


def test_an_empty_file_arrives(root: DataRoot, server: Server) -> None:
    server.content["/a.bin"] = b""
    checksum = "md5:" + hashlib.md5(b"").hexdigest()
    assert fetched(root, toy(server.url(), checksum=checksum)) == b""


def test_redirects_are_followed_and_the_manifests_url_is_recorded(
    root: DataRoot, server: Server
) -> None:
    server.scripted = [(302, {"Location": "/a.bin"})]
    assert fetched(root, toy(server.url("/moved"))) == CONTENT
    assert json.loads(root.record("toy").read_text())["files"]["a.bin"]["url"].endswith("/moved")


def test_endless_redirects_are_a_cause(root: DataRoot, server: Server) -> None:
    server.scripted = [(302, {"Location": "/a.bin"})] * 30
    with pytest.raises(FetchError, match="redirect"):
        fetch_dataset(toy(server.url()), root, Silent())


def test_dropped_connections_are_continued_by_range(root: DataRoot, server: Server) -> None:
    server.drops = [100_000, 50_000, 0, None]
    assert fetched(root, toy(server.url())) == CONTENT
    assert server.ranges_asked() == [None, "bytes=100000-", "bytes=150000-", "bytes=150000-"]
    assert {condition for *_, condition in server.log} == {None, '"one"'}


def test_any_number_of_drops_is_survived_while_bytes_arrive(root: DataRoot, server: Server) -> None:
    server.drops = [20_000] * 14
    assert fetched(root, toy(server.url())) == CONTENT
    assert len(server.log) == 15


def test_a_server_that_never_gets_further_is_given_up_and_the_part_kept(
    root: DataRoot, server: Server
) -> None:
    server.drops = [1000, *[0] * 20]
    with pytest.raises(FetchError, match="gave up after 4 retries") as caught:
        fetch_dataset(toy(server.url()), root, Silent())
    assert "Kept: 1,000 bytes" in str(caught.value)
    assert root.archive("toy", "a.bin.part").stat().st_size == 1000
    server.drops, server.log = [], []
    assert fetched(root, toy(server.url())) == CONTENT
    assert server.ranges_asked() == ["bytes=1000-"]


def test_a_server_that_starts_over_each_time_is_given_up(root: DataRoot, server: Server) -> None:
    server.ranges, server.drops = False, [5000] * 50
    with pytest.raises(FetchError, match="gave up after 4 retries"):
        fetch_dataset(toy(server.url()), root, Silent())
    assert len(server.log) <= 6


def test_a_drop_without_a_length_is_noticed_by_the_manifests_size(
    root: DataRoot, server: Server
) -> None:
    server.length, server.drops = False, [1000, None]
    assert fetched(root, toy(server.url(), size=len(CONTENT))) == CONTENT
    assert server.ranges_asked() == [None, "bytes=1000-"]


def test_a_server_without_ranges_is_fetched_from_the_start(root: DataRoot, server: Server) -> None:
    server.ranges = False
    begin(root, CONTENT[:1000])
    assert fetched(root, toy(server.url())) == CONTENT


def test_a_whole_part_needs_no_bytes(root: DataRoot, server: Server) -> None:
    begin(root, CONTENT)
    assert fetched(root, toy(server.url())) == CONTENT
    assert server.ranges_asked() == [f"bytes={len(CONTENT)}-"]


def test_a_part_longer_than_the_content_is_fetched_anew(root: DataRoot, server: Server) -> None:
    begin(root, CONTENT + b"more")
    assert fetched(root, toy(server.url())) == CONTENT
    assert server.ranges_asked()[-1] is None


def test_a_content_that_changed_is_never_glued_to_the_old_beginning(
    root: DataRoot, server: Server
) -> None:
    begin(root, OTHER[:1000], url=server.url(), validator='"old"', total=len(OTHER))
    assert fetched(root, toy(server.url())) == CONTENT
    assert server.log == [("/a.bin", "bytes=1000-", '"old"')]


@pytest.mark.parametrize(("tag", "total"), [('"old"', len(CONTENT)), ('"one"', len(OTHER))])
def test_a_server_that_ignores_if_range_is_seen_through(
    root: DataRoot, server: Server, tag: str, total: int
) -> None:
    class Notes(Silent):
        def note(self, text: str) -> None:
            lines.append(text)

    lines: list[str] = []
    server.ignores_if_range = True
    begin(root, OTHER[:1000], url=server.url(), validator=tag, total=total)
    assert fetched(root, toy(server.url()), Notes()) == CONTENT
    assert server.ranges_asked() == ["bytes=1000-", None]
    assert "the content has changed" in lines[1]


def test_an_error_page_does_not_take_the_place_of_what_has_arrived(
    root: DataRoot, server: Server
) -> None:
    server.content["/page"], server.ranges = b"<html>come back tomorrow", False
    begin(root, CONTENT[:1000])
    with pytest.raises(FetchError, match="offers 24 bytes, expected 300,000"):
        fetch_dataset(toy(server.url("/page"), size=len(CONTENT)), root, Silent())
    assert root.archive("toy", "a.bin.part").read_bytes() == CONTENT[:1000]


@pytest.mark.parametrize(
    ("kind", "page", "cause"),
    [
        ("text/html; charset=utf-8", b"<html>log in" * 500, "offers a web page"),
        ("application/octet-stream", b"come back tomorrow", "offers only 18 bytes in all"),
    ],
)
def test_without_a_size_a_page_does_not_take_the_place_of_what_has_arrived_either(
    root: DataRoot, server: Server, kind: str, page: bytes, cause: str
) -> None:
    server.content["/page"], server.ranges, server.kind = page, False, kind
    begin(root, CONTENT[:1000])
    with pytest.raises(FetchError, match=cause):
        fetch_dataset(toy(server.url("/page")), root, Silent())
    assert root.archive("toy", "a.bin.part").read_bytes() == CONTENT[:1000]
    server.ranges = True
    assert fetched(root, toy(server.url("/page"), server.url())) == CONTENT
    assert server.ranges_asked()[-1] == "bytes=1000-"


def test_a_wrong_content_range_is_not_written_into_the_part(root: DataRoot, server: Server) -> None:
    server.honest = False
    begin(root, CONTENT[:1000])
    assert fetched(root, toy(server.url())) == CONTENT
    assert server.ranges_asked() == ["bytes=1000-", None]


def test_a_part_with_an_unreadable_note_is_continued(root: DataRoot, server: Server) -> None:
    begin(root, CONTENT[:1000])
    base.seen_path(root.archive("toy", "a.bin.part")).write_text('{"half')
    assert fetched(root, toy(server.url())) == CONTENT
    assert server.log == [("/a.bin", "bytes=1000-", None)]


def test_a_weak_etag_gives_no_condition(root: DataRoot, server: Server) -> None:
    server.etag, server.drops = 'W/"weak"', [1000, None]
    assert fetched(root, toy(server.url())) == CONTENT
    assert server.log[1] == ("/a.bin", "bytes=1000-", None)


def test_the_next_mirror_continues_the_part_of_the_first(root: DataRoot, server: Server) -> None:
    server.content["/b.bin"] = CONTENT
    server.drops = [200_000, *[0] * 4]
    assert fetched(root, toy(server.url("/a.bin"), server.url("/b.bin"))) == CONTENT
    assert server.log[-1] == ("/b.bin", "bytes=200000-", None)


def test_a_part_of_a_wrong_mirror_costs_nothing_but_time(root: DataRoot, server: Server) -> None:
    server.content["/b.bin"] = OTHER[: len(CONTENT)]
    server.drops = [200_000, *[0] * 5]
    assert fetched(root, toy(server.url("/b.bin"), server.url())) == CONTENT
    assert server.ranges_asked()[-2:] == ["bytes=200000-", None]


def test_a_file_that_is_gone_is_fetched_from_the_second_mirror(
    root: DataRoot, server: Server
) -> None:
    assert fetched(root, toy(server.url("/gone"), server.url())) == CONTENT
    assert [path for path, *_ in server.log] == ["/gone", "/a.bin"]
    assert json.loads(root.record("toy").read_text())["files"]["a.bin"]["url"] == server.url()


def test_a_users_mirror_is_asked_first(root: DataRoot, server: Server) -> None:
    server.content["/pub/toy/a.bin"] = CONTENT
    fetch_dataset(toy(server.url()), root, Silent(), mirrors=[server.url("/pub/")])
    assert [path for path, *_ in server.log] == ["/pub/toy/a.bin"]


def test_every_mirror_is_listed_with_its_own_cause(root: DataRoot, server: Server) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        refused = f"http://user:secret@127.0.0.1:{closed.getsockname()[1]}/x"
        server.scripted = [(403, {}), (418, {})]
        urls = [server.url("/f"), server.url("/t"), server.url("/gone"), refused]
        urls += ["http://no-such-host.invalid/x", "http://[bad/x"]
        with pytest.raises(FetchError) as caught:
            fetch_dataset(toy(*urls), root, Silent())
    message = str(caught.value)
    lines = message.splitlines()
    assert lines[0] == f"toy/a.bin: expected {CHECKSUM}, no mirror gave it:"
    assert "403 Forbidden: the server wants a login or a permission" in lines[1]
    assert "418" in lines[2]
    assert "404 Not Found: the file is gone" in lines[3]
    assert "no connection" in lines[4]
    assert "the host is unknown" in lines[5]
    assert "secret" not in message


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_trouble_is_waited_out(root: DataRoot, server: Server, status: int) -> None:
    server.scripted = [(status, {"Retry-After": "0"})] * 4
    assert fetched(root, toy(server.url())) == CONTENT
    assert len(server.log) == 5


def test_a_lasting_trouble_ends_after_a_few_tries(root: DataRoot, server: Server) -> None:
    server.scripted = [(503, {})] * 50
    with pytest.raises(FetchError, match="503 Service Unavailable; gave up after 4 retries"):
        fetch_dataset(toy(server.url()), root, Silent())
    assert len(server.log) == 5


def test_retry_after_is_honoured(root: DataRoot, server: Server) -> None:
    server.scripted = [(429, {"Retry-After": "1"})]
    began = time.monotonic()
    assert fetched(root, toy(server.url())) == CONTENT
    assert time.monotonic() - began >= 1


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_long_wait_is_told_and_not_waited(root: DataRoot, server: Server, form: str) -> None:
    # the date is made here: an hour from now, however late in the suite this test runs
    value = "3600" if form == "seconds" else formatdate(time.time() + 3600, usegmt=True)
    server.scripted = [(429, {"Retry-After": value})]
    with pytest.raises(FetchError, match=r"429 Too Many Requests; it asks to wait 3[56]\d\d s"):
        fetch_dataset(toy(server.url()), root, Silent())


def test_a_wrong_file_is_set_aside_with_both_digests(root: DataRoot, server: Server) -> None:
    server.content["/a.bin"] = b"  <HTML>please log in"
    with pytest.raises(ChecksumMismatch, match="a web page") as caught:
        fetch_dataset(toy(server.url()), root, Silent())
    assert CHECKSUM in str(caught.value)
    assert hashlib.sha256(server.content["/a.bin"]).hexdigest() in str(caught.value)
    archives = root.archive("toy", "a.bin").parent
    assert [path.name for path in archives.iterdir()] == ["a.bin.bad"]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with openssl")
def test_a_certificate_that_nobody_signed_is_refused(
    root: DataRoot, server: Server, tmp_path: Path
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-days", "1"]
    command += ["-subj", "/CN=localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    url = server.url().replace("http://127.0.0.1", "https://localhost")
    with pytest.raises(FetchError, match="no trusted TLS connection"):
        fetch_dataset(toy(url), root, Silent())
    assert server.log == []
