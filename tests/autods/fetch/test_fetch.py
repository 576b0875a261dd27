"""Fetching from local files and folders, and what the run does around every source."""

import gzip
import hashlib
import json
import os
import resource
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st
from notes import Notes

from autods.core.files import hash_tree, write_json
from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.errors import ChecksumMismatch, DiskFull, FetchError, LinkGone, UsageError
from autods.fetch import KINDS, SOURCES, decide, fetch_dataset, missing_files, verify_archives
from autods.fetch.sources import base
from autods.manifest.schema import FileEntry, Manifest, Mirror

CONTENT = b"not really an archive\n" * 1000


def manifest(*files: FileEntry) -> Manifest:
    """Build a manifest of which only the files matter: layouts are tested elsewhere."""
    return Manifest.model_construct(name="toy", files=list(files))


def entry(name: str, checksum: str, *places: tuple[str, object]) -> FileEntry:
    mirrors = [Mirror(kind=kind, url=str(url)) for kind, url in places]
    return FileEntry(name=name, checksum=checksum, mirrors=mirrors)


def md5(content: bytes) -> str:
    return "md5:" + hashlib.md5(content).hexdigest()


@pytest.fixture
def original(tmp_path: Path) -> Path:
    path = tmp_path / "original.bin"
    path.write_bytes(CONTENT)
    return path


def files_record(root: DataRoot) -> dict[str, dict[str, object]]:
    return json.loads(root.record("toy").read_text())["files"]


def test_a_local_file_is_copied_verified_and_recorded(root, original):
    outcome = fetch_dataset(
        manifest(entry("a.bin", md5(CONTENT), ("file", original))), root, Silent()
    )
    target = root.archive("toy", "a.bin")
    assert target.read_bytes() == CONTENT
    assert [file.name for file in outcome if file.fetched] == ["a.bin"]
    assert outcome[0].size == len(CONTENT)
    assert files_record(root)["a.bin"] == {
        "checksum": md5(CONTENT),
        "size": len(CONTENT),
        "kind": "file",
        "url": str(original),
    }
    assert sorted(path.name for path in target.parent.iterdir()) == ["a.bin"]


def test_editing_the_original_afterwards_does_not_change_the_archive(root, original):
    fetch_dataset(manifest(entry("a.bin", md5(CONTENT), ("file", original))), root, Silent())
    with original.open("r+b") as handle:
        handle.write(b"EDITED")
    assert root.archive("toy", "a.bin").read_bytes() == CONTENT


def test_a_folder_is_copied_by_content_and_identified_by_its_tree(root, tmp_path):
    folder = tmp_path / "folder"
    (folder / "cats" / "deep").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "cats" / "deep" / "1.png").write_bytes(b"1")
    (folder / "0.png").write_bytes(b"0")
    (folder / "shortcut.png").symlink_to(folder / "0.png")
    checksum = f"tree:{hash_tree(folder)}"
    toy = manifest(entry("images", checksum, ("file", folder)))
    fetch_dataset(toy, root, Silent())
    target = root.archive("toy", "images")
    assert (target / "cats" / "deep" / "1.png").read_bytes() == b"1"
    assert not (target / "shortcut.png").is_symlink()
    assert files_record(root)["images"]["size"] == 3
    assert verify_archives(toy, root) == []


def test_a_second_run_keeps_what_is_recorded_without_hashing_it(root, original, monkeypatch):
    toy = manifest(entry("a.bin", md5(CONTENT), ("file", original)))
    fetch_dataset(toy, root, Silent())
    original.unlink()
    monkeypatch.setattr("autods.fetch.one_file.digest", lambda *_: pytest.fail("hashed"))
    notes = Notes()
    outcome = fetch_dataset(toy, root, notes)
    assert [file.action for file in outcome] == ["keep"]
    assert not outcome[0].fetched
    assert notes.lines == ["keeping toy/a.bin"]


def test_a_right_file_that_nobody_recorded_is_adopted(root, original):
    target = root.archive("toy", "a.bin")
    target.parent.mkdir(parents=True)
    target.write_bytes(CONTENT)
    target.with_name("a.bin.part").write_bytes(CONTENT[:9])
    toy = manifest(entry("a.bin", md5(CONTENT), ("file", original.with_name("absent"))))
    assert missing_files(toy, root) == ["a.bin"]
    assert fetch_dataset(toy, root, Silent())[0].action == "adopt"
    assert files_record(root)["a.bin"]["url"] is None
    assert missing_files(toy, root) == []
    assert [path.name for path in target.parent.iterdir()] == ["a.bin"]


