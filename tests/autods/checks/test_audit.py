"""An audit finds duplicates, imbalance and unreadable images, and says so the same every time."""

import json
import multiprocessing
import zlib
from pathlib import Path

import numpy as np
import pytest
from archives import folders_layout, make_tar, make_zip, manifest_of, placed
from flawed import make_flawed, picture
from notes import Notes

from autods.checks.audit import audit_dataset, read_audit
from autods.checks.audit_report import row, write_report
from autods.checks.audit_scan import CHUNK, Scanner, scan_chunk
from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.core.workers import AHEAD
from autods.errors import AutodsError, ContainerError, IndexMissing
from autods.index.samples import index_dataset, load_samples
from autods.manifest.schema import Manifest


def audit(root, manifest, workers=1, decode=True, again=False, progress=None):
    with Scanner(workers, decode) as scanner:
        name = manifest.name
        return audit_dataset(root, name, manifest, scanner, progress or Silent(), again=again)


@pytest.fixture(scope="module")
def flawed(tmp_path_factory):
    root, manifest = make_flawed(tmp_path_factory.mktemp("flawed"))
    index_dataset(manifest, root, Silent())
    return audit(root, manifest)


def test_copies_within_a_split_are_counted(flawed):
    found = flawed["protocols"]["clean"]["duplicates"]
    assert found["within"] == {"train": 2, "dev": 0, "test": 1}
    assert (found["contents"], found["copies"]) == (4, 4)
    assert found["examples"]["within test"] == [
        ["pets.zip/test/dog/001.png", "pets.zip/test/dog/903.png"]
    ]


def test_images_of_train_that_are_in_test_too_are_counted(flawed):
    found = flawed["protocols"]["clean"]["duplicates"]
    assert found["across"] == {"train in test": 1, "dev in test": 0, "dev in train": 0}
    assert found["examples"]["train in test"] == [
        ["pets.zip/train/cat/003.png", "pets.zip/test/cat/902.png"]
    ]


def test_every_protocol_is_audited_by_its_own_splits(flawed):
    images = flawed["protocols"]["paper"]["images"]
    assert images == {"train": 23, "dev": 2, "test": 10}
    found = flawed["protocols"]["paper"]["duplicates"]
    learnt = sum(n for pair, n in found["across"].items() if pair.endswith(" in test"))
    assert learnt == 1
    assert found["within"]["train"] + found["within"]["dev"] + found["across"]["dev in train"] == 2


def test_one_content_under_two_classes_is_a_conflict(flawed):
    found = flawed["protocols"]["clean"]["duplicates"]
    assert found["conflicts"] == {"contents": 1, "images": 2}
    assert found["examples"]["conflicts"] == [
        ["pets.zip/train/cat/002.png (cat)", "pets.zip/train/dog/901.png (dog)"]
    ]


def test_classes_are_counted_per_split_and_missing_ones_are_named(flawed):
    assert flawed["protocols"]["clean"]["classes"]["test"] == {
        "smallest": {"class": "cat", "images": 5},
        "median": 5.0,
        "largest": {"class": "cat", "images": 5},
        "missing": ["eel"],
    }
    train = flawed["protocols"]["clean"]["classes"]["train"]
    assert train["smallest"] == {"class": "eel", "images": 1}


def test_unreadable_images_are_named_with_the_reason(flawed):
    assert flawed["unreadable"]["images"] == 2
    assert flawed["unreadable"]["paths"] == [
        ["pets.zip/train/dog/904.png", "image file is truncated"],
        ["pets.zip/train/dog/905.png", "the file is empty"],
    ]


def test_modes_and_the_range_of_sizes_are_told(flawed):
    assert flawed["modes"] == {"RGB": 32, "L": 1}
    assert flawed["smallest"] == (5, 8)
    assert flawed["largest"] == (9, 30)


def test_an_index_without_flaws_has_no_findings(tmp_path):
    members = {f"{kind}/{i}.png": picture(hash_of(kind, i)) for kind in "ab" for i in range(10)}
    root, manifest = dataset(tmp_path, members)
    found = audit(root, manifest)["protocols"]["clean"]
    assert found["duplicates"]["copies"] == 0
    assert found["duplicates"]["examples"] == {}
    assert {name for split in found["classes"].values() for name in split["missing"]} == set()


