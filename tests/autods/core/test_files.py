import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from filelock import Timeout

from autods.core.files import atomic, hash_tree, locked, read_json
from autods.errors import Busy


def test_a_lock_that_is_held_is_answered_with_its_holder(tmp_path):
    with (
        locked(tmp_path / "record"),
        pytest.raises(Busy, match=f"written by process {os.getpid()} on"),
        locked(tmp_path / "record", timeout=0.05),
    ):
        pytest.fail("got the lock")
    assert not (tmp_path / "record.holder").exists()
    with locked(tmp_path / "record", timeout=0.05):
        pass


def test_a_timeout_of_another_lock_inside_the_body_is_not_taken_for_this_one(tmp_path):
    with pytest.raises(Timeout), locked(tmp_path / "record"):
        raise Timeout("other.lock")


def test_a_tree_with_a_name_that_is_not_utf_8_has_a_hash_that_depends_on_the_name(tmp_path):
    digests = set()
    for name in (b"caf\xe9.jpg", b"caf\xe8.jpg"):
        path = tmp_path / os.fsdecode(name)
        path.write_bytes(b"x")
        digests.add(hash_tree(tmp_path))
        path.unlink()
    assert len(digests) == 2


def test_what_file_browsers_write_into_a_folder_does_not_change_its_hash(tmp_path):
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "1.jpg").write_bytes(b"one")
    before = hash_tree(tmp_path)
    for name in (".DS_Store", "Thumbs.db", "cats/._1.jpg", "cats/desktop.ini"):
        (tmp_path / name).write_bytes(b"looked at")
    assert hash_tree(tmp_path) == before
    (tmp_path / "cats" / ".hidden").write_bytes(b"")
    assert hash_tree(tmp_path) != before


def test_two_writers_of_one_file_never_mix_and_leave_nothing_else(tmp_path):
    target = tmp_path / "run.yaml"
    contents = [str(number).encode() * (1 + 50_000 * number) for number in range(6)]
    start = threading.Barrier(len(contents))

    def write(content: bytes) -> None:
        start.wait()
        for _ in range(20):
            with atomic(target) as temporary, temporary.open("wb") as handle:
                for at in range(0, len(content), 60_000):
                    handle.write(content[at : at + 60_000])
            assert target.read_bytes() in contents

    with ThreadPoolExecutor(len(contents)) as pool:
        list(pool.map(write, contents))
    assert [path.name for path in tmp_path.iterdir()] == ["run.yaml"]


def test_two_processes_write_one_file(tmp_path):
    code = (
        "import sys; from pathlib import Path; from autods.core.files import write_json\n"
        "for number in range(200): write_json(Path(sys.argv[1]), {'by': sys.argv[2] * 5000})"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "record.json")]
    processes = [subprocess.Popen([*command, name]) for name in "ab"]
    assert [process.wait() for process in processes] == [0, 0]
    assert set(read_json(tmp_path / "record.json")["by"]) in ({"a"}, {"b"})
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("left", [b"", b"more than is written now"])
def test_what_a_killed_process_left_is_written_over(tmp_path, left):
    (tmp_path / "file.tmp").write_bytes(left)
    with atomic(tmp_path / "file") as temporary:
        assert temporary.name == "file.tmp"
        temporary.write_bytes(b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
