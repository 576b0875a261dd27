"""Fetching the published archive from a loopback Google Drive, and importing it in one go."""

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from notes import Notes
from published_archive import simple_sets, tar_of, write_dataset
from servers.hosts import Drive
from servers.web import running
from warm import program

from autods.core.progress import Progress, Silent
from autods.core.root import DataRoot
from autods.errors import (
    ChecksumMismatch,
    FetchError,
    LinkGone,
    ManifestError,
    QuotaExceeded,
    Unreachable,
)
from autods.fetch import FetchedFile, fetch_dataset
from autods.fetch.part_files import part_of
from autods.fetch.sources import base
from autods.interop.published.spec import FeatureArchive, load_archive
from autods.manifest.files import shipped_manifests

ARCHIVE = load_archive("stream-clip")
ID = ARCHIVE.files[0].mirrors[0].url


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("published")
    for name in ("boat", "rock"):
        write_dataset(folder / "in", name, simple_sets(), seed=len(name))
    return tar_of(folder / "in", folder / "stream_feats.tar").read_bytes()


@pytest.fixture
def drive(monkeypatch: pytest.MonkeyPatch, content: bytes) -> Iterator[Drive]:
    monkeypatch.setattr(base, "BACKOFF", 0.001)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with running(Drive()) as server:
        server.files[ID] = content
        monkeypatch.setenv("AUTODS_GDRIVE_URL", server.url("/"))
        yield server


def target(root: DataRoot) -> Path:
    return root.published().archive("stream-clip", "stream_feats.tar")


def record(root: DataRoot) -> dict[str, object]:
    text = root.published().record("stream-clip").read_text()
    return json.loads(text)["files"]["stream_feats.tar"]


def with_checksum(checksum: str) -> FeatureArchive:
    file = ARCHIVE.files[0].model_copy(update={"checksum": checksum})
    return ARCHIVE.model_copy(update={"files": [file]})


def fetch(
    root: DataRoot,
    progress: Progress,
    mirrors: Sequence[str] = (),
    archive: FeatureArchive = ARCHIVE,
) -> FetchedFile:
    (file,) = fetch_dataset(archive, root.published(), progress, mirrors)
    return file


