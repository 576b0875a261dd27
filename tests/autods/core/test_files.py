import os

import pytest
from filelock import Timeout

from autods.core.files import hash_tree, locked
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
