"""One list of a tree for hashing, copying, counting and reading."""

import os

import pytest
from archives import make_folder

from autods.core.files import hash_tree
from autods.core.trees import list_tree


def test_links_are_followed_and_everything_else_is_told(tmp_path):
    pool = make_folder(tmp_path / "pool", {"a/1": b"1", "a/b/2": b"22"})
    folder = make_folder(tmp_path / "f", {"own/3": b"333"})
    (folder / "far").symlink_to(pool / "a")
    (folder / "near").symlink_to("own")
    (folder / "file").symlink_to(pool / "a" / "1")
    (folder / "own" / "up").symlink_to("..")
    (folder / "gone").symlink_to("nowhere")
    (folder / "loop").symlink_to("loop")
    os.mkfifo(folder / "pipe")
    tree = list_tree(folder)
    assert [(file.name, file.size, file.linked) for file in tree.files] == [
        ("far/1", 1, True), ("far/b/2", 2, True), ("file", 1, True),
        ("near/3", 3, True), ("own/3", 3, False),
    ]  # fmt: skip
    assert tree.folders == ["far", "far/b", "near", "own"]
    assert tree.links == ["far", "file", "near"]
    assert dict(tree.left) == {
        "gone": "link to nothing", "loop": "link to a loop", "pipe": "neither file nor folder",
        "near/up": "link to a folder that it lies in", "own/up": "link to a folder that it lies in",
    }  # fmt: skip


def test_the_hash_of_a_tree_covers_what_links_lead_to(tmp_path):
    folder = make_folder(tmp_path / "f", {"a/1": b"1"})
    plain = make_folder(tmp_path / "plain", {"a/1": b"1", "b/2": b"2"})
    pool = make_folder(tmp_path / "pool", {"2": b"2"})
    (folder / "b").symlink_to(pool)
    assert hash_tree(folder) == hash_tree(plain)
    (pool / "2").write_bytes(b"3")
    assert hash_tree(folder) != hash_tree(plain)


def test_links_that_multiply_files_end_in_one_error(tmp_path, monkeypatch):
    monkeypatch.setattr("autods.core.trees.LINKED_FOLDERS", 1000)
    for level in range(20):
        folder = tmp_path / str(level)
        folder.mkdir()
        for side in "ab":
            (folder / side).symlink_to(tmp_path / str(level + 1))
    (tmp_path / "20").mkdir()
    with pytest.raises(OSError, match="without end"):
        list_tree(tmp_path / "0")


def test_a_folder_that_cannot_be_read_is_an_error_and_not_empty(tmp_path):
    folder = make_folder(tmp_path / "f", {"a/1": b"1", "b/2": b"2"})
    (folder / "b").chmod(0)
    try:
        if os.access(folder / "b", os.R_OK):
            pytest.skip("this user reads everything")
        with pytest.raises(PermissionError):
            list_tree(folder)
    finally:
        (folder / "b").chmod(0o755)
