import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from archives import checksum, folders_layout, make_folder, make_tar, make_zip, manifest_of, placed

from autods.containers import MemberReader
from autods.core.files import hash_file
from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.errors import ContainerError, FetchError, IndexMissing, LayoutError
from autods.fetch import fetch_dataset
from autods.index.samples import (
    IndexSummary,
    SampleIndex,
    index_dataset,
    load_samples,
    verify_index,
)
from autods.manifest.schema import Manifest, SplitRule

MEMBERS = {
    f"{split}/{kind}/{i}.jpg": f"{split}{kind}{i}".encode()
    for split, count in (("train", 10), ("val", 3), ("test", 5))
    for kind in ("dog", "cat")
    for i in range(count)
}
BY_FOLDER = folders_layout("a.zip", "{split}/{class}/*", split="{split}")
OFFICIAL = {"rule": "official", "train": ["train"], "test": ["test"]}


def setting(tmp_path: Path, layout=BY_FOLDER, members=MEMBERS, **changes) -> tuple:
    source = make_zip(tmp_path / "source" / "a.zip", members)
    root = DataRoot(tmp_path / "root")
    changes = {"splits": {"clean": OFFICIAL}, **changes}
    return root, placed(root, manifest_of({"a.zip": source}, layout, **changes), {"a.zip": source})


def indexed(tmp_path: Path, **options) -> tuple[IndexSummary, SampleIndex]:
    root, manifest = setting(tmp_path, **options)
    return index_dataset(manifest, root, Silent()), load_samples(root, "things", manifest)


def test_the_index_holds_sorted_samples_with_splits_and_labels(tmp_path):
    summary, index = indexed(tmp_path)
    assert summary.counts == {"clean": {"train": 18, "dev": 2, "test": 10, "unused": 6}}
    assert summary.classes == {"class": 2}
    paths = index.table["path"].to_pylist()
    assert paths == sorted(f"a.zip/{name}" for name in MEMBERS)
    assert index.table["sample"].to_pylist() == list(range(36))
    assert index.classes == {"class": ["cat", "dog"]}
    for path, label, split in zip(paths, index.labels(), index.splits(), strict=True):
        assert index.classes["class"][label] in path
        official = path.split("/")[1]
        assert split in {"train": ("train", "dev"), "val": ("",), "test": ("test",)}[official]


def test_the_columns_have_the_types_of_the_contract(tmp_path):
    import pyarrow as pa

    protocols = {"clean": OFFICIAL, "paper": {"rule": "random", "test_fraction": 0.25}}
    _, index = indexed(tmp_path, splits=protocols)
    names = ["sample", "path", "container", "member", "offset", "size", "crc32"]
    assert index.table.column_names == [*names, "split_clean", "split_paper", "label_class"]
    types = dict(zip(index.table.column_names, index.table.schema.types, strict=True))
    assert {types[name] for name in ("sample", "offset", "size")} == {pa.int64()}
    assert {types[n] for n in ("path", "container", "member", "split_clean")} == {pa.string()}
    assert types["label_class"] == pa.int32()
    assert index.protocols == ["clean", "paper"]
    assert index.default_task == "class"


def test_dev_may_be_an_official_split(tmp_path):
    summary, _ = indexed(tmp_path, splits={"clean": {**OFFICIAL, "dev": ["val"]}})
    assert summary.counts["clean"] == {"train": 20, "dev": 6, "test": 10, "unused": 0}


def test_an_official_split_that_does_not_occur_is_an_error(tmp_path):
    with pytest.raises(LayoutError, match="'Test', got 'test', 'train', 'val'"):
        indexed(tmp_path, splits={"clean": {**OFFICIAL, "test": ["Test"]}})


def test_classes_may_be_listed_in_their_own_order(tmp_path):
    _, index = indexed(tmp_path, tasks={"class": {"classes": ["dog", "bird", "cat"]}})
    assert np.unique(index.labels()).tolist() == [0, 2]
    with pytest.raises(LayoutError, match=r"one of 1 labels .*, got label 'cat'"):
        indexed(tmp_path / "b", tasks={"class": {"classes": ["dog"]}})


