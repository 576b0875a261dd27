"""Fetching from a loopback Google Drive: its warning, its quota, its sign-in page."""

import gzip
import hashlib
from collections.abc import Iterator

import pytest
from servers.hosts import Drive
from servers.web import running

from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.errors import FetchError, LinkGone, QuotaExceeded
from autods.fetch import fetch_dataset
from autods.fetch.sources import gdrive
from autods.manifest.schema import FileEntry, Manifest, Mirror

CONTENT = gzip.compress(hashlib.shake_128(b"drive").digest(300_000))
ID = "1hbzc_P1FuxMkcabkgn9ZKinBwW683j45"


@pytest.fixture
def drive(monkeypatch: pytest.MonkeyPatch) -> Iterator[Drive]:
    with running(Drive()) as server:
        server.files[ID] = CONTENT
        monkeypatch.setenv("AUTODS_GDRIVE_URL", server.url("/"))
        yield server


def toy(*ids: str) -> Manifest:
    mirrors = [Mirror(kind="gdrive", url=identity) for identity in ids or (ID,)]
    checksum = "md5:" + hashlib.md5(CONTENT).hexdigest()
    entry = FileEntry(name="a.tgz", checksum=checksum, mirrors=mirrors)
    return Manifest.model_construct(name="toy", files=[entry])


def fetched(root: DataRoot) -> bytes:
    fetch_dataset(toy(), root, Silent())
    return root.archive("toy", "a.tgz").read_bytes()


@pytest.mark.parametrize("page", [
    "<html><![abc[x]]>", f"<html><form action='/download'><input type=hidden name=&#{'9' * 5000};>",
    "<html><form action='http://[download'><input type=hidden name=id value=1>",
])  # fmt: skip
def test_a_page_that_python_cannot_read_has_no_form(page):
    assert gdrive._confirmation("https://drive", page) is None


def test_a_small_file_comes_at_the_first_request(root, drive):
    assert fetched(root) == CONTENT
    assert [path for path, *_ in drive.log] == [f"/download?id={ID}&export=download&confirm=t"]


def test_an_old_file_is_asked_for_with_its_resource_key(root, drive):
    drive.keys[ID] = "0-2SNWq0C"
    with pytest.raises(FetchError, match="asks to sign in"):
        fetch_dataset(toy(), root, Silent())
    fetch_dataset(toy(f"{ID}#0-2SNWq0C"), root, Silent())
    assert root.archive("toy", "a.tgz").read_bytes() == CONTENT


def test_the_warning_of_a_large_file_is_confirmed_by_its_form(root, drive):
    drive.states[ID] = "large"
    assert fetched(root) == CONTENT
    assert drive.log[1][0].endswith(f"id={ID}&export=download&confirm=t&uuid=u0")


@pytest.mark.parametrize("tenth", range(1, 10))
def test_a_large_file_dropped_at_every_tenth_is_continued(root, drive, tenth):
    drive.states[ID], drive.drops = "large", [len(CONTENT) * tenth // 10, None]
    assert fetched(root) == CONTENT
    assert drive.ranges_asked() == [None, None, f"bytes={len(CONTENT) * tenth // 10}-"]


def test_a_part_of_an_earlier_run_is_continued_past_a_new_warning(root, drive):
    drive.states[ID] = "large"
    part = root.archive("toy", "a.tgz.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT[:1234])
    assert fetched(root) == CONTENT
    assert drive.ranges_asked() == ["bytes=1234-", "bytes=1234-"]


def test_a_form_that_comes_back_for_ever_is_given_up(root, drive):
    drive.states[ID], drive.asks_always = "large", True
    with pytest.raises(FetchError, match="asks for confirmation again and again"):
        fetch_dataset(toy(), root, Silent())
    assert len(drive.log) < 10


def test_the_quota_page_is_recognised_and_keeps_the_part(root, drive):
    drive.states[ID] = "quota"
    part = root.archive("toy", "a.tgz.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT[:1234])
    with pytest.raises(QuotaExceeded, match=f"gdrive {ID}: Google Drive's download quota") as got:
        fetch_dataset(toy(), root, Silent())
    assert got.value.cause == "quota"
    assert "in a day" in got.value.next_step
    assert part.read_bytes() == CONTENT[:1234]
    drive.states = {}
    assert fetched(root) == CONTENT
    assert drive.ranges_asked()[-1] == "bytes=1234-"


@pytest.mark.parametrize(
    ("state", "kind", "words"),
    [
        ("private", FetchError, "asks to sign in"),
        ("denied", FetchError, "not shared with everyone"),
        ("folder", FetchError, "a page titled 'Google Drive - Something else'"),
        (None, LinkGone, "no file of this id any more"),
    ],
)
def test_each_page_of_drive_has_its_cause(root, drive, state, kind, words):
    if state is None:
        drive.files = {}
    else:
        drive.states[ID] = state
    with pytest.raises(FetchError, match=words) as caught:
        fetch_dataset(toy(), root, Silent())
    assert type(caught.value) is kind
    assert list(root.archive("toy", "a.tgz").parent.iterdir()) == []


def test_the_second_id_is_asked_when_the_first_has_no_quota_left(root, drive):
    drive.files["0B7EVK8r0v71pZjFTYXZWM3FlRnM"] = CONTENT
    drive.states[ID] = "quota"
    fetch_dataset(toy(ID, "0B7EVK8r0v71pZjFTYXZWM3FlRnM"), root, Silent())
    assert root.archive("toy", "a.tgz").read_bytes() == CONTENT
