"""Fetching from git repositories made on the spot."""

import json
import os
import subprocess
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from autods.core.files import hash_tree
from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.errors import FetchError, LinkGone, Unreachable
from autods.fetch import fetch_dataset, verify_archives
from autods.manifest.schema import FileEntry, Manifest, Mirror


class SilentHandler(SimpleHTTPRequestHandler):
    """Serves a folder and prints nothing."""

    def log_message(self, *_: object) -> None:
        pass


def toy(commit: str, url: str) -> Manifest:
    """Build a manifest of which only the file matters."""
    mirrors = [Mirror(kind="git", url=url)]
    entry = FileEntry(name="code", checksum=f"git:{commit}", mirrors=mirrors)
    return Manifest.model_construct(name="toy", files=[entry])


def git(folder: Path, *arguments: str) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    command = ["git", *identity, *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> tuple[Path, str]:
    """Make a git repository of three commits; return it and its second commit."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    for version in ("first", "second", "third"):
        (folder / "images").mkdir(exist_ok=True)
        (folder / "images" / "list.txt").write_bytes(f"{version}\r\nline\n".encode())
        (folder / "link").unlink(missing_ok=True)
        (folder / "link").symlink_to("/etc/hostname")
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--message", version)
    return folder, git(folder, "rev-parse", "HEAD~1")


def test_git_gives_exactly_the_pinned_commit_as_plain_files(root, repository):
    folder, commit = repository
    manifest = toy(commit, folder.as_uri())
    fetch_dataset(manifest, root, Silent())
    target = root.archive("toy", "code")
    assert (target / "images" / "list.txt").read_bytes() == b"second\r\nline\n"
    assert (target / "link").read_text() == "/etc/hostname"
    assert not (target / "link").is_symlink()
    assert sorted(path.name for path in target.iterdir()) == ["images", "link"]
    recorded = json.loads(root.record("toy").read_text())["files"]["code"]
    assert recorded["tree"] == f"tree:{hash_tree(target)}"
    assert verify_archives(manifest, root) == []
    (target / "link").write_text("changed")
    assert "is damaged" in verify_archives(manifest, root)[0]


def test_a_server_that_gives_no_single_commits_is_fetched_in_full(root, repository):
    folder, commit = repository
    git(folder, "update-server-info")  # a repository of plain files: no shallow fetch
    handler = partial(SilentHandler, directory=str(folder / ".git"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        fetch_dataset(toy(commit, url), root, Silent())
        server.shutdown()
    assert (root.archive("toy", "code") / "images" / "list.txt").read_bytes()[:6] == b"second"


def test_git_variables_of_the_caller_do_not_mislead_it(root, repository, monkeypatch, tmp_path):
    folder, commit = repository
    config = tmp_path / "gitconfig"
    config.write_text("[core]\n\tautocrlf = true\n[init]\n\tdefaultBranch = other\n")
    monkeypatch.setenv("GIT_DIR", str(folder / ".git"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    before = hash_tree(folder)
    fetch_dataset(toy(commit, folder.as_uri()), root, Silent())
    target = root.archive("toy", "code") / "images" / "list.txt"
    assert target.read_bytes() == b"second\r\nline\n"
    assert hash_tree(folder) == before


def test_an_unknown_commit_and_an_unknown_repository_are_told_apart(root, repository):
    folder, _ = repository
    with pytest.raises(FetchError, match=r"commit 1{40} is not there"):
        fetch_dataset(toy("1" * 40, folder.as_uri()), root, Silent())
    with pytest.raises(FetchError, match=r"not appear to be a git repository|not exist"):
        fetch_dataset(toy("1" * 40, (folder / "nowhere").as_uri()), root, Silent())
    assert list(root.archive("toy", "code").parent.iterdir()) == []


def test_a_mirrored_repository_is_cloned_from_a_folder_and_from_a_web_server(tmp_path, repository):
    folder, commit = repository
    git(folder, "update-server-info")
    (tmp_path / "mirror" / "toy").mkdir(parents=True)
    git(tmp_path, "clone", "--quiet", "--bare", str(folder), "mirror/toy/code")
    git(tmp_path / "mirror" / "toy" / "code", "update-server-info")
    handler = partial(SilentHandler, directory=str(tmp_path / "mirror"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        web = f"http://127.0.0.1:{server.server_port}"
        for number, mirror in enumerate((str(tmp_path / "mirror"), web)):
            root = DataRoot(tmp_path / str(number))
            manifest = toy(commit, "https://no-such-host.invalid/code.git")
            fetch_dataset(manifest, root, Silent(), mirrors=[mirror])
            text = root.archive("toy", "code") / "images" / "list.txt"
            assert text.read_bytes()[:6] == b"second"
        server.shutdown()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_mirrored_repository_may_belong_to_somebody_else(root, repository):
    folder, commit = repository
    for path in (folder, *folder.rglob("*")):
        os.chown(path, 12345, 12345, follow_symlinks=False)
    fetch_dataset(toy(commit, str(folder)), root, Silent())
    assert (root.archive("toy", "code") / "images" / "list.txt").read_bytes()[:6] == b"second"


def test_an_unreachable_host_and_a_repository_that_is_gone_have_their_classes(root, repository):
    folder, commit = repository
    with pytest.raises(Unreachable):
        fetch_dataset(toy(commit, "https://no-such-host.invalid/x.git"), root, Silent())
    with pytest.raises(LinkGone):
        fetch_dataset(toy(commit, (folder / "nowhere").as_uri()), root, Silent())


def test_a_git_folder_that_nobody_recorded_is_set_aside(root, repository):
    folder, commit = repository
    target = root.archive("toy", "code")
    target.mkdir(parents=True)
    (target / "mine").write_text("mine")
    manifest = toy(commit, folder.as_uri())
    fetch_dataset(manifest, root, Silent())
    assert (target.with_name("code.bad") / "mine").read_text() == "mine"
    assert (target / "images").is_dir()


def test_without_git_the_message_says_what_to_install(root, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FetchError, match="Install the package 'git'"):
        fetch_dataset(toy("1" * 40, "https://example.org/x"), root, Silent())


def test_a_url_that_would_run_a_command_is_not_followed(root, tmp_path):
    witness = tmp_path / "witness"
    with pytest.raises(FetchError, match="not allowed"):
        fetch_dataset(toy("1" * 40, f"ext::touch {witness}"), root, Silent())
    assert not witness.exists()