def table_of_classes(tmp_path: Path, table: bytes) -> SampleIndex:
    members = {**MEMBERS, "names.csv": table}
    spec = {"file": "a.zip", "member": "names.csv", "header": True}
    _, index = indexed(tmp_path, members=members, tasks={"class": {"classes": spec}})
    return index


def test_classes_of_a_table_keep_its_order_and_equal_names_are_told_apart(tmp_path):
    index = table_of_classes(tmp_path, b"key,name\ndog,pet\nwolf,wild\ncat,pet\n")
    assert index.classes["class"] == ["pet (dog)", "pet (cat)"]


def test_a_table_whose_keys_are_numbers_gives_their_order_and_a_pattern_takes_the_names(tmp_path):
    table = b"b/dog/1 10\nb/dog/2 10\nb/cat/1 9\nb/x/1 1\n"
    spec = {"file": "a.zip", "member": "t", "delimiter": None, "key": 1, "name": 0}
    members = {"9/a.jpg": b"", "10/b.jpg": b"", "t": table}
    layout = folders_layout("a.zip", "{class}/*")
    drawn = {"clean": {"rule": "random", "test_fraction": 0.5}}
    tasks = {"class": {"classes": {**spec, "take": "b/{name}/*"}}}
    _, index = indexed(tmp_path, layout=layout, members=members, tasks=tasks, splits=drawn)
    assert index.classes["class"] == ["cat", "dog"]
    assert index.labels().tolist() == [1, 0]
    tasks = {"class": {"classes": {**spec, "take": "c/{name}/*"}}}
    with pytest.raises(LayoutError, match=r"line 1: .* 'c/\{name\}/\*', got 'b/dog/1'"):
        indexed(tmp_path / "b", layout=layout, members=members, tasks=tasks, splits=drawn)


def test_keys_that_are_signed_numbers_are_sorted_as_numbers(tmp_path):
    members = {f"train/{key}/{i}.jpg": b"" for key in ("10", "-2", "2", "-10") for i in (0, 1)}
    drawn = {"clean": {"rule": "random", "test_fraction": 0.5}}
    _, index = indexed(tmp_path, members=members, splits=drawn)
    assert index.classes["class"] == ["-10", "-2", "2", "10"]


def test_one_name_in_two_forms_of_unicode_is_one_class(tmp_path):
    members = {
        f"{split}/{kind}/{i}.jpg": b""
        for split, kind in (("train", "caf\u00e9"), ("test", "cafe\u0301"))
        for i in range(3)
    }
    for classes in (None, ["cafe\u0301", "bar"]):
        tasks = {"class": {"classes": classes}}
        _, index = indexed(tmp_path / str(classes), members=members, tasks=tasks)
        assert index.classes["class"][0] == "caf\u00e9"
        assert index.labels().tolist() == [0] * 6


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"key,name\ndog,pet\n", "got label 'cat'"),
        (b"key,name\ndog,pet\ndog,wild\ncat,pet\n", "line 3: expected one class name"),
        (b"key\ndog\n", "line 1: expected columns 0 and 1"),
    ],
)
def test_a_wrong_class_table_is_an_error(tmp_path, table, message):
    with pytest.raises(LayoutError, match=message):
        table_of_classes(tmp_path, table)


def lists_of_tasks(second: bytes) -> dict:
    """Two lists of the same images, one for each task, as several datasets have them."""
    part = {"family": "list-files", "file": "a.zip", "columns": ["path", "key"], "path": "{path}"}
    members = {"1.jpg": b"1", "2.jpg": b"2", "kind.txt": b"1.jpg x\n1.jpg x\n2.jpg y\n"}
    lists = [{"file": "a.zip", "member": name} for name in ("kind.txt", "colour.txt")]
    return {
        "members": {**members, "colour.txt": second},
        "layout": {
            "family": "combined",
            "parts": [
                {**part, "lists": lists[:1], "labels": {"class": "{key}"}},
                {**part, "lists": lists[1:], "labels": {"colour": "{key}"}},
            ],
        },
        "tasks": {"class": {}, "colour": {}},
        "splits": {"clean": {"rule": "random", "test_fraction": 0.5}},
    }


