"""Mirrors that send too much, too slowly, or compressed though they were asked not to."""

import gzip
import hashlib
import io
import shutil
import tarfile
import time
import zlib
from collections import namedtuple
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from servers.web import Handler, Server, running

from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.errors import ChecksumMismatch, DiskFull, FetchError, Unreachable
from autods.fetch import fetch_dataset
from autods.fetch.sources import base, http, limits
from autods.manifest.schema import FileEntry, Manifest, Mirror

CONTENT = hashlib.shake_128(b"content").digest(30_000)
Disk = namedtuple("Disk", "total used free")
Send = Callable[[Handler], None]


class Misbehaving(Server):
    """Answers every request by a function, but with the content at ``/good``."""

    send: Send

    def answer(self, request: Handler) -> None:
        request.close_connection = True
        if request.route == "/good":
            request.content(CONTENT)
        else:
            self.send(request)

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # whoever has enough hangs up


@pytest.fixture
def server() -> Iterator[Misbehaving]:
    with running(Misbehaving()) as here:
        here.etag = None
        yield here


def toy(*urls: str, content: bytes = CONTENT, name: str = "a.bin", size: int | None = None):
    checksum = "sha256:" + hashlib.sha256(content).hexdigest()
    mirrors = [Mirror(kind="http", url=url) for url in urls]
    entry = FileEntry(name=name, checksum=checksum, size=size, mirrors=mirrors)
    return Manifest.model_construct(name="toy", files=[entry])


def archived(root: DataRoot) -> dict[str, int]:
    folder = root.archive("toy", "a").parent
    return {path.name: path.stat().st_size for path in folder.iterdir()}


def endless(request: Handler, block: bytes, chunked: bool, head: bytes = b"") -> None:
    """Send for ever: in chunks, or until the connection is closed."""
    request.send_response(200)
    if chunked:
        request.send_header("Transfer-Encoding", "chunked")
    request.end_headers()
    sent = [head, block] if head else [block]
    while True:
        for one in sent:
            frame = f"{len(one):x}\r\n".encode() + one + b"\r\n" if chunked else one
            request.wfile.write(frame)
        sent = [block]


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("size", [1, 999, len(CONTENT)])
@pytest.mark.parametrize("block", [b"x" * 700, CONTENT, b"y" * 300_000])
def test_a_body_without_end_stops_at_the_size_that_is_known(root, server, chunked, size, block):
    server.send = lambda request: endless(request, block, chunked)
    with pytest.raises(ChecksumMismatch, match=f"sends more than the {size:,} bytes") as caught:
        fetch_dataset(toy(server.url("/a"), size=size), root, Silent())
    assert "No archive was changed" in str(caught.value)
    assert archived(root) == {}


@pytest.mark.parametrize("more", [1, 5_000_000])
def test_a_length_that_is_not_the_size_is_refused_before_the_first_byte(root, server, more):
    server.send = lambda request: request.reply(200, body=CONTENT + b"y" * more)
    manifest = toy(server.url("/a"), server.url("/good"), size=len(CONTENT))
    fetch_dataset(manifest, root, Silent())
    assert archived(root) == {"a.bin": len(CONTENT)}
    assert [path for path, *_ in server.log] == ["/a", "/good"]


