"""Fetching over http from a real server on the loopback device that can misbehave."""

import hashlib
import json
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from email.utils import formatdate
from threading import Barrier, Thread
from typing import Any

import pytest
from notes import Notes
from servers.web import Server, Storage, running

from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.errors import (
    ChecksumMismatch,
    CredentialsMissing,
    FetchError,
    LinkGone,
    QuotaExceeded,
    Unreachable,
)
from autods.fetch import fetch_dataset
from autods.fetch.sources import base
from autods.manifest.schema import FileEntry, Manifest, Mirror

CONTENT = hashlib.shake_128(b"content").digest(300_000)
OTHER = hashlib.shake_128(b"other").digest(310_000)
CHECKSUM = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server() -> Iterator[Server]:
    with running(Server()) as here:
        here.files["/a.bin"] = CONTENT
        yield here


def toy(*urls: str, checksum: str = CHECKSUM, size: int | None = None) -> Manifest:
    mirrors = [Mirror.model_construct(kind="http", url=url) for url in urls]  # some no addresses
    entry = FileEntry.model_construct(name="a.bin", checksum=checksum, size=size, mirrors=mirrors)
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


def test_a_file_arrives_whole_with_its_progress_in_bytes(root, server):
    class Count(Silent):
        total, done = None, 0

        def start(self, title: str, total: int | None, unit: str, done: int = 0) -> None:
            self.total = total
            assert (title, unit) == ("a.bin", "bytes")

        def advance(self, amount: int) -> None:
            self.done += amount

    count = Count()
    assert fetched(root, toy(server.url()), count) == CONTENT
    assert (count.total, count.done) == (len(CONTENT), len(CONTENT))
    assert server.ranges_asked() == [None]


def test_an_empty_file_arrives(root, server):
    server.files["/a.bin"] = b""
    checksum = "md5:" + hashlib.md5(b"").hexdigest()
    assert fetched(root, toy(server.url(), checksum=checksum)) == b""


def test_redirects_are_followed_and_the_manifests_url_is_recorded(root, server):
    server.scripted = [(302, {"Location": "/a.bin"})]
    assert fetched(root, toy(server.url("/moved"))) == CONTENT
    assert json.loads(root.record("toy").read_text())["files"]["a.bin"]["url"].endswith("/moved")


def test_endless_redirects_are_a_cause(root, server):
    server.scripted = [(302, {"Location": "/a.bin"})] * 30
    with pytest.raises(FetchError, match="redirect"):
        fetch_dataset(toy(server.url()), root, Silent())


def test_dropped_connections_are_continued_by_range(root, server):
    server.drops = [100_000, 50_000, 0, None]
    assert fetched(root, toy(server.url())) == CONTENT
    assert server.ranges_asked() == [None, "bytes=100000-", "bytes=150000-", "bytes=150000-"]
    assert {condition for *_, condition in server.log} == {None, '"one"'}


def test_any_number_of_drops_is_survived_while_bytes_arrive(root, server):
    server.drops = [20_000] * 14
    assert fetched(root, toy(server.url())) == CONTENT
    assert len(server.log) == 15


def test_a_server_that_never_gets_further_is_given_up_and_the_part_kept(root, server):
    server.drops = [1000, *[0] * 20]
    with pytest.raises(FetchError, match="gave up after 4 retries") as caught:
        fetch_dataset(toy(server.url()), root, Silent())
    assert "Kept: 1,000 bytes" in str(caught.value)
    assert root.archive("toy", "a.bin.part").stat().st_size == 1000
    server.drops, server.log = [], []
    assert fetched(root, toy(server.url())) == CONTENT
    assert server.ranges_asked() == ["bytes=1000-"]


def test_a_server_that_starts_over_each_time_is_given_up(root, server):
    server.ranges, server.drops = False, [5000] * 50
    with pytest.raises(FetchError, match="gave up after 4 retries"):
        fetch_dataset(toy(server.url()), root, Silent())
    assert len(server.log) <= 6


