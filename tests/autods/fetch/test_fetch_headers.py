"""Headers that lie: numbers without end, dates that are none, names that are no hosts."""

import hashlib
from collections.abc import Iterator

import pytest
from servers.web import Handler, Server, running

from autods.checks import doctor_network
from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.errors import FetchError
from autods.fetch import fetch_dataset
from autods.fetch.part_files import part_of
from autods.fetch.sizes import ask_sizes
from autods.fetch.sources.base import Seen
from autods.manifest.schema import FileEntry, Manifest, Mirror

CONTENT = hashlib.shake_128(b"content").digest(3000)
DIGITS = "9" * 5000  # Python refuses to make a number of so many


@pytest.fixture
def server() -> Iterator[Server]:
    with running(Server()) as here:
        here.files["/a.bin"] = CONTENT
        yield here


def entry(server: Server) -> FileEntry:
    checksum = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
    return FileEntry(
        name="a.bin", checksum=checksum, mirrors=[Mirror(kind="http", url=server.url())]
    )


def fetched(root: DataRoot, server: Server) -> bytes:
    fetch_dataset(Manifest.model_construct(name="toy", files=[entry(server)]), root, Silent())
    return root.archive("toy", "a.bin").read_bytes()


def begin(root: DataRoot, server: Server, validator: str = "") -> None:
    part = part_of(root.archive("toy", "a.bin"))
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT[:1000])
    Seen(server.url(), validator).save(part)


@pytest.mark.parametrize(("status", "value"), [
    (206, f"bytes 1000-2999/{DIGITS}"), (206, f"bytes {DIGITS}-2999/3000"), (206, "bytes 1000"),
    (416, f"bytes */{DIGITS}"), (416, "bytes */\xb2"),
])  # fmt: skip
def test_a_range_that_is_no_number_is_not_believed(root, server, status, value):
    begin(root, server)
    server.scripted = [(status, {"Content-Range": value})]
    assert fetched(root, server) == CONTENT


@pytest.mark.parametrize("value", [
    "Fri, 31 Dec 99999999999999 23:59:59 GMT", "Fri, 31 Dec 2020 23:59:59 +99999999999", "nan",
    "-5", "\xb2", "", "Mon, 01 Jan 0001 00:00:00 GMT",
])  # fmt: skip
def test_a_wait_that_is_no_time_is_the_usual_one(root, server, value):
    server.scripted = [(503, {"Retry-After": value})]
    assert fetched(root, server) == CONTENT


@pytest.mark.parametrize("value", ["9" * 400, DIGITS])
def test_a_wait_without_end_is_a_long_one(root, server, value):
    server.scripted = [(503, {"Retry-After": value})]
    with pytest.raises(FetchError, match="it asks to wait 1000000000 s"):
        fetched(root, server)


@pytest.mark.parametrize("tag", ['"\xe9"', '"\xc3\xa9"'])
def test_a_name_of_the_version_that_cannot_be_sent_back_is_not_kept(root, server, tag):
    server.etag, server.drops, server.ignores_if_range = tag, [1000, None], True
    assert fetched(root, server) == CONTENT
    assert [condition for _, _, condition in server.log] == [None, None]


def test_a_note_of_an_earlier_version_with_such_a_name_is_not_sent(root, server):
    begin(root, server, '"\xe9"')
    server.etag = None
    assert fetched(root, server) == CONTENT


@pytest.mark.parametrize("host", ["a..b", "xn--a-.com", "a" * 300, ".", "a.." + "b" * 64])
def test_a_redirect_to_what_is_no_host_is_a_cause(root, server, host):
    server.scripted = [(302, {"Location": f"http://{host}/a.bin"})]
    with pytest.raises(FetchError, match="no mirror gave it"):
        fetched(root, server)
    server.answers_head = False
    server.scripted = [(302, {"Location": f"http://{host}/a.bin"})]
    assert ask_sizes([(entry(server), entry(server).mirrors[0])]) == [None]


@pytest.mark.parametrize("place", ["file:///etc/hostname", "ftp://127.0.0.1/a", "data:,a"])
def test_a_redirect_to_another_scheme_is_not_followed(root, server, place):
    server.scripted = [(302, {"Location": place})]
    with pytest.raises(FetchError, match="cannot be fetched"):
        fetched(root, server)


def test_a_size_that_is_no_number_is_unknown(server):
    mirror = entry(server).mirrors[0]
    server.answers_head = False
    server.scripted = [(206, {"Content-Range": f"bytes 0-0/{DIGITS}"})]
    assert ask_sizes([(entry(server), mirror)]) == [None]


def test_a_date_that_is_none_is_not_compared_with_the_clock(server, monkeypatch):
    date = "Fri, 31 Dec 99999999999999 23:59:59 GMT"
    monkeypatch.setattr(Handler, "date_time_string", lambda *_: date)
    answer = doctor_network._head(server.url(""), 0.0)
    assert answer.reached and answer.ahead is None
