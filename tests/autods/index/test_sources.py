"""A bit that flips in an archive, a converted copy or the index is found before it is used."""

import os
import random
import tarfile
from pathlib import Path

import pytest
from archives import folders_layout, make_folder, make_tar, make_zip, manifest_of, placed

from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.errors import ContainerError, IndexMissing
from autods.fetch import fetch_dataset, verify_archives
from autods.index.samples import index_dataset, load_samples, verify_index
from autods.index.sources import check_sources

FILES = {f"{folder}/{k}.jpg": os.urandom(200 + k) for folder in "ab" for k in range(5)}
MAKE = {
    "x.zip": make_zip,
    "x.tar": make_tar,
    "x.tgz": lambda path, files: make_tar(path, files, "w:gz"),
    "folder": make_folder,
}


class Notes(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


def indexed(tmp_path: Path, kind: str):
    """Fetch and index a dataset; return root, manifest and the file that a flip may be in."""
    source = MAKE[kind](tmp_path / kind, FILES)
    root = DataRoot(tmp_path / "root")
    manifest = manifest_of({kind: source}, folders_layout(kind))
    fetch_dataset(manifest, root, Silent())
    index_dataset(manifest, root, Silent())
    target = root.archive("things", kind)
    return root, manifest, target / "a" / "3.jpg" if target.is_dir() else target


def flip(path: Path, draw: random.Random, keep_time: bool = False) -> None:
    """Flip a bit; the size stays."""
    status, data = path.stat(), bytearray(path.read_bytes())
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)
    times = (status.st_atime_ns, status.st_mtime_ns)
    later = (times[0], times[1] + 1)  # writes within a tick of the clock look simultaneous
    os.utime(path, ns=times if keep_time else later)


@pytest.mark.parametrize("kind", MAKE)
@pytest.mark.parametrize("seed", range(3))
def test_an_archive_that_changed_is_not_used_until_it_is_fetched_again(tmp_path, kind, seed):
    root, manifest, path = indexed(tmp_path, kind)
    whole = path.read_bytes()
    flip(path, random.Random(seed))
    with pytest.raises(ContainerError, match="fetched and verified"):
        index_dataset(manifest, root, Silent())
    if kind != "x.tgz":  # of which a copy is read
        with pytest.raises(ContainerError, match="it changed after it was fetched"):
            check_sources(root, "things", Notes().note)
    notes = Notes()
    (fetched,) = fetch_dataset(manifest, root, notes)
    assert fetched.action == "download"
    assert notes.lines[0].startswith("hashing things/")
    assert path.read_bytes() == whole
    assert index_dataset(manifest, root, Silent()).action == "kept"


@pytest.mark.parametrize("kind", MAKE)
def test_an_archive_that_was_only_touched_is_hashed_once(tmp_path, kind):
    root, manifest, path = indexed(tmp_path, kind)
    record = root.record("things").read_bytes()
    os.utime(path, (1, 1))
    notes = Notes()
    for _ in range(2):
        assert [file.action for file in fetch_dataset(manifest, root, notes)] == ["keep"]
        assert index_dataset(manifest, root, notes).action == "kept"
        check_sources(root, "things", notes.note)
    assert sum(line.startswith("hashing") for line in notes.lines) == 1
    assert root.record("things").read_bytes() == record


@pytest.mark.parametrize("kind", MAKE)
def test_verify_finds_a_bit_that_flipped_without_a_new_time(tmp_path, kind):
    root, manifest, path = indexed(tmp_path, kind)
    flip(path, random.Random(0), keep_time=True)
    assert "is damaged" in verify_archives(manifest, root)[0]


@pytest.mark.parametrize("seed", range(5))
def test_a_converted_copy_that_changed_is_refused_and_made_again(tmp_path, seed):
    root, manifest, _ = indexed(tmp_path, "x.tgz")
    copy = root.converted("things", "x.tgz.tar")
    whole = copy.read_bytes()
    flip(copy, random.Random(seed))
    with pytest.raises(ContainerError, match="Run 'autods index things': it is made again"):
        check_sources(root, "things", Notes().note)
    (problem,) = verify_index(manifest, root)
    assert "its content is not what was written" in problem
    assert copy.read_bytes() != whole  # verify changes nothing
    assert index_dataset(manifest, root, Silent()).action == "indexed"
    assert copy.read_bytes() == whole
    flip(copy, random.Random(seed), keep_time=True)
    assert "its content is not what was written" in verify_index(manifest, root)[0]


def test_a_flipped_bit_in_the_stamp_of_a_copy_makes_it_again(tmp_path):
    root, manifest, _ = indexed(tmp_path, "x.tgz")
    copy = root.converted("things", "x.tgz.tar")
    stamp = copy.with_name(f"{copy.name}.source")
    whole, written = copy.read_bytes(), stamp.read_bytes()
    for position in range(0, len(written), 3):
        flipped = bytearray(written)
        flipped[position] ^= 1 << position % 8
        stamp.write_bytes(flipped)
        index_dataset(manifest, root, Silent())
        assert (copy.read_bytes(), verify_index(manifest, root)) == (whole, [])


def test_a_copy_of_an_earlier_version_without_a_hash_is_kept(tmp_path):
    root, manifest, _ = indexed(tmp_path, "x.tgz")
    copy = root.converted("things", "x.tgz.tar")
    stamp = copy.with_name(f"{copy.name}.source")
    stamp.write_text(stamp.read_text().partition("\n")[0])
    before = copy.stat().st_mtime_ns
    assert index_dataset(manifest, root, Silent()).action == "kept"
    assert copy.stat().st_mtime_ns == before


@pytest.mark.parametrize("seed", range(10))
def test_a_flipped_bit_in_the_index_is_refused_whether_its_time_is_new_or_not(tmp_path, seed):
    root, manifest, _ = indexed(tmp_path, "x.tar")
    path, draw = root.samples("things"), random.Random(seed)
    whole = path.read_bytes()
    flip(path, draw, keep_time=bool(seed % 2))
    with pytest.raises(IndexMissing, match="Run 'autods index things'"):
        load_samples(root, "things")
    assert verify_index(manifest, root)
    assert index_dataset(manifest, root, Silent()).action == "indexed"
    assert path.read_bytes() == whole


def test_a_dataset_of_a_root_without_notes_of_what_is_unchanged_is_hashed(tmp_path):
    source = make_tar(tmp_path / "x.tar", FILES)
    root = DataRoot(tmp_path / "root")
    manifest = placed(
        root, manifest_of({"x.tar": source}, folders_layout("x.tar")), {"x.tar": source}
    )
    notes = Notes()
    index_dataset(manifest, root, notes)
    assert notes.lines[:1] == ["hashing things/x.tar, which was touched since it was last hashed"]
    assert tarfile.is_tarfile(root.archive("things", "x.tar"))