def test_samples_that_the_protocol_does_not_use_are_no_duplicates(tmp_path):
    members = {"train/a/1.png": picture(1), "test/a/2.png": picture(2), "rest/a/3.png": picture(1)}
    layout = folders_layout("a.zip", "{split}/{class}/*", split="{split}")
    root, manifest = dataset(tmp_path, members, layout, splits={"clean": {"rule": "official"}})
    found = audit(root, manifest)
    assert found["images"] == 3
    assert found["protocols"]["clean"]["duplicates"]["copies"] == 0


def test_a_copy_without_a_label_of_the_default_task_is_no_conflict(tmp_path):
    part = {"family": "list-files", "file": "a.zip", "columns": ["path", "key"], "path": "{path}"}
    parts = [
        {**part, "lists": [{"file": "a.zip", "member": f"{task}.txt"}], "labels": {task: "{key}"}}
        for task in ("class", "colour")
    ]
    members = {
        "1.png": picture(1),
        "2.png": picture(2),
        "copy.png": picture(1),
        "class.txt": b"1.png x\n2.png y\n",
        "colour.txt": b"1.png red\n2.png red\ncopy.png blue\n",
    }
    layout = {"family": "combined", "parts": parts}
    tasks = {"class": {}, "colour": {}}
    root, manifest = dataset(tmp_path, members, layout, tasks=tasks)
    assert load_samples(root, "things").labels().tolist() == [0, 1, -1]
    found = audit(root, manifest)["protocols"]["clean"]["duplicates"]
    assert found["copies"] == 1
    assert found["conflicts"] == {"contents": 0, "images": 0}


def test_a_fast_audit_hashes_and_says_that_it_did_not_decode(tmp_path, flawed):
    root, manifest = make_flawed(tmp_path)
    index_dataset(manifest, root, Silent())
    found = audit(root, manifest, decode=False)
    assert found["protocols"] == flawed["protocols"]
    assert found["unreadable"]["images"] is None
    assert row(found)["broken"] is None
    assert "Not decoded" in write_report([found])


def test_an_audit_of_the_same_index_is_kept_unless_asked_otherwise(tmp_path):
    root, manifest = make_flawed(tmp_path)
    index_dataset(manifest, root, Silent())
    audit(root, manifest, decode=False)
    read = {}
    for step, options in {
        "a fast one is no substitute": {},
        "kept": {},
        "a fast one is not needed": {"decode": False},
        "again": {"again": True},
    }.items():
        notes = Notes()
        audit(root, manifest, progress=notes, **options)
        read[step] = notes.done
    assert list(read.values()) == [35, 0, 0, 35]
    assert notes.lines == []


def test_another_index_is_audited_anew(tmp_path):
    root, manifest = make_flawed(tmp_path)
    index_dataset(manifest, root, Silent())
    audit(root, manifest)
    clean = {"rule": "random", "test_fraction": 0.5}
    changed = Manifest.model_validate(
        manifest.model_dump(by_alias=True) | {"splits": {"clean": clean}}
    )
    with pytest.raises(IndexMissing, match="the manifest has changed since"):
        audit(root, changed)
    index_dataset(changed, root, Silent())
    notes = Notes()
    assert list(audit(root, changed, progress=notes)["protocols"]) == ["clean"]
    assert notes.done == 35


def test_findings_that_cannot_be_read_are_made_again(tmp_path):
    root, manifest = make_flawed(tmp_path)
    index_dataset(manifest, root, Silent())
    found = audit(root, manifest)
    for text in ("{", "[]", '{"format": 0}'):
        root.audit("pets").write_text(text)
        assert read_audit(root, "pets") is None
        audit(root, manifest)
        assert read_audit(root, "pets") == json.loads(json.dumps(found))