def test_too_long_a_rest_leaves_what_had_arrived(root, server):
    def send(request: Handler) -> None:
        request.send_response(206)
        request.send_header("Content-Range", f"bytes 1000-{len(CONTENT) - 1}/{len(CONTENT)}")
        request.end_headers()
        request.wfile.write(CONTENT[1000:] + b"x" * 100_000)

    server.send = send
    part = root.archive("toy", "a.bin.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT[:1000])
    with pytest.raises(FetchError, match="Kept: 1,000 bytes"):
        fetch_dataset(toy(server.url("/a"), size=len(CONTENT)), root, Silent())
    assert part.read_bytes() == CONTENT[:1000]


@pytest.mark.parametrize("total", [10**7, 10**12])
def test_a_body_of_unknown_size_leaves_a_reserve_on_the_disk(root, server, monkeypatch, total):
    reserve = min(base.RESERVE, total // base.SHARE)
    free = reserve + 2_000_000

    def usage(path: object) -> Disk:
        taken = sum(archived(root).values()) if root.archive("toy", "a").parent.exists() else 0
        most.append(taken)
        return Disk(total, total - free + taken, free - taken)

    most: list[int] = []
    monkeypatch.setattr(shutil, "disk_usage", usage)
    monkeypatch.setattr(base, "LOOK", 100_000)
    server.send = lambda request: endless(request, b"x" * 50_000, chunked=True)
    with pytest.raises(DiskFull, match="without telling how many") as caught:
        fetch_dataset(toy(server.url("/a")), root, Silent())
    assert "add a --mirror" in caught.value.next_step
    assert 1_500_000 < max(most) <= 2_000_000 + 50_000  # the block that comes is written whole
    assert archived(root) == {}
    fetch_dataset(toy(server.url("/a"), server.url("/good")), root, Silent())
    assert archived(root) == {"a.bin": len(CONTENT)}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (base, limits):
        monkeypatch.setattr(module, "WINDOW", 0.2)
    monkeypatch.setattr(http, "SILENT_SECONDS", 0.4)


def drip_body(request: Handler, begun: int = 0) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(len(CONTENT)))
    request.end_headers()
    request.wfile.write(CONTENT[:begun])
    for byte in CONTENT[begun:]:
        request.wfile.write(bytes([byte]))
        time.sleep(0.02)


def drip_header(request: Handler) -> None:
    request.send_response(200)
    request.flush_headers()
    while True:
        request.wfile.write(b"X-More: y\r\n")
        time.sleep(0.02)


def drip_status(request: Handler) -> None:
    for byte in b"HTTP/1.1 200 " + b"O" * 3000:
        request.wfile.write(bytes([byte]))
        time.sleep(0.02)


SLOW = {
    "body": drip_body,
    "after a good beginning": lambda request: drip_body(request, 20_000),
    "header": drip_header,
    "status line": drip_status,
}


@pytest.mark.parametrize("send", SLOW.values(), ids=SLOW)
def test_a_host_that_drips_is_left_for_the_next_mirror(root, server, impatient, send):
    server.send, began = send, time.monotonic()
    fetch_dataset(toy(server.url("/a"), server.url("/good")), root, Silent())
    assert archived(root) == {"a.bin": len(CONTENT)}
    assert time.monotonic() - began < 20


def test_a_host_that_drips_and_is_the_only_one_ends_as_unreachable(root, server, impatient):
    server.send = drip_body
    with pytest.raises(Unreachable, match=r"only \d+ bytes came in .*gave up after 4 retries"):
        fetch_dataset(toy(server.url("/a")), root, Silent())
    assert len(server.log) == 5


def test_a_slow_window_after_much_progress_counts_as_the_first(root, server, monkeypatch):
    monkeypatch.setattr(base, "WINDOW", 1.0)
    monkeypatch.setattr(limits, "WINDOW", 0.1)
    given = []

    def send(request: Handler) -> None:  # 3,000 bytes at once, then drops
        offset = int((request.headers.get("Range") or "bytes=0-")[6:-1])
        given.append(offset)
        request.send_response(206 if offset else 200)
        if offset:
            span = f"bytes {offset}-{len(CONTENT) - 1}/{len(CONTENT)}"
            request.send_header("Content-Range", span)
        request.send_header("Content-Length", str(len(CONTENT) - offset))
        request.end_headers()
        request.wfile.write(CONTENT[offset : offset + 3000])
        for byte in CONTENT[offset + 3000 : offset + 3050]:
            request.wfile.write(bytes([byte]))
            time.sleep(0.01)

    server.send = send
    monkeypatch.setattr(limits, "SLOWEST", 1e6)
    fetch_dataset(toy(server.url("/a")), root, Silent())
    assert len(given) > 6


def tar_bytes() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        member = tarfile.TarInfo("cat/1.png")
        member.size = len(CONTENT)
        archive.addfile(member, io.BytesIO(CONTENT))
    return file.getvalue()


def raw_deflate(content: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(content) + packer.flush()


TABLE = b"path,label\n" + b"cat/1.png,cat\n" * 20_000
TAR = tar_bytes()
TGZ = gzip.compress(TAR)
FORMS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": lambda content: gzip.compress(content[:999]) + gzip.compress(content[999:]),
    "GZIP": lambda content: gzip.compress(content) + b"\0" * 40,
    "deflate": zlib.compress,
    "Deflate": raw_deflate,
}
FILES = {"a.csv": TABLE, "a.tar": TAR, "a.tar.gz": TGZ, "a.bin": CONTENT, "a.txt": b"x\n"}


def encoding(content: bytes, name: str, length: bool = True) -> Send:
    def send(request: Handler) -> None:
        request.send_response(200)
        request.send_header("Content-Encoding", name)
        if length:
            request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    return send


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("form", FORMS)
def test_a_file_compressed_for_the_transfer_arrives_as_published(root, server, file, form, known):
    content = FILES[file]
    server.send = encoding(FORMS[form](content), form, length=known)
    size = len(content) if known else None
    fetch_dataset(toy(server.url("/a"), content=content, name=file, size=size), root, Silent())
    assert root.archive("toy", file).read_bytes() == content


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(("file", "form"), [("a.tar.gz", "gzip"), ("a.tgz", "x-gzip"),
    ("a.tar", "gzip"), ("a.csv", "gzip"), ("a.bin", "identity"), ("a.csv", "UTF-8")])  # fmt: skip
def test_a_file_that_is_only_said_to_be_compressed_stays_as_it_is(root, server, file, form, known):
    content = TGZ if "gz" in file else FILES[file]
    server.send = encoding(content, form)
    size = len(content) if known else None
    fetch_dataset(toy(server.url("/a"), content=content, name=file, size=size), root, Silent())
    assert root.archive("toy", file).read_bytes() == content


def test_what_is_compressed_for_the_transfer_starts_over_after_a_drop(root, server):
    packed, drops = gzip.compress(TABLE), [300, 100]

    def send(request: Handler) -> None:
        cut = packed[: drops.pop()] if drops else packed
        encoding(cut, "gzip", length=False)(request)

    server.send = send
    fetch_dataset(toy(server.url("/a"), content=TABLE, name="a.csv"), root, Silent())
    assert root.archive("toy", "a.csv").read_bytes() == TABLE


def test_a_range_of_the_compressed_form_is_not_glued_to_the_file(root, server):
    packed = gzip.compress(TABLE)

    def send(request: Handler) -> None:
        if request.headers.get("Range"):
            span = f"bytes 500-{len(packed) - 1}/{len(packed)}"
            headers = {"Content-Range": span, "Content-Encoding": "gzip"}
            request.reply(206, headers, packed[500:])
        else:
            encoding(packed, "gzip")(request)

    server.send = send
    part = root.archive("toy", "a.csv.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(TABLE[:500])
    fetch_dataset(toy(server.url("/a"), content=TABLE, name="a.csv"), root, Silent())
    assert root.archive("toy", "a.csv").read_bytes() == TABLE


def test_an_unknown_compression_is_named(root, server):
    server.send = encoding(CONTENT, "br")
    with pytest.raises(FetchError, match="compressed by 'br', which nobody asked for"):
        fetch_dataset(toy(server.url("/a")), root, Silent())


def test_a_small_answer_that_unfolds_without_end_stops_at_the_size(root, server):
    server.send = encoding(gzip.compress(b"\0" * 200_000_000), "gzip")
    with pytest.raises(ChecksumMismatch, match="sends more than"):
        fetch_dataset(toy(server.url("/a"), name="a.csv", size=30_000), root, Silent())
    assert archived(root) == {}


def test_all_requests_ask_for_the_file_as_it_is(root, server):
    fetch_dataset(toy(server.url("/good")), root, Silent())
    assert server.sent("Accept-Encoding") == ["identity"]


def test_several_threads_of_one_process_have_deadlines_of_their_own(root, impatient):
    with ExitStack() as stack:
        servers = [stack.enter_context(running(Misbehaving())) for _ in range(2)]
        servers[0].send = drip_header
        manifest = toy(servers[0].url("/a"), servers[1].url("/good"))
        fetch_dataset(manifest, root, Silent())
    assert archived(root) == {"a.bin": len(CONTENT)}