def test_a_drop_without_a_length_is_noticed_by_the_manifests_size(root, server):
    server.length, server.drops = False, [1000, None]
    assert fetched(root, toy(server.url(), size=len(CONTENT))) == CONTENT
    assert server.ranges_asked() == [None, "bytes=1000-"]


def test_a_server_without_ranges_is_fetched_from_the_start(root, server):
    server.ranges = False
    begin(root, CONTENT[:1000])
    assert fetched(root, toy(server.url())) == CONTENT


def test_a_whole_part_needs_no_bytes(root, server):
    begin(root, CONTENT)
    assert fetched(root, toy(server.url())) == CONTENT
    assert server.ranges_asked() == [f"bytes={len(CONTENT)}-"]


def test_a_part_of_the_manifests_size_is_checked_and_not_asked_for(root, server):
    begin(root, CONTENT)
    assert fetched(root, toy(server.url(), size=len(CONTENT))) == CONTENT
    assert server.log == []


def test_a_wrong_part_of_the_manifests_size_is_fetched_anew(root, server):
    begin(root, OTHER[: len(CONTENT)])
    assert fetched(root, toy(server.url(), size=len(CONTENT))) == CONTENT
    assert server.ranges_asked() == [None]


def test_a_part_longer_than_the_content_is_fetched_anew(root, server):
    begin(root, CONTENT + b"more")
    assert fetched(root, toy(server.url())) == CONTENT
    assert server.ranges_asked()[-1] is None


def test_a_content_that_changed_is_never_glued_to_the_old_beginning(root, server):
    begin(root, OTHER[:1000], url=server.url(), validator='"old"', total=len(OTHER))
    assert fetched(root, toy(server.url())) == CONTENT
    assert server.log == [("/a.bin", "bytes=1000-", '"old"')]


@pytest.mark.parametrize(("tag", "total"), [('"old"', len(CONTENT)), ('"one"', len(OTHER))])
def test_a_server_that_ignores_if_range_is_seen_through(root, server, tag, total):
    notes = Notes()
    server.ignores_if_range = True
    begin(root, OTHER[:1000], url=server.url(), validator=tag, total=total)
    assert fetched(root, toy(server.url()), notes) == CONTENT
    assert server.ranges_asked() == ["bytes=1000-", None]
    assert "the content has changed" in notes.lines[1]


def test_an_error_page_does_not_take_the_place_of_what_has_arrived(root, server):
    server.files["/page"], server.ranges = b"come back tomorrow", False
    begin(root, CONTENT[:1000])
    with pytest.raises(FetchError, match="offers 18 bytes, expected 300,000"):
        fetch_dataset(toy(server.url("/page"), size=len(CONTENT)), root, Silent())
    assert root.archive("toy", "a.bin.part").read_bytes() == CONTENT[:1000]


@pytest.mark.parametrize(
    ("kind", "page", "cause"),
    [
        ("text/html; charset=utf-8", b"<html>log in" * 500, "offers a web page"),
        ("application/octet-stream", b"come back tomorrow", "offers only 18 bytes in all"),
    ],
)
def test_without_a_size_a_page_does_not_replace_what_has_arrived(root, server, kind, page, cause):
    server.files["/page"], server.ranges, server.kind["/page"] = page, False, kind
    begin(root, CONTENT[:1000])
    with pytest.raises(FetchError, match=cause):
        fetch_dataset(toy(server.url("/page")), root, Silent())
    assert root.archive("toy", "a.bin.part").read_bytes() == CONTENT[:1000]
    server.ranges = True
    assert fetched(root, toy(server.url("/page"), server.url())) == CONTENT
    assert server.ranges_asked()[-1] == "bytes=1000-"


def test_a_wrong_content_range_is_not_written_into_the_part(root, server):
    server.honest = False
    begin(root, CONTENT[:1000])
    assert fetched(root, toy(server.url())) == CONTENT
    assert server.ranges_asked() == ["bytes=1000-", None]