def test_lists_of_several_tasks_give_one_sample_per_image(tmp_path):
    _, index = indexed(tmp_path, **lists_of_tasks(b"1.jpg red\n"))
    assert index.table["member"].to_pylist() == ["1.jpg", "2.jpg"]
    assert index.labels("class").tolist() == [0, 1]
    assert index.labels("colour").tolist() == [0, -1]


def test_two_labels_of_one_task_for_one_image_are_an_error(tmp_path):
    with pytest.raises(LayoutError, match=r"a\.zip/1\.jpg: task 'colour': .* 'red' and 'blue'"):
        indexed(tmp_path, **lists_of_tasks(b"1.jpg red\n1.jpg blue\n"))


def test_the_record_keeps_what_fetch_wrote_and_says_what_was_indexed(tmp_path):
    root, manifest = setting(tmp_path)
    fetched = json.loads(root.record("things").read_text())["files"]
    index_dataset(manifest, root, Silent())
    record = json.loads(root.record("things").read_text())
    assert record["files"] == fetched != {}
    entry = record["index"]
    assert entry["manifest"] == manifest.fingerprint()
    assert entry["sha256"] == hash_file(root.samples("things"), "sha256")
    assert entry["seeds"] == {"clean": 0}
    assert entry["containers"] == ["archives/a.zip"]


def test_an_index_is_kept_until_manifest_or_files_change(tmp_path):
    root, manifest = setting(tmp_path)
    actions = [index_dataset(manifest, root, Silent()).action for _ in range(2)]
    root.samples("things").write_bytes(b"broken")
    actions.append(index_dataset(manifest, root, Silent()).action)
    rule = SplitRule(rule="official", dev_fraction=0.3)
    other = manifest.model_copy(update={"splits": {"clean": rule}})
    actions.append(index_dataset(other, root, Silent()).action)
    assert actions == ["indexed", "kept", "indexed", "indexed"]
    root.archive("things", "a.zip").unlink()
    with pytest.raises(ContainerError, match="autods fetch"):
        index_dataset(other, root, Silent())


def test_an_archive_of_an_older_manifest_is_never_indexed_under_the_new_one(tmp_path):
    old, new = (
        make_tar(tmp_path / name / "a.tgz", {"cat/1.jpg": name.encode()}, "w:gz")
        for name in ("old", "new")
    )
    root, layout = DataRoot(tmp_path / "root"), folders_layout("a.tgz")
    index_dataset(placed(root, manifest_of({"a.tgz": old}, layout), {"a.tgz": old}), root, Silent())
    before = tree(root.path)
    manifest = manifest_of({"a.tgz": new}, layout)
    with pytest.raises(ContainerError, match=r"a\.tgz.*Run 'autods fetch things'"):
        index_dataset(manifest, root, Silent())
    assert tree(root.path) == before
    fetch_dataset(manifest, root, Silent())
    index_dataset(manifest, root, Silent())
    place = load_samples(root, "things", manifest).locate(0)
    assert MemberReader(root, "things").read(*place) == b"new"


def test_an_archive_put_there_by_hand_is_indexed_once_fetch_has_checked_it(tmp_path):
    source = make_zip(tmp_path / "a.zip", MEMBERS)
    root = DataRoot(tmp_path / "root")
    manifest = manifest_of({"a.zip": source}, BY_FOLDER)
    make_zip(root.archive("things", "a.zip"), MEMBERS)
    with pytest.raises(ContainerError, match="autods fetch things"):
        index_dataset(manifest, root, Silent())
    assert fetch_dataset(manifest, root, Silent())[0].action == "adopt"
    assert index_dataset(manifest, root, Silent()).samples == len(MEMBERS)


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"files": 3}', '{"index": []}', "\xff"])
def test_a_broken_record_is_one_message(tmp_path, content):
    root, manifest = setting(tmp_path)
    root.record("things").write_bytes(content.encode("latin-1"))
    with pytest.raises(FetchError, match=r"(?s)record\.json: expected .*Move it away"):
        index_dataset(manifest, root, Silent())
    root.record("things").unlink()
    fetch_dataset(manifest, root, Silent())
    assert index_dataset(manifest, root, Silent()).action == "indexed"