def test_a_wrong_file_in_place_is_set_aside_and_fetched(root, original):
    target = root.archive("toy", "a.bin")
    target.parent.mkdir(parents=True)
    target.write_bytes(b"something else")
    (target.parent / "a.bin.json").write_bytes(b"a stranger")
    notes = Notes()
    fetch_dataset(manifest(entry("a.bin", md5(CONTENT), ("file", original))), root, notes)
    assert target.read_bytes() == CONTENT
    assert target.with_name("a.bin.bad").read_bytes() == b"something else"
    assert (target.parent / "a.bin.json").read_bytes() == b"a stranger"
    assert notes.lines[0] == "setting aside toy/a.bin"


def test_a_recorded_file_that_was_cut_short_is_set_aside_and_fetched_again(root, original):
    toy = manifest(entry("a.bin", md5(CONTENT), ("file", original)))
    fetch_dataset(toy, root, Silent())
    target = root.archive("toy", "a.bin")
    os.truncate(target, 100)
    assert [file.fetched for file in fetch_dataset(toy, root, Silent())] == [True]
    assert target.read_bytes() == CONTENT


def test_a_mismatch_is_set_aside_and_the_next_mirror_is_tried(root, original, tmp_path):
    other = tmp_path / "other"
    other.write_bytes(b"PK\x03\x04 another archive")
    original.write_bytes(gzip.compress(CONTENT))
    checksum = md5(original.read_bytes())
    toy = manifest(entry("a.tgz", checksum, ("file", other), ("file", original)))
    notes = Notes()
    fetch_dataset(toy, root, notes)
    assert root.archive("toy", "a.tgz").read_bytes() == original.read_bytes()
    assert root.archive("toy", "a.tgz.bad").read_bytes() == other.read_bytes()
    assert files_record(root)["a.tgz"]["url"] == str(original)
    assert any("does not begin like a gzip file but like a zip" in line for line in notes.lines)


def test_a_local_page_in_place_of_a_file_is_named_and_not_copied(root, original, tmp_path):
    page = tmp_path / "page"
    page.write_bytes(b"<!DOCTYPE html><p>Quota exceeded")
    toy = manifest(entry("a.bin", md5(CONTENT), ("file", page), ("file", original)))
    notes = Notes()
    fetch_dataset(toy, root, notes)
    assert [path.name for path in root.archive("toy", "a.bin").parent.iterdir()] == ["a.bin"]
    assert any("offers a web page that says 'Quota exceeded'" in line for line in notes.lines)


def test_a_mismatch_everywhere_names_both_digests_and_never_piles_up_copies(root, tmp_path):
    wrong = tmp_path / "wrong"
    for content in (b"one", b"one", b"other", b"one"):
        wrong.write_bytes(content)
        with pytest.raises(ChecksumMismatch) as caught:
            fetch_dataset(manifest(entry("a.bin", md5(CONTENT), ("file", wrong))), root, Silent())
        assert md5(CONTENT) in str(caught.value)
        assert md5(content) in str(caught.value)
        assert "autods import toy FILE" in str(caught.value)
    folder = root.archive("toy", "a.bin").parent
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "a.bin.bad": b"one",
        "a.bin.bad2": b"other",
    }


def test_a_failed_file_does_not_cost_the_other_files(root, original):
    good = entry("a.bin", md5(CONTENT), ("file", original))
    gone = entry("b.bin", md5(b"b"), ("file", original.with_name("absent")))
    last = entry("c.bin", md5(CONTENT), ("file", original))
    with pytest.raises(LinkGone, match="absent: does not exist"):
        fetch_dataset(manifest(good, gone, last), root, Silent())
    assert missing_files(manifest(good, gone, last), root) == ["b.bin"]


def test_several_failed_files_are_told_together_under_the_most_useful_cause(root, original):
    gone = entry("a.bin", md5(b"a"), ("file", original.with_name("absent")))
    wrong = entry("b.bin", md5(b"b"), ("file", original))
    with pytest.raises(ChecksumMismatch) as caught:
        fetch_dataset(manifest(gone, wrong), root, Silent())
    assert caught.value.cause == "corrupt"
    assert "toy/a.bin: expected" in str(caught.value)
    assert "toy/b.bin: expected" in str(caught.value)