def test_a_part_with_an_unreadable_note_is_continued(root, server):
    begin(root, CONTENT[:1000])
    base.seen_path(root.archive("toy", "a.bin.part")).write_text('{"half')
    assert fetched(root, toy(server.url())) == CONTENT
    assert server.log == [("/a.bin", "bytes=1000-", None)]


def test_a_weak_etag_gives_no_condition(root, server):
    server.etag, server.drops = 'W/"weak"', [1000, None]
    assert fetched(root, toy(server.url())) == CONTENT
    assert server.log[1] == ("/a.bin", "bytes=1000-", None)


def test_the_next_mirror_continues_the_part_of_the_first(root, server):
    server.files["/b.bin"] = CONTENT
    server.drops = [200_000, *[0] * 4]
    assert fetched(root, toy(server.url("/a.bin"), server.url("/b.bin"))) == CONTENT
    assert server.log[-1] == ("/b.bin", "bytes=200000-", None)


def test_a_part_of_a_wrong_mirror_costs_nothing_but_time(root, server):
    server.files["/b.bin"] = OTHER[: len(CONTENT)]
    server.drops = [200_000, *[0] * 5]
    assert fetched(root, toy(server.url("/b.bin"), server.url())) == CONTENT
    assert server.ranges_asked()[-2:] == ["bytes=200000-", None]


def test_a_file_that_is_gone_is_fetched_from_the_second_mirror(root, server):
    assert fetched(root, toy(server.url("/gone"), server.url())) == CONTENT
    assert [path for path, *_ in server.log] == ["/gone", "/a.bin"]
    assert json.loads(root.record("toy").read_text())["files"]["a.bin"]["url"] == server.url()


def test_a_users_mirror_is_asked_first(root, server):
    server.files["/pub/toy/a.bin"] = CONTENT
    fetch_dataset(toy(server.url()), root, Silent(), mirrors=[server.url("/pub/")])
    assert [path for path, *_ in server.log] == ["/pub/toy/a.bin"]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("SSL_CERT_FILE", "/no/such/file", "the certificates that SSL_CERT_FILE names"),
        ("HTTP_PROXY", "socks5h://ann:secret@127.0.0.1:1", "SOCKS needs the package socksio"),
        ("HTTP_PROXY", "gopher://ann:secret@127.0.0.1:1", "the proxy that the environment names"),
        ("HTTP_PROXY", "http://ann:secret@127.0.0.1:abc", "the proxy that the environment names"),
    ],
)
def test_an_environment_without_requests_is_named(root, server, monkeypatch, name, value, words):
    if "socks" in value:
        monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv(name, value)
    with pytest.raises(FetchError, match=words) as caught:
        fetch_dataset(toy(server.url()), root, Silent())
    assert name in caught.value.next_step
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_content_that_changes_at_every_try_is_given_up(root, server, monkeypatch, ranges):
    def changed(request: Any) -> None:
        server.etag = f'"{len(server.log)}"'
        request.content(CONTENT)

    monkeypatch.setattr(server, "answer", changed)
    server.drops, server.ranges, server.ignores_if_range = [5000] * 50, ranges, True
    with pytest.raises(Unreachable, match="gave up after 4 retries"):
        fetch_dataset(toy(server.url()), root, Silent())
    assert len(server.log) <= 12


def test_every_mirror_is_listed_with_its_own_cause(root, server):
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
def test_a_passing_trouble_is_waited_out(root, server, status):
    server.scripted = [(status, {"Retry-After": "0"})] * 4
    assert fetched(root, toy(server.url())) == CONTENT
    assert len(server.log) == 5


def test_a_lasting_trouble_ends_after_a_few_tries(root, server):
    server.scripted = [(503, {})] * 50
    with pytest.raises(FetchError, match="503 Service Unavailable; gave up after 4 retries"):
        fetch_dataset(toy(server.url()), root, Silent())
    assert len(server.log) == 5