@pytest.mark.parametrize("damage", ["lose", "rename", "cut"])
def test_damage_to_a_file_of_a_folder_is_seen_by_index_and_cured_by_fetch(tmp_path, damage):
    source = make_folder(tmp_path / "source", MEMBERS)
    root = DataRoot(tmp_path / "root")
    manifest = manifest_of({"a": source}, {**BY_FOLDER, "files": ["a"]})
    fetch_dataset(manifest, root, Silent())
    index_dataset(manifest, root, Silent())
    good = tree(root.path)
    one = root.archive("things", "a") / "test" / "cat" / "0.jpg"
    {
        "lose": one.unlink,
        "rename": lambda: one.rename(f"{one}x"),
        "cut": lambda: one.write_bytes(b""),
    }[damage]()
    left = tree(root.archive("things", "a"))
    with pytest.raises(ContainerError, match="autods fetch things"):
        index_dataset(manifest, root, Silent())
    assert fetch_dataset(manifest, root, Silent())[0].action == "download"
    assert index_dataset(manifest, root, Silent()).action == "kept"
    assert tree(root.archive("things", "a.bad")) == left
    assert {k: v for k, v in tree(root.path).items() if "a.bad/" not in k} == good


def test_a_deleted_conversion_is_made_again(tmp_path):
    source = make_tar(tmp_path / "a.tgz", MEMBERS, "w:gz")
    root = DataRoot(tmp_path / "root")
    layout = {**BY_FOLDER, "files": ["a.tgz"]}
    manifest = placed(root, manifest_of({"a.tgz": source}, layout), {"a.tgz": source})
    index_dataset(manifest, root, Silent())
    root.converted("things", "a.tgz.tar").unlink()
    assert index_dataset(manifest, root, Silent()).action == "indexed"
    assert root.converted("things", "a.tgz.tar").is_file()


def test_a_missing_stale_or_damaged_index_says_what_to_run(tmp_path):
    root, manifest = setting(tmp_path)
    with pytest.raises(IndexMissing, match="autods index things"):
        load_samples(root, "things")
    index_dataset(manifest, root, Silent())
    rule = SplitRule(rule="official", seed=1)
    other = manifest.model_copy(update={"splits": {"clean": rule}})
    with pytest.raises(IndexMissing, match="manifest has changed"):
        load_samples(root, "things", other)
    root.samples("things").write_bytes(b"PAR1 not really")
    with pytest.raises(IndexMissing, match="autods index things"):
        load_samples(root, "things")


def test_verify_finds_an_archive_that_is_not_the_indexed_one(tmp_path):
    root, manifest = setting(tmp_path)
    assert "not indexed" in verify_index(manifest, root)[0]
    index_dataset(manifest, root, Silent())
    assert verify_index(manifest, root) == []
    make_zip(root.archive("things", "a.zip"), {**MEMBERS, "test/cat/0.jpg": b"other"})
    assert "a.zip/test/cat/0.jpg: does not lie where the index says" in verify_index(manifest, root)


CHILD = """
import sys
from pathlib import Path
from autods.manifest.schema import Manifest
from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.index.samples import index_dataset
manifest = Manifest.model_validate_json(Path(sys.argv[1]).read_text())
print("ready", flush=True)
index_dataset(manifest, DataRoot(Path(sys.argv[2])), Silent())
"""


