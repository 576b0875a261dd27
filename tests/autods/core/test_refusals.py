"""What the system refuses is told in one true line, wherever it happens."""

import errno
import os
import tempfile
from pathlib import Path

import pytest

from autods.containers.base import damaged
from autods.core import files, refusals
from autods.core.files import atomic, locked
from autods.core.root import DataRoot
from autods.errors import DiskFull, FetchError
from autods.fetch import unwritable_explained

WORDS = {
    errno.ENOSPC: ("the disk is full", "Free space"),
    errno.EDQUOT: ("your quota", "quota -s"),
    errno.EFBIG: ("larger than this file system or the limit", "ulimit -f"),
    errno.EROFS: ("can only be read", "another file system"),
    errno.EACCES: ("no permission", "ls -ld"),
    errno.EPERM: ("no permission", "ls -ld"),
    errno.ENOLCK: ("no file locks", "NFS"),
    errno.ENAMETOOLONG: ("longer than the file system allows", "shorter path"),
    errno.EMFILE: ("may not open more files", "ulimit -n"),
    errno.ENFILE: ("no more open files", "fs.file-max"),
    errno.ENOMEM: ("no more memory", "ulimit -v"),
    errno.EAGAIN: ("no more processes", "ulimit -u"),
    errno.EISDIR: ("a folder is where a file", "Move the folder"),
    errno.EIO: ("the disk failed", "dmesg"),
    errno.ESTALE: ("replaced on its server", "nothing else works"),
}


@pytest.mark.parametrize("number", WORDS)
@pytest.mark.parametrize("form", ["of Python", "of Rust"])
def test_each_cause_has_its_own_line_and_cure(number, form):
    error: Exception = OSError(number, os.strerror(number), "file")
    if form == "of Rust":
        error = RuntimeError(f"I/O error: {os.strerror(number)} (os error {number})")
    why, cure = refusals.refusal(error)
    assert WORDS[number][0] in why and WORDS[number][1] in cure
    if number not in (errno.EACCES, errno.EPERM):
        assert "permission" not in why + cure


def test_what_has_no_line_is_told_in_the_systems_words():
    assert refusals.refusal(OSError(errno.ENXIO, "No such device", "x")).why == "No such device"
    assert refusals.why_refused(OSError("odd")) == "odd"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("one\ntwo", "one"), ("\n one\n", "one"), ("x" * 300, "x" * 200), ("", "KeyError")],
)
def test_the_cause_of_an_error_is_its_first_line_or_its_class(text, expected):
    assert refusals.cause_of(KeyError() if not text else ValueError(text)) == expected


def test_a_machine_without_a_folder_for_temporary_files_is_told_of_tmpdir(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/nowhere"])
    with pytest.raises(OSError, match="temporary") as caught:
        tempfile.mkdtemp()
    assert "TMPDIR" in refusals.refusal(caught.value).cure
    assert "temporary files" in refusals.why_refused(caught.value)


@pytest.mark.parametrize("number", refusals.FULL)
def test_a_file_that_finds_no_room_is_named(tmp_path, number):
    with pytest.raises(OSError, match=r"page\.html") as caught, atomic(tmp_path / "page.html"):
        raise OSError(number, os.strerror(number))
    assert refusals.refused_file(caught.value) == str(tmp_path / "page.html")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", WORDS)
def test_a_fetch_tells_it_with_its_class(root, number):
    with pytest.raises(FetchError) as caught, unwritable_explained("toy", root):
        raise OSError(number, os.strerror(number), "/r/a.part")
    assert f"cannot write /r/a.part: {refusals.REFUSALS[number].why}" in str(caught.value)
    assert WORDS[number][1] in caught.value.next_step
    full = number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    assert isinstance(caught.value, DiskFull) == full


@pytest.mark.parametrize("number", WORDS)
def test_what_the_system_refuses_is_not_called_damaged(number):
    told = str(damaged(Path("a.zip"), OSError(number, os.strerror(number))))
    assert "damaged" not in told and "fetch" not in told
    assert WORDS[number][0] in told
    assert "damaged" in str(damaged(Path("a.zip"), OSError(errno.EINVAL, "Invalid argument")))


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told_at_once(tmp_path, monkeypatch, number):
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    record = tmp_path / "record.json"
    with pytest.raises(OSError, match="No locks") as caught, locked(record, timeout=5):
        raise AssertionError("it is not locked")
    assert refusals.refusal(caught.value) == refusals.LOCKS
    assert caught.value.filename == str(tmp_path / "record.json.lock")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 1.00 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("can't start new thread"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        ImportError("libtorch.so: failed to map segment: Cannot allocate memory"),
        RuntimeError("std::bad_alloc"),
    ],
)
def test_a_lack_of_memory_is_known_whichever_library_tells_it(error):
    assert refusals.lacks_memory(error)
    wanted = refusals.THREADS if "thread" in str(error) else refusals.MEMORY
    assert refusals.lack(error) == wanted


