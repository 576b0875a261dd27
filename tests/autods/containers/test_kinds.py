"""What a file is, by its content: names lie more often than bytes."""

import bz2
import gzip
import hashlib
import lzma
import shutil

import pytest
from archives import make_folder
from container_tools import FILES, KEPT, build, opened

from autods.containers import open_container
from autods.containers.kinds import kind_of
from autods.core.root import DataRoot
from autods.errors import ContainerError

CONTENTS = ["x.zip", "x.tar", "x.tgz", "x.tar.bz2", "x.tar.xz", "x.rar", "x.7z"]
NAMES = [
    "d.tgz",
    "d.tar",
    "d.tar.gz",
    "d.gz",
    "d.zip",
    "d.7z",
    "d.rar",
    "download",
    "d.bin",
    "d.XZ",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("content", CONTENTS)
def test_an_archive_is_read_whatever_its_name_says(tmp_path, content, name):
    source = build(tmp_path, content)
    _, _, container = opened(tmp_path, source.rename(tmp_path / name))
    assert [member.name for member in container.members()] == KEPT
    assert all(container.read(name) == FILES[name] for name in KEPT)


TEXT = b"path,label\n1.jpg,cat\n"


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize(
    "name", ["labels.csv", "labels.csv.gz", "labels.csv.bz2", "labels.xz", "labels"]
)
def test_a_single_file_is_unpacked_if_it_is_packed(tmp_path, name, pack):
    source = make_folder(tmp_path / "s", {name: pack(TEXT)}) / name
    _, _, container = opened(tmp_path, source)
    assert container.read(name) == TEXT
    with container.open(name) as handle:
        assert handle.read() == TEXT


def test_a_zip_that_is_one_file_to_everyone_stays_one(tmp_path):
    source = build(tmp_path, "x.zip").rename(tmp_path / "data.npz")
    _, _, container = opened(tmp_path, source)
    assert [member.name for member in container.members()] == ["data.npz"]


@pytest.mark.parametrize(
    "text", ["BZh,1\n" * 99, "LZIP\n", "PK,1\n", "7z,1\n", "Rar!\n", "ustar\n" * 99]
)
def test_texts_that_begin_like_archives_are_texts(text):
    assert kind_of(text.encode(), "labels.csv").archive == ""
    assert kind_of(text.encode(), "labels.csv").module == ""


@pytest.mark.parametrize("name", ["x.tar", "x.zip", "x.7z", "x.rar", "x.tgz", "x.tar.xz"])
@pytest.mark.parametrize(
    "content", [b"neither this nor that", b"\xff" * 2000, b"\x1f\x8b\x08" + b"\7" * 99]
)
def test_the_cure_of_a_file_as_published_is_not_to_fetch_it_again(tmp_path, name, content):
    source = make_folder(tmp_path / "s", {name: content}) / name
    root = DataRoot(tmp_path / "root")
    target = root.archive("things", name)
    target.parent.mkdir(parents=True)
    shutil.copy(source, target)
    published = hashlib.sha256(content).hexdigest()
    with pytest.raises(ContainerError, match="fetching it again would not help") as caught:
        open_container(root, "things", name, f"sha256:{published}")
    assert "delete" not in str(caught.value).lower()
    with pytest.raises(ContainerError, match=r"no longer has the checksum.*delete it and fetch"):
        open_container(root, "things", name, f"sha256:{'0' * 64}")
    with pytest.raises(ContainerError, match="'autods verify' tells whether"):
        open_container(root, "things", name, "sha256:")


@pytest.mark.parametrize(
    ("content", "shown"),
    [(b"\x28\xb5\x2f\xfd" + b"1" * 99, "zstd file"), (b"\x1f\x9d" + b"1" * 99, "compress file"),
     (b"LZIP\1" + b"1" * 99, "lzip file")],
)  # fmt: skip
def test_compressed_files_that_cannot_be_read_are_named_by_their_content(tmp_path, content, shown):
    source = make_folder(tmp_path / "s", {"x.tar": content}) / "x.tar"
    with pytest.raises(ContainerError, match=rf"got '{shown}'.*Repack"):
        opened(tmp_path, source)
