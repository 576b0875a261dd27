"""Files fetched by hand are recognised by checksum, copied, recorded, or refused untouched."""

import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest

from autods.core.files import hash_tree
from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.errors import ChecksumMismatch, FetchError, UsageError
from autods.fetch import missing_files, verify_archives
from autods.fetch.by_hand import import_files
from autods.manifest.schema import FileEntry, Manifest, Mirror

A, B = b"PK\x03\x04 first", b"PK\x03\x04 second"
NOWHERE = "http://no-such-host.invalid/x"


def entry(name: str, checksum: str) -> FileEntry:
    return FileEntry(name=name, checksum=checksum, mirrors=[Mirror(kind="http", url=NOWHERE)])


@pytest.fixture
def toy() -> Manifest:
    files = [
        entry("a.zip", "md5:" + hashlib.md5(A).hexdigest()),
        entry("sub/b.zip", "sha256:" + hashlib.sha256(B).hexdigest()),
    ]
    return Manifest.model_construct(name="toy", files=files)


def file(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_files_are_recognised_by_checksum_and_copied(root, toy, tmp_path):
    given = [file(tmp_path / "download (2)", B), file(tmp_path / "whatever.zip", A)]
    done = import_files(toy, root, given, Silent())
    assert done == [("sub/b.zip", "imported"), ("a.zip", "imported")]
    assert root.archive("toy", "a.zip").read_bytes() == A
    assert root.archive("toy", "sub/b.zip").read_bytes() == B
    assert verify_archives(toy, root) == []
    assert missing_files(toy, root) == []
    recorded = json.loads(root.record("toy").read_text())["files"]["a.zip"]
    assert (recorded["kind"], recorded["url"]) == ("file", str(given[1]))
    given[1].write_bytes(b"changed afterwards")
    assert root.archive("toy", "a.zip").read_bytes() == A


def test_a_file_that_is_here_already_is_kept(root, toy, tmp_path):
    path = file(tmp_path / "a.zip", A)
    import_files(toy, root, [path], Silent())
    assert import_files(toy, root, [path], Silent()) == [("a.zip", "kept")]


def test_a_half_download_of_the_file_is_replaced(root, toy, tmp_path):
    part = file(root.archive("toy", "a.zip.part"), b"something")
    import_files(toy, root, [file(tmp_path / "a.zip", A)], Silent())
    assert root.archive("toy", "a.zip").read_bytes() == A
    assert not part.exists()


def test_one_file_that_the_manifest_has_twice_fills_both_places(root, tmp_path):
    checksum = "md5:" + hashlib.md5(A).hexdigest()
    twice = Manifest.model_construct(name="toy", files=[entry("a", checksum), entry("b", checksum)])
    done = import_files(twice, root, [file(tmp_path / "a", A)], Silent())
    assert done == [("a", "imported"), ("b", "imported")]


def test_a_stranger_is_refused_with_both_checksums_and_nothing_is_changed(root, toy, tmp_path):
    good, bad = file(tmp_path / "good", A), file(tmp_path / "a.zip", b"<html><title>Log in</title>")
    with pytest.raises(ChecksumMismatch) as caught:
        import_files(toy, root, [good, bad], Silent())
    message = str(caught.value)
    assert hashlib.md5(bad.read_bytes()).hexdigest() in message
    assert "it is a web page titled 'Log in'" in message
    assert toy.files[0].checksum in message
    assert toy.files[1].checksum not in message  # by its name it should have been a.zip
    assert str(good) not in message
    assert bad.read_bytes() == b"<html><title>Log in</title>"
    assert not root.path.exists()


def test_a_folder_of_downloads_is_refused_with_what_to_give_instead(root, toy, tmp_path):
    file(tmp_path / "downloads" / "a.zip", A)
    with pytest.raises(ChecksumMismatch, match="Name the files in the folder, not the folder"):
        import_files(toy, root, [tmp_path / "downloads"], Silent())


def test_a_path_that_does_not_exist_is_wrong_usage(root, toy):
    with pytest.raises(UsageError, match="does not exist; nothing was imported"):
        import_files(toy, root, [Path("/no/such/file")], Silent())


def test_a_root_that_cannot_be_written_is_one_message(toy, tmp_path):
    root = DataRoot(file(tmp_path / "root", b"a file where the root should be"))
    with pytest.raises(FetchError, match="a file is where a folder is expected"):
        import_files(toy, root, [file(tmp_path / "a.zip", A)], Silent())


def test_a_folder_is_recognised_by_its_tree(root, tmp_path):
    folder = tmp_path / "images"
    file(folder / "cats" / "1.png", b"1")
    tree = Manifest.model_construct(
        name="toy", files=[entry("pictures", f"tree:{hash_tree(folder)}")]
    )
    assert import_files(tree, root, [folder], Silent()) == [("pictures", "imported")]
    assert (root.archive("toy", "pictures") / "cats" / "1.png").read_bytes() == b"1"
    file(folder / "cats" / "2.png", b"2")
    with pytest.raises(ChecksumMismatch, match="tree:"):
        import_files(tree, root, [folder], Silent())


def git(folder: Path, *arguments: str) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    command = ["git", *identity, *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    folder = tmp_path / "clone"
    file(folder / "list.txt", b"committed\n")
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "1")
    return folder


@pytest.mark.parametrize("depth", ["full", "shallow"])
def test_a_clone_gives_its_commit_and_not_what_was_changed_in_it(root, clone, tmp_path, depth):
    commit = git(clone, "rev-parse", "HEAD")
    if depth == "shallow":
        git(tmp_path, "clone", "--quiet", "--depth=1", clone.as_uri(), "shallow")
        clone = tmp_path / "shallow"
    (clone / "list.txt").write_bytes(b"changed\n")
    code = Manifest.model_construct(name="toy", files=[entry("code", f"git:{commit}")])
    assert import_files(code, root, [clone], Silent()) == [("code", "imported")]
    target = root.archive("toy", "code")
    assert [path.name for path in target.iterdir()] == ["list.txt"]
    assert (target / "list.txt").read_bytes() == b"committed\n"
    assert verify_archives(code, root) == []


def test_a_clone_at_another_commit_and_a_plain_folder_are_refused(root, clone):
    code = Manifest.model_construct(name="toy", files=[entry("code", f"git:{'1' * 40}")])
    with pytest.raises(ChecksumMismatch, match=f"got git:{git(clone, 'rev-parse', 'HEAD')}"):
        import_files(code, root, [clone], Silent())
    inner = clone / "inner"
    inner.mkdir()
    with pytest.raises(ChecksumMismatch, match="no git repository"):
        import_files(code, root, [inner], Silent())
