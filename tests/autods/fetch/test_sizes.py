"""Sizes before a fetch: of the manifest, of servers, estimated, and of copies."""

import hashlib
from collections.abc import Iterator

import pytest
from servers.web import Server, running

from autods.checks.doctor_root import check_root
from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.errors import ChecksumMismatch
from autods.fetch import fetch_dataset, sizes
from autods.fetch.plan import measure, plan_dataset
from autods.fetch.sizes import ask_sizes, copy_size
from autods.fetch.space import copies_to_come, estimated_remaining, known_remaining
from autods.manifest.schema import FileEntry, Manifest, Mirror

MD5 = "md5:" + "0" * 32


@pytest.fixture
def server() -> Iterator[Server]:
    with running(Server()) as found:
        found.files = {"/a.zip": b"PK\x03\x04" + bytes(5_000)}
        yield found


def entry(name: str = "a.zip", url: str = "http://127.0.0.1:9/a.zip", **more: object) -> FileEntry:
    mirrors = [{"kind": "http", "url": url}]
    return FileEntry.model_validate({"name": name, "checksum": MD5, "mirrors": mirrors, **more})


def dataset(*entries: FileEntry) -> Manifest:
    values = {"licence": None, "access": "open", "acceptance": None}
    return Manifest.model_construct(name="toy", files=list(entries), **values)


def asked(url: str) -> list[int | None]:
    return ask_sizes([(entry(), Mirror(kind="http", url=url))])


def test_a_server_tells_the_size_and_gives_no_byte(server):
    assert asked(server.url("/a.zip")) == [5_004]
    assert (server.heads, server.log) == (["/a.zip"], [])


def test_a_server_without_head_is_asked_for_the_first_byte(server):
    server.answers_head = False
    assert asked(server.url("/a.zip")) == [5_004]
    assert server.ranges_asked() == ["bytes=0-0"]


def test_a_missing_file_a_page_and_a_silent_host_tell_no_size(server, monkeypatch):
    monkeypatch.setattr(sizes, "SECONDS", 0.2)
    assert asked(server.url("/b.zip")) == [None]
    server.kind["/a.zip"] = "text/html; charset=utf-8"
    assert asked(server.url("/a.zip")) == [None]
    assert asked("http://127.0.0.1:9/a.zip") == [None]
    assert ask_sizes([(entry(), Mirror(kind="gdrive", url="0123456789abc"))]) == [None]


def test_only_sizes_that_no_list_states_are_asked_for(server, tmp_path):
    root, url = DataRoot(tmp_path), server.url("/a.zip")
    manifest = dataset(
        entry("exact.zip", url, size=7),
        entry("rough.zip", url, about=9_000),
        entry("guess.zip", url, estimate=8_000),
        entry("gone.zip", server.url("/b.zip"), estimate=6_000),
    )
    answers = measure([manifest], root)
    assert answers == {"toy": {"rough.zip": 5_004, "guess.zip": 5_004}}
    plan = plan_dataset(manifest, root, answers=answers["toy"])
    found = [(file.size, file.basis) for file in plan.files]
    expected = [(7, "exact"), (5_004, "answered"), (5_004, "answered"), (6_000, "estimate")]
    assert found == expected
    assert (known_remaining([plan]), estimated_remaining([plan])) == (10_015, 6_000)


def test_copies_of_compressed_archives_count_until_they_are_made(tmp_path):
    root = DataRoot(tmp_path)
    packed = entry("a.tar.gz", size=1_000)
    assert copy_size("toy", packed, 1_000, root) == 1_000
    assert copy_size("toy", entry("a.rar"), None, root) is None
    assert copy_size("toy", entry("a.zip"), 1_000, root) == 0
    assert copy_size("toy", entry("a.mat", unpacked=4_096), 1_000, root) == 4_096
    plan = plan_dataset(dataset(packed, entry("b.mat", size=10, unpacked=4_096)), root)
    assert (plan.copies, copies_to_come([plan])) == (5_096, 5_096)
    made = root.converted("toy", "a.tar.gz.tar")
    made.parent.mkdir(parents=True)
    made.touch()
    assert copy_size("toy", packed, 1_000, root) == 0


def test_the_doctor_counts_estimates_and_copies_against_the_free_disk(tmp_path):
    import shutil

    free = shutil.disk_usage(tmp_path).free
    small = dataset(entry("a.tar.gz", estimate=1_000_000))
    found = {c.check: c for c in check_root(DataRoot(tmp_path / "root"), [small])}
    assert "1 file, 0 bytes known, 1.0 MB estimated" in found["disk"].text
    assert "copies made by 'autods index': about 1.0 MB" in found["disk"].text
    large = dataset(entry("a.tar.gz", estimate=free * 2 // 3))
    found = {c.check: c for c in check_root(DataRoot(tmp_path / "root"), [large])}
    assert found["disk"].state == "warn"


def test_a_second_checksum_must_agree_too(tmp_path):
    content = b"the published bytes"
    (tmp_path / "a.bin").write_bytes(content)
    checksum = "md5:" + hashlib.md5(content).hexdigest()
    mirrors = [{"kind": "file", "url": str(tmp_path / "a.bin")}]
    values = {"name": "a.bin", "checksum": checksum, "mirrors": mirrors}
    good = dataset(FileEntry.model_validate({**values, "sha256": sha256(content)}))
    root = DataRoot(tmp_path / "root")
    assert fetch_dataset(good, root, Silent())[0].action == "download"
    bad = dataset(FileEntry.model_validate({**values, "sha256": sha256(b"other bytes")}))
    with pytest.raises(ChecksumMismatch, match=f"SHA-256 is {sha256(content)}, expected"):
        fetch_dataset(bad, DataRoot(tmp_path / "other"), Silent())
    with pytest.raises(ValueError, match="expected 64 hexadecimal digits"):
        FileEntry.model_validate({**values, "sha256": "ABC"})


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_file_has_one_size():
    with pytest.raises(ValueError, match="expected one of size, about and estimate"):
        entry(size=1, about=1)


def test_versions_belong_to_kaggle():
    with pytest.raises(ValueError, match="expected of kind kaggle only"):
        Mirror(kind="http", url="http://example.org/a", versions=[1])