def test_one_command_downloads_and_imports_and_a_second_one_keeps_everything(root, drive, content):
    command = [program("autods"), "fetch", "--features", "stream-clip", "--root", str(root.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    digest = hashlib.sha256(content).hexdigest()
    assert f"{target(root)}: {len(content):,} bytes, sha256:{digest}" in done.stdout
    assert "imported boat\nimported rock" in done.stdout
    assert "now recorded: none is published" in done.stdout
    assert target(root).read_bytes() == content
    asked = len(drive.log)
    again = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert json.loads(again.stdout)["kept"] == ["boat", "rock"]
    assert len(drive.log) == asked


def test_the_record_says_what_came_and_from_where(root, drive, content):
    drive.states[ID] = "large"
    notes = Notes()
    fetched = fetch(root, notes)
    assert (fetched.action, fetched.size) == ("download", len(content))
    assert record(root) == {
        "checksum": f"sha256:{hashlib.sha256(content).hexdigest()}",
        "size": len(content),
        "kind": "gdrive",
        "url": ID,
    }
    assert fetch(root, notes).action == "keep"


@pytest.mark.parametrize("tenth", [1, 5, 9])
def test_a_download_that_breaks_off_is_continued(root, drive, content, tenth):
    cut = len(content) * tenth // 10
    drive.drops = [cut, None]
    fetch(root, Silent())
    assert target(root).read_bytes() == content
    assert drive.ranges_asked() == [None, f"bytes={cut}-"]


def test_a_part_of_another_content_is_fetched_anew(root, drive, content):
    """Without a checksum, the end of the tar tells that the halves do not belong together."""
    part = part_of(target(root))
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(range(256)) * 40)
    notes = Notes()
    fetch(root, notes)
    assert target(root).read_bytes() == content
    assert any("is not the expected file; fetching it anew" in line for line in notes.lines)


def test_a_tar_without_its_end_is_set_aside(root, drive, content):
    drive.files[ID] = content[: len(content) // 2]
    with pytest.raises(ChecksumMismatch, match=r"it is a tar without its end.*\nNo archive was"):
        fetch(root, Silent())
    assert not target(root).exists()
    assert target(root).with_name("stream_feats.tar.bad").exists()


@pytest.mark.parametrize(
    ("state", "kind", "named"),
    [("quota", QuotaExceeded, "download quota"), ("private", FetchError, "asks to sign in")],
)
def test_each_page_of_drive_has_its_cause_and_the_way_by_hand(root, drive, state, kind, named):
    drive.states[ID] = state
    with pytest.raises(kind, match=named):
        fetch(root, Silent())
    command = [program("autods"), "fetch", "--features", "stream-clip", "--root", str(root.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert named in done.stderr
    assert "'autods import-features FILE'" in done.stderr


def test_a_file_that_is_gone_is_told_by_the_command_without_a_traceback(root, drive):
    drive.files = {}
    with pytest.raises(LinkGone):
        fetch(root, Silent())
    command = [program("autods"), "fetch", "--features", "stream-clip", "--root", str(root.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no file of this id any more" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_mirror_of_the_user_is_asked_first(root, drive, content, tmp_path):
    place = tmp_path / "mirror" / "stream-clip" / "stream_feats.tar"
    place.parent.mkdir(parents=True)
    place.write_bytes(content)
    fetch(root, Silent(), [str(tmp_path / "mirror")])
    assert record(root)["kind"] == "file"
    assert not drive.log


def test_a_part_goes_on_where_it_came_from_whatever_mirror_is_added(root, drive, content, tmp_path):
    drive.drops = [5000, *[0] * 9]
    with pytest.raises(Unreachable, match=r"Kept: 5,000 bytes in .*part, which will be continued"):
        fetch(root, Silent())
    place = tmp_path / "mirror" / "stream-clip" / "stream_feats.tar"
    place.parent.mkdir(parents=True)
    place.write_bytes(content)
    drive.drops = []
    fetch(root, Silent(), [str(tmp_path / "mirror")])
    assert record(root)["kind"] == "gdrive"
    assert drive.ranges_asked()[-1] == "bytes=5000-"
    assert target(root).read_bytes() == content


def test_an_archive_that_was_put_there_by_hand_is_taken_and_recorded(root, drive, content):
    target(root).parent.mkdir(parents=True)
    target(root).write_bytes(content)
    assert fetch(root, Silent()).action == "adopt"
    assert record(root)["checksum"] == f"sha256:{hashlib.sha256(content).hexdigest()}"
    root.published().record("stream-clip").unlink()
    assert fetch(root, Silent()).action == "adopt"
    assert not drive.log


def test_half_an_archive_that_was_put_there_by_hand_is_set_aside_and_fetched(root, drive, content):
    target(root).parent.mkdir(parents=True)
    target(root).write_bytes(content[: len(content) // 2])
    assert fetch(root, Silent()).action == "download"
    assert target(root).read_bytes() == content


def test_where_a_checksum_is_published_it_decides(root, drive, content):
    right = with_checksum(f"sha256:{hashlib.sha256(content).hexdigest()}")
    with pytest.raises(ChecksumMismatch, match="expected sha256:1111"):
        fetch(root, Silent(), archive=with_checksum(f"sha256:{'1' * 64}"))
    assert fetch(root, Silent(), archive=right).action == "download"
    target(root).write_bytes(content[:-512] + bytes([1]) * 512)
    root.published().record("stream-clip").unlink()
    assert fetch(root, Silent(), archive=right).action == "download"
    assert target(root).read_bytes() == content


@pytest.mark.parametrize(
    ("options", "code", "named"),
    [
        (["--features", "stream-clp"], 2, "did you mean stream-clip?"),
        (["boat", "--features", "stream-clip"], 2, "names of datasets or --features, got both"),
        (["--all", "--features", "stream-clip"], 2, "names and globs at most with --features"),
        (["--features", "stream-clip", "--mirror", "nowhere"], 2, "mirror 'nowhere'"),
    ],
)
def test_wrong_requests_are_refused_without_a_download(root, options, code, named):
    command = [program("autods"), "fetch", *options, "--root", str(root.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, named in done.stderr) == (code, True), done.stderr
    assert not root.path.exists()


def test_the_plan_is_told_without_network(root):
    command = [program("autods"), "fetch", "--features", "stream-clip", "--dry-run"]
    command += ["--root", str(root.path)]
    blocked = {**os.environ, "AUTODS_GDRIVE_URL": "http://127.0.0.1:9"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=blocked)
    assert done.returncode == 0, done.stderr
    assert "1 dataset, 1 file" in done.stdout
    told = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert json.loads(told.stdout)["unknown"] == ["stream-clip"]


def test_descriptions_of_archives_are_checked_and_can_be_added(tmp_path, monkeypatch):
    shipped = shipped_manifests() / "features" / "stream-clip.yaml"
    text = shipped.read_text(encoding="utf-8")
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "mine.yaml").write_text(text.replace("stream-clip", "mine"))
    (tmp_path / "features" / "other.yaml").write_text(text)
    monkeypatch.setenv("AUTODS_MANIFESTS", str(tmp_path))
    assert load_archive("mine").name == "mine"
    with pytest.raises(ManifestError, match="expected 'other' as the file is called"):
        load_archive("other")
    (tmp_path / "features" / "mine.yaml").write_text(text.replace("null", "md5:abc"))
    with pytest.raises(ManifestError, match=r"mine\.yaml:\d+: files[^:]*checksum"):
        load_archive("mine")