def test_a_part_of_another_content_is_noticed_and_fetched_anew(root, original):
    part = root.archive("toy", "a.bin.part")
    part.parent.mkdir(parents=True)
    for rubbish in (b"x" * 50, b"x" * (len(CONTENT) + 50), b"x" * len(CONTENT)):
        part.write_bytes(rubbish)
        toy = manifest(entry("a.bin", md5(CONTENT), ("file", original)))
        assert fetch_dataset(toy, root, Silent())[0].action == "resume"
        assert [path.name for path in part.parent.iterdir()] == ["a.bin"]
        root.archive("toy", "a.bin").unlink()


@settings(max_examples=25, deadline=None)
@given(content=st.binary(max_size=300), cut=st.integers(0, 300))
def test_any_beginning_of_a_file_is_continued_to_the_whole(tmp_path_factory, content, cut):
    folder = tmp_path_factory.mktemp("any")
    root, original = DataRoot(folder / "root"), folder / "original"
    original.write_bytes(content)
    part = root.archive("toy", "a.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(content[:cut])
    fetch_dataset(manifest(entry("a", md5(content), ("file", original))), root, Silent())
    assert root.archive("toy", "a").read_bytes() == content
    assert not part.exists()


def test_other_keys_of_the_record_stay(root, original):
    root.dataset("toy").mkdir(parents=True)
    write_json(root.record("toy"), {"index": {"train": 3}, "files": {"old": {"checksum": "x"}}})
    fetch_dataset(manifest(entry("a.bin", md5(CONTENT), ("file", original))), root, Silent())
    record = json.loads(root.record("toy").read_text())
    assert record["index"] == {"train": 3}
    assert sorted(record["files"]) == ["a.bin", "old"]


def test_a_users_mirror_is_tried_first_below_the_datasets_name(root, original, tmp_path):
    local = tmp_path / "mirror" / "toy" / "sub" / "a.bin"
    local.parent.mkdir(parents=True)
    local.write_bytes(CONTENT)
    toy = manifest(entry("sub/a.bin", md5(CONTENT), ("file", original)))
    (tmp_path / "empty").mkdir()
    fetch_dataset(toy, root, Silent(), mirrors=[str(tmp_path / "empty"), str(tmp_path / "mirror")])
    assert files_record(root)["sub/a.bin"]["url"] == str(local)


@pytest.mark.parametrize(
    ("kind", "url"),
    [
        ("kaggle", "owner/slug@3"),
        ("kaggle-competition", "slug"),
        ("gdrive", "1RoB26emW0_RAlosGR"),
        ("huggingface", "owner/repo@main:data/a.zip"),
        ("ftp", "ftp://example.org/a.zip"),
    ],
)
def test_a_users_mirror_gives_files_of_every_kind(root, tmp_path, kind, url):
    local = tmp_path / "mirror" / "toy" / "a.zip"
    local.parent.mkdir(parents=True)
    local.write_bytes(b"PK\x03\x04" + CONTENT)
    toy = manifest(entry("a.zip", md5(local.read_bytes()), (kind, url)))
    fetch_dataset(toy, root, Silent(), mirrors=[str(tmp_path / "mirror")])
    assert files_record(root)["a.zip"]["url"] == str(local)


def test_a_mirror_of_an_unknown_scheme_is_refused(root, original):
    toy = manifest(entry("a.bin", md5(CONTENT), ("file", original)))
    with pytest.raises(UsageError, match="expected http://"):
        fetch_dataset(toy, root, Silent(), mirrors=["s3://user:secret@bucket"])


def test_a_mirror_folder_that_is_absent_is_refused_and_not_fetched_past(root, original, tmp_path):
    toy = manifest(entry("a.bin", md5(CONTENT), ("file", original)))
    with pytest.raises(UsageError, match="there is no such folder; nothing was fetched"):
        fetch_dataset(toy, root, Silent(), mirrors=[str(tmp_path / "not mounted")])
    assert not root.path.exists()


@pytest.mark.parametrize(
    "text",
    [
        "http://ann:secret@example.org/x",
        "git at https://secret@example.org",
        "http://ann:s@secret@example.org/x, ftp://ann:secret@example.org/y",
    ],
)
def test_no_password_of_an_address_is_shown(text):
    assert "secret" not in base.shown(text)
    assert "example.org" in base.shown(text)


def test_who_waits_for_another_process_is_told_so(root, original, monkeypatch):
    class Notes(Silent):
        def note(self, text: str) -> None:
            lines.append(text)
            if "waiting" in text:
                other.release()

    lines: list[str] = []
    toy = manifest(entry("a.bin", md5(CONTENT), ("file", original)))
    root.record("toy").parent.mkdir(parents=True)
    other = FileLock(root.record("toy").with_name("record.json.lock"), is_singleton=False)
    other.acquire()
    fetch_dataset(toy, root, Notes())
    assert lines[0] == "another process works on toy; waiting for it to end"
    assert missing_files(toy, root) == []


def test_a_failure_is_told_once_with_its_next_step_at_the_end(root, original):
    notes = Notes()
    missing = original.with_name("missing")
    toy = manifest(entry("a.bin", md5(b"x"), ("file", missing), ("file", original)))
    with pytest.raises(ChecksumMismatch) as caught:
        fetch_dataset(toy, root, notes)
    first, second = notes.lines
    assert first == "fetching toy/a.bin"
    assert second == f"  {missing}: does not exist; asking the next mirror"
    text = str(caught.value)
    assert text.endswith("or hand it over with 'autods import toy FILE'.")
    assert text.count("autods import") == text.count(f"{missing}: does not exist") == 1


def test_a_folder_where_a_file_is_expected_is_a_cause_not_a_crash(root, tmp_path, original):
    file = entry("a.bin", md5(CONTENT), ("file", tmp_path))
    with pytest.raises(FetchError, match="is a folder, expected a file"):
        fetch_dataset(manifest(file), root, Silent())
    folder = entry("images", "tree:" + "0" * 64, ("file", original), ("http", "http://x/y"))
    with pytest.raises(FetchError, match="is a file, expected a folder") as caught:
        fetch_dataset(manifest(folder), root, Silent())
    assert "kind http cannot give what 'tree:' describes" in str(caught.value)


def test_a_full_disk_is_a_cause_of_its_own_and_what_has_arrived_stays(root, original):
    first = entry("a.bin", md5(CONTENT), ("file", original))
    large = original.with_name("large.bin")
    large.write_bytes(CONTENT * 20)
    toy = manifest(first, entry("b.bin", md5(large.read_bytes()), ("file", large)))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(DiskFull) as caught:
            fetch_dataset(toy, root, Silent())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.cause == "disk full"
    assert "--root" in caught.value.next_step
    assert missing_files(toy, root) == ["b.bin"]
    fetch_dataset(toy, root, Silent())
    assert missing_files(toy, root) == []


def test_a_full_or_closed_disk_is_one_message(root, original):
    root.path.write_text("a file where the root should be")
    with pytest.raises(FetchError, match="a file is where a folder is expected"):
        fetch_dataset(manifest(entry("a.bin", md5(CONTENT), ("file", original))), root, Silent())


def test_a_damaged_record_is_named(root, original):
    root.dataset("toy").mkdir(parents=True)
    root.record("toy").write_text("{")
    with pytest.raises(FetchError, match=r"record\.json: expected JSON"):
        fetch_dataset(manifest(entry("a.bin", md5(CONTENT), ("file", original))), root, Silent())


def test_verify_hashes_everything_and_names_damage_and_absence(root, original):
    toy = manifest(
        entry("a.bin", md5(CONTENT), ("file", original)),
        entry("b.bin", md5(CONTENT), ("file", original)),
    )
    assert [p.split(";")[0] for p in verify_archives(toy, root)] == [
        "toy/a.bin is not fetched",
        "toy/b.bin is not fetched",
    ]
    fetch_dataset(toy, root, Silent())
    assert verify_archives(toy, root) == []
    target = root.archive("toy", "b.bin")
    target.write_bytes(b"?" + CONTENT[1:])
    (problem,) = verify_archives(toy, root)
    assert problem.startswith("toy/b.bin is damaged")
    assert md5(CONTENT) in problem


def test_decision_and_word_come_together(root, original):
    file = entry("a.bin", md5(CONTENT), ("file", original))
    target = root.archive("toy", "a.bin")
    target.parent.mkdir(parents=True)
    recorded = {"checksum": md5(CONTENT), "size": len(CONTENT)}
    assert decide(file, target, recorded) == ("download", "fetching")
    target.with_name("a.bin.part").touch()
    assert decide(file, target, None) == ("resume", "resuming")
    target.write_bytes(CONTENT)
    assert decide(file, target, recorded) == ("keep", "keeping")
    assert decide(file, target, {**recorded, "checksum": "md5:old"}) == ("adopt", "found")
    target.write_bytes(b"")
    assert decide(file, target, recorded) == ("set aside", "setting aside")


def test_every_kind_that_a_manifest_may_name_has_a_source():
    kinds = Mirror.model_fields["kind"].annotation.__args__
    assert SOURCES.names() == sorted(kinds)
    assert sorted({kind for kinds in KINDS.values() for kind in kinds}) == SOURCES.names()