def tree(root: Path) -> dict[str, str]:
    """Return path to sha256 of every file, apart from locks."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.suffix not in (".lock", ".holder")
    }


def test_an_index_killed_at_any_moment_is_completed_with_the_same_bytes(tmp_path):
    chance = random.Random(0)
    members = {f"{i % 40}/{i}.jpg": chance.randbytes(3000) for i in range(3000)}
    files = {
        "a.tgz": make_tar(tmp_path / "a.tgz", members, "w:gz"),
        "nested.zip": make_zip(
            tmp_path / "nested.zip",
            {"in.zip": make_zip(tmp_path / "in.zip", {"x/1.jpg": b"1" * 9}).read_bytes()},
            compression=8,
        ),
    }
    parts = [
        folders_layout("a.tgz"),
        {**folders_layout("nested.zip", "in.zip!/{class}/*"), "family": "nested-archives"},
    ]
    manifest = manifest_of(files, {"family": "combined", "parts": parts})
    (tmp_path / "m.json").write_text(manifest.model_dump_json(by_alias=True))
    undisturbed = DataRoot(tmp_path / "undisturbed")
    placed(undisturbed, manifest, files)
    began = time.monotonic()
    index_dataset(manifest, undisturbed, Silent())
    seconds = time.monotonic() - began
    expected = tree(undisturbed.path)
    assert "datasets/things/converted/a.tgz.tar" in expected

    root = tmp_path / "killed"
    placed(DataRoot(root), manifest, files)
    kills = 0
    for part in range(5):  # early kills first, or an early completion would leave none to kill
        child = start_child(tmp_path / "m.json", root)
        time.sleep(chance.uniform(part, part + 1) / 6 * seconds)
        child.send_signal(signal.SIGKILL)
        kills += child.wait() == -signal.SIGKILL
    child = start_child(tmp_path / "m.json", root)
    assert child.wait() == 0
    assert kills >= 2
    assert tree(root) == expected


def start_child(manifest: Path, root: Path) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(manifest), str(root)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


@pytest.mark.parametrize("packing", ["shuffled zip", "tar", "tar.gz", "folder"])
def test_another_packing_or_order_of_members_gives_the_same_ids_and_splits(tmp_path, packing):
    names = random.Random(0).sample(list(MEMBERS), len(MEMBERS))
    shuffled = {name: MEMBERS[name] for name in names}
    drawn = {"clean": {"rule": "random", "test_fraction": 0.25}}
    _, reference = indexed(tmp_path / "reference", splits=drawn)
    source = {
        "shuffled zip": lambda: make_zip(tmp_path / "a.zip", shuffled),
        "tar": lambda: make_tar(tmp_path / "a.tar", shuffled),
        "tar.gz": lambda: make_tar(tmp_path / "a.tar.gz", shuffled, "w:gz"),
        "folder": lambda: make_folder(tmp_path / "a", shuffled),
    }[packing]()
    root, layout = DataRoot(tmp_path / "root"), {**BY_FOLDER, "files": [source.name]}
    files = {source.name: source}
    manifest = placed(root, manifest_of(files, layout, splits=drawn), files)
    index_dataset(manifest, root, Silent())
    table = load_samples(root, "things", manifest).table
    for column in ("sample", "member", "size", "split_clean", "label_class"):
        assert table[column].equals(reference.table[column])


def test_the_same_content_gives_the_same_bytes_wherever_it_lies(tmp_path):
    digests = set()
    for name in ("one", "two"):
        folder = make_folder(tmp_path / name / "source", dict(reversed(MEMBERS.items())))
        root = DataRoot(tmp_path / name / "root")
        manifest = manifest_of({"a": folder}, {**BY_FOLDER, "files": ["a"]})
        assert isinstance(manifest, Manifest)
        assert manifest.files[0].checksum == checksum(folder)
        placed(root, manifest, {"a": folder})
        index_dataset(manifest, root, Silent())
        digests.add(hash_file(root.samples("things"), "sha256"))
        digests.add(hash_file(root.record("things"), "sha256"))
    assert len(digests) == 2