def test_retry_after_is_honoured(root, server):
    server.scripted = [(429, {"Retry-After": "1"})]
    began = time.monotonic()
    assert fetched(root, toy(server.url())) == CONTENT
    assert time.monotonic() - began >= 1


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_long_wait_is_told_and_not_waited(root, server, form):
    # the date is made here: an hour from now, however late in the suite this test runs
    value = "3600" if form == "seconds" else formatdate(time.time() + 3600, usegmt=True)
    server.scripted = [(429, {"Retry-After": value})]
    with pytest.raises(FetchError, match=r"429 Too Many Requests; it asks to wait 3[56]\d\d s"):
        fetch_dataset(toy(server.url()), root, Silent())


def test_a_wrong_file_is_set_aside_with_both_digests(root, server):
    server.files["/a.bin"] = OTHER
    with pytest.raises(ChecksumMismatch) as caught:
        fetch_dataset(toy(server.url()), root, Silent())
    assert CHECKSUM in str(caught.value)
    assert hashlib.sha256(OTHER).hexdigest() in str(caught.value)
    archives = root.archive("toy", "a.bin").parent
    assert [path.name for path in archives.iterdir()] == ["a.bin.bad"]


def test_a_page_in_place_of_a_file_is_named_and_leaves_nothing(root, server):
    server.files["/a.bin"] = b"\n <!DOCTYPE html><title>Moved &amp; gone</title>" + CONTENT
    with pytest.raises(FetchError, match="offers a web page titled 'Moved & gone'"):
        fetch_dataset(toy(server.url()), root, Silent())
    assert list(root.archive("toy", "a.bin").parent.iterdir()) == []
    assert len(server.log) == 1


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with openssl")
def test_a_certificate_that_nobody_signed_is_refused(root, server, tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-days", "1"]
    command += ["-subj", "/CN=localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    url = server.url().replace("http://127.0.0.1", "https://localhost")
    with pytest.raises(FetchError, match="no trusted TLS connection: the certificate of localhost"):
        fetch_dataset(toy(url), root, Silent())
    assert server.log == []


@pytest.mark.parametrize("tenth", range(1, 10))
def test_a_connection_dropped_at_every_tenth_of_a_file_is_continued_there(root, server, tenth):
    server.drops = [len(CONTENT) * tenth // 10, None]
    assert fetched(root, toy(server.url())) == CONTENT
    assert server.ranges_asked() == [None, f"bytes={len(CONTENT) * tenth // 10}-"]


@pytest.mark.parametrize("tenth", range(1, 10))
def test_a_tiny_file_dropped_at_every_tenth_arrives_too(root, server, tenth):
    tiny = CONTENT[:100]
    server.files["/a.bin"], server.drops = tiny, [10 * tenth, None]
    checksum = "md5:" + hashlib.md5(tiny).hexdigest()
    assert fetched(root, toy(server.url(), checksum=checksum)) == tiny
    assert server.ranges_asked() == [None, f"bytes={10 * tenth}-"]


def test_a_wrong_length_is_mended_by_what_the_next_answer_says(root, server):
    server.wrong_length = 10
    assert fetched(root, toy(server.url())) == CONTENT
    assert server.ranges_asked() == [None, f"bytes={len(CONTENT)}-"]


def test_a_length_that_is_never_reached_is_given_up_and_the_part_kept(root, server):
    server.wrong_length, server.ranges = 10, False
    with pytest.raises(Unreachable, match="gave up after 4 retries"):
        fetch_dataset(toy(server.url()), root, Silent())
    assert root.archive("toy", "a.bin.part").read_bytes()[: len(CONTENT)] == CONTENT


def test_an_empty_answer_is_named(root, server):
    server.files["/a.bin"] = b""
    with pytest.raises(ChecksumMismatch, match="gives an empty file"):
        fetch_dataset(toy(server.url()), root, Silent())


def test_a_file_that_a_server_calls_a_page_arrives_and_is_continued(root, server):
    server.kind["/a.bin"], server.drops = "text/html", [100_000, None]
    assert fetched(root, toy(server.url())) == CONTENT
    assert server.ranges_asked() == [None, "bytes=100000-"]


@pytest.mark.parametrize(
    ("status", "kind", "cause"),
    [
        (401, CredentialsMissing, "needs credentials"),
        (403, FetchError, "failed"),
        (404, LinkGone, "gone"),
        (410, LinkGone, "gone"),
        (418, FetchError, "failed"),
        (429, QuotaExceeded, "quota"),
        (500, Unreachable, "unreachable"),
    ],
)
def test_each_refusal_has_its_class_its_word_and_a_next_step(root, server, status, kind, cause):
    server.scripted = [(status, {"Retry-After": "0"})] * 9
    with pytest.raises(FetchError) as caught:
        fetch_dataset(toy(server.url()), root, Silent())
    assert type(caught.value) is kind
    assert caught.value.cause == cause
    assert caught.value.next_step.endswith(".")
    assert caught.value.next_step.replace("NAME", "toy") in str(caught.value)


def test_of_several_causes_the_one_that_can_be_mended_is_told(root, server):
    server.files["/other"] = OTHER
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        refused = f"http://127.0.0.1:{closed.getsockname()[1]}/x"
        for urls, kind in [
            ([server.url("/gone"), refused, server.url("/other")], ChecksumMismatch),
            ([server.url("/gone"), refused], Unreachable),
            ([server.url("/gone")], LinkGone),
        ]:
            server.scripted = []
            with pytest.raises(FetchError) as caught:
                fetch_dataset(toy(*urls), root, Silent())
            assert type(caught.value) is kind
        server.scripted = [(404, {}), (401, {})]
        with pytest.raises(CredentialsMissing, match="the file is gone"):
            fetch_dataset(toy(server.url("/1"), server.url("/2"), refused), root, Silent())


def test_a_host_that_goes_away_in_the_middle_is_waited_for(root):
    class Notes(Silent):
        """Takes the host away when the connection drops, and brings it back a try later."""

        def note(self, text: str) -> None:
            lines.append(text)
            if "the connection" in text:
                stack.close()
            elif "no connection" in text:
                stack.enter_context(running(serve(port)))

    def serve(port: int) -> Server:
        host = Server(port)
        host.files["/a.bin"] = CONTENT
        return host

    lines: list[str] = []
    with ExitStack() as stack:
        first = stack.enter_context(running(serve(0)))
        port, first.drops = first.server_port, [100_000]
        assert fetched(root, toy(first.url()), Notes()) == CONTENT
    assert sum("no connection" in line for line in lines) == 1


def test_credentials_in_a_url_do_not_follow_a_redirect_to_another_host(root, server):
    with running(Storage()) as storage:
        storage.files["/a.bin"] = CONTENT
        server.scripted = [(302, {"Location": storage.sign("/a.bin")})]
        url = server.url().replace("http://", "http://ann:secret@")
        assert fetched(root, toy(url)) == CONTENT
        assert server.sent("Authorization") == ["Basic YW5uOnNlY3JldA=="]
        assert storage.sent("Authorization") == [None]
    assert "secret" not in root.record("toy").read_text()


def test_several_threads_fetch_different_datasets_at_once(tmp_path, root, server):
    server.drops = [100_000, None] * 8
    errors: list[BaseException] = []
    together = Barrier(8)

    def fetch(number: int) -> None:
        together.wait()
        try:
            dataset = toy(server.url()).model_copy(update={"name": f"toy{number}"})
            fetch_dataset(dataset, root, Silent())
        except BaseException as error:
            errors.append(error)

    threads = [Thread(target=fetch, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    for number in range(8):
        assert root.archive(f"toy{number}", "a.bin").read_bytes() == CONTENT