@pytest.mark.parametrize("error", [RuntimeError("shape mismatch"), ValueError("out of memory")])
def test_other_errors_are_no_lack_of_memory(error):
    assert not refusals.lacks_memory(error)


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What is written to the disk, in order, with the renames between."""
    seen: list[Path] = []
    monkeypatch.setattr(files, "sync", seen.append)
    replace = Path.replace

    def renamed(path: Path, target: Path) -> Path:
        seen.append(Path(f"{path.name} -> {target.name}"))
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", renamed)
    return seen


def test_a_written_file_and_then_its_name_are_flushed(tmp_path, synced):
    target = tmp_path / "a" / "b" / "file"
    with atomic(target) as temporary:
        temporary.write_bytes(b"x")
    made = [tmp_path / "a", tmp_path]
    moved = [target.with_name("file.tmp"), Path("file.tmp -> file"), target.parent]
    assert synced == [*made, *moved]


def test_a_folder_in_place_is_flushed_with_all_that_it_holds(tmp_path, synced):
    (tmp_path / "x.part" / "cat").mkdir(parents=True)
    (tmp_path / "x.part" / "cat" / "1.jpg").write_bytes(b"x")
    files.put_in_place(tmp_path / "x.part", tmp_path / "x")
    part = tmp_path / "x.part"
    inside = [part / "cat", part / "cat" / "1.jpg", part]
    assert sorted(synced[:3]) == sorted(inside)
    assert synced[3:] == [Path("x.part -> x"), tmp_path]


@pytest.mark.parametrize("mode", [0o444, 0o600])
def test_flushing_needs_no_right_to_write(tmp_path, mode):
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "file").chmod(mode)
    files.sync(tmp_path / "file")
    files.sync(tmp_path)


def test_a_folder_that_cannot_be_flushed_is_left_to_the_system(tmp_path, monkeypatch):
    def refuse(_: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", refuse)
    files.sync(tmp_path)
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(OSError, match="Invalid"):
        files.sync(tmp_path / "file")


def test_every_root_is_a_folder_of_files_that_were_put_in_place(root: DataRoot):
    files.write_json(root.record("toy"), {"a": 1})
    assert files.read_json(root.record("toy")) == {"a": 1}
    assert not root.record("toy").with_name("record.json.tmp").exists()


@pytest.mark.parametrize("value", [{"b": [1, "\u00e9"], "a": None}, [1], "text", {}])
def test_what_is_written_already_is_not_written_again(tmp_path, value):
    target = tmp_path / "value.json"
    files.write_json(target, value)
    before = target.stat()
    files.write_json(target, value)
    assert (target.stat().st_ino, target.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    files.write_json(target, [value])
    assert files.read_json(target) == [value]
    target.write_text("{")  # a damaged file is not what is to be written
    files.write_json(target, value)
    assert files.read_json(target) == value


def refusing_locks(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), "a.lock")

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)


@pytest.mark.parametrize("missing", [True, False])
def test_where_nothing_can_be_written_nothing_is_locked(tmp_path, monkeypatch, missing):
    refusing_locks(monkeypatch, errno.EROFS)
    folder = tmp_path / "absent" if missing else tmp_path
    with locked(folder / "record.json", timeout=1):
        pass


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_a_folder_of_another_user_is_read_without_a_lock(tmp_path, monkeypatch, number):
    refusing_locks(monkeypatch, number)
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    with locked(tmp_path / "record.json", timeout=1):
        pass


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOSPC, errno.EDQUOT, errno.EMFILE])
def test_a_lock_that_is_refused_where_others_may_write_is_an_error(tmp_path, monkeypatch, number):
    refusing_locks(monkeypatch, number)
    with pytest.raises(OSError, match=r"a\.lock"), locked(tmp_path / "record.json", timeout=1):
        raise AssertionError("it is not locked")


def test_an_error_of_the_body_is_not_taken_for_one_of_the_lock(tmp_path):
    with pytest.raises(OSError, match="of the body"), locked(tmp_path / "record.json"):
        raise OSError(errno.EROFS, "of the body")
    with locked(tmp_path / "record.json", timeout=1):
        pass


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS])
def test_a_copy_that_finds_no_room_names_where_it_should_go(root, number):
    error = OSError(number, os.strerror(number), "source.png", None, "copy.png")
    assert refusals.why_refused(error).endswith("(copy.png)")
    with (
        pytest.raises(FetchError, match=r"cannot write copy\.png"),
        unwritable_explained("toy", root),
    ):
        raise error


def test_a_source_that_cannot_be_read_is_named_itself():
    error = OSError(errno.EACCES, "Permission denied", "source.png", None, "copy.png")
    assert refusals.why_refused(error).endswith("(source.png)")