def test_any_number_of_processes_gives_the_same_bytes(tmp_path):
    count = CHUNK * 3 + 10
    data = [picture(i, size=(3, 3)) for i in range(40)] + [b"no image"]
    members = {f"{i % 2}/{i:05d}.png": data[i % 41] for i in range(count)}
    root, manifest = dataset(tmp_path, members)
    written = []
    for workers in (1, 2):
        audit(root, manifest, workers, again=True)
        written.append(root.audit("things").read_bytes())
    assert written[0] == written[1]
    found = json.loads(written[0])
    assert found["images"] == count == sum(found["modes"].values()) + found["unreadable"]["images"]
    assert found["protocols"]["clean"]["duplicates"]["copies"] == count - 41


def test_a_worker_that_dies_ends_the_audit_with_a_message(tmp_path):
    data = [picture(i) for i in range(9)]
    chunks = AHEAD * 2 + 4  # more than are handed out before the first comes back
    members = {f"{i % 2}/{i:05d}.png": data[i % 9] for i in range(CHUNK * chunks)}
    root, manifest = dataset(tmp_path, members)

    class Killer(Notes):
        def advance(self, amount: int) -> None:
            if not self.done:
                for process in multiprocessing.active_children():
                    process.kill()
            self.done += amount

    with Scanner(2, decode=True) as scanner, pytest.raises(AutodsError, match="fewer --workers"):
        audit_dataset(root, "things", manifest, scanner, Killer())
    assert not root.audit("things").exists()


def test_a_damaged_member_is_a_finding_and_a_missing_archive_an_error(tmp_path):
    good = picture(1)
    archive = make_zip(tmp_path / "a.zip", {"a/1.png": good, "a/2.png": good * 2}, 8)
    data = archive.read_bytes()
    body = zlib.compress(good * 2, wbits=-15)
    at = data.index(body)
    archive.write_bytes(data[: at + 20] + b"\xff" * 30 + data[at + 50 :])
    root = DataRoot(tmp_path / "root")
    manifest = manifest_of({"a.zip": archive}, folders_layout("a.zip"))
    manifest = placed(root, manifest, {"a.zip": archive})
    index_dataset(manifest, root, Silent())
    found = audit(root, manifest)
    reason = "its data in the archive is damaged"
    assert found["unreadable"]["paths"] == [["a.zip/a/2.png", reason]]
    assert found["protocols"]["clean"]["duplicates"]["copies"] == 0
    root.archive("things", "a.zip").unlink()
    with pytest.raises(ContainerError, match=r"a\.zip is missing"):
        audit(root, manifest, again=True)
    assert read_audit(root, "things") is not None


def test_hashes_are_those_of_the_feature_shards(tmp_path):
    from autods.encode.decode import content_hash

    data = picture(5)
    archive = make_tar(tmp_path / "a.tar", {"a/1.png": data})
    root = DataRoot(tmp_path / "root")
    manifest = manifest_of({"a.tar": archive}, folders_layout("a.tar"))
    manifest = placed(root, manifest, {"a.tar": archive})
    index_dataset(manifest, root, Silent())
    places = [load_samples(root, "things").locate(0)]
    scan = scan_chunk(root, "things", places, decode=False)
    assert scan.hashes.tolist() == [content_hash(data)]
    assert scan.hashes.dtype == np.uint64


def test_the_report_names_each_finding_with_examples(flawed):
    text = write_report([flawed])
    assert "| pets | 35 | 2 | 4 | 1 | 2 | 1 |" in text
    assert "Missing in test: eel." in text
    assert "- `pets.zip/train/dog/905.png`: the file is empty" in text
    assert "`pets.zip/train/cat/002.png (cat)` = `pets.zip/train/dog/901.png (dog)`" in text
    assert "Width 5 to 9, height 8 to 30 pixels." in text


def hash_of(kind: str, number: int) -> int:
    return ord(kind) * 1000 + number


def dataset(tmp_path: Path, members, layout=None, **changes):
    archive = make_zip(tmp_path / "source" / "a.zip", members)
    root = DataRoot(tmp_path / "root")
    manifest = manifest_of({"a.zip": archive}, layout or folders_layout("a.zip"), **changes)
    manifest = placed(root, manifest, {"a.zip": archive})
    index_dataset(manifest, root, Silent())
    return root, manifest
