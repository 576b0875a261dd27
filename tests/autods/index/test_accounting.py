"""Every entry of every container is a sample, or told why not; `verify` checks the sums."""

import io
import json
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from archives import folders_layout, make_folder, make_tar, make_zip, manifest_of, placed

from autods.core.files import write_json
from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.index.samples import index_dataset, load_samples, verify_index
from autods.layouts.accounting import COLUMNS, not_used


def indexed(tmp_path, source, layout, files=None):
    """Index a file; return its account, the lines for people, root and manifest."""
    sources = {source.name: source, **(files or {})}
    root = DataRoot(tmp_path / "root")
    manifest = placed(root, manifest_of(sources, layout), sources)
    summary = index_dataset(manifest, root, Silent())
    assert verify_index(manifest, root) == []
    for account in summary.members.values():
        assert sum(account.get(column, 0) for column in COLUMNS) == account["members"]
    assert index_dataset(manifest, root, Silent()).members == summary.members  # kept
    return summary.members, not_used("things", summary.members), root, manifest


MIXED = {
    "cat/1.jpg": b"1", "cat/2.jpg": b"2", "dog/1.jpg": b"3", "dog/notes.txt": b"t",
    "eel/1.jfif": b"4", "eel/2": b"5", "top.jpg": b"6", "cat/.hidden.jpg": b"7",
    "dog/Thumbs.db": b"8", "old/1.jpg": b"9", "__MACOSX/x.jpg": b"10",
}  # fmt: skip


@pytest.mark.parametrize("kind", ["x.tar", "x.tgz", "x.zip", "folder"])
def test_what_class_folders_do_not_use_is_counted_by_its_reason(tmp_path, kind):
    make = {"x.zip": make_zip, "folder": make_folder}.get(kind)
    source = tmp_path / kind
    make(source, MIXED) if make else make_tar(source, MIXED, "w:gz" if kind == "x.tgz" else "w")
    layout = {**folders_layout(kind), "pattern": "{class}/*", "exclude": ["old/**"]}
    members, lines, _, _ = indexed(tmp_path, source, layout)
    account = members[kind]
    assert {column: account.get(column, 0) for column in COLUMNS} == {
        "used": 3, "read": 0, "left out": 1, "hidden": 3, "replaced": 0, "links not followed": 0,
        "unmatched": 1, "unsupported": 3,
    }  # fmt: skip
    assert account["examples"]["unsupported"] == ["dog/notes.txt", "eel/1.jfif", "eel/2"]
    assert lines == [
        f"things: {kind}: 3 of 11 members used; not used: 1 left out ('old/1.jpg'), 3 hidden "
        f"({', '.join(map(repr, account['examples']['hidden']))}), 1 unmatched ('top.jpg'), "
        "3 unsupported ('dog/notes.txt', 'eel/1.jfif', 'eel/2')."
    ]


@pytest.mark.parametrize("suffixes", [[".jfif", ""], [".JFIF", "", ".jpg"]])
def test_suffixes_of_the_manifest_take_in_other_endings_and_none(tmp_path, suffixes):
    source = make_tar(tmp_path / "x.tar", MIXED)
    layout = {**folders_layout("x.tar"), "pattern": "{class}/*", "suffixes": suffixes}
    members, _, root, manifest = indexed(tmp_path, source, layout)
    assert "eel" in load_samples(root, "things", manifest).classes["class"]
    assert members["x.tar"]["used"] == (2 if len(suffixes) == 2 else 6)
    assert members["x.tar"].get("left out", 0) == (5 if len(suffixes) == 2 else 0)


def test_tables_and_what_they_do_not_name_are_accounted_for(tmp_path):
    files = {"i/1.jpg": b"1", "i/2.jpg": b"2", "i/3.jpg": b"3", "labels.csv": b"id,k\n1,a\n2,b\n"}
    source = make_zip(tmp_path / "x.zip", {**files, "more.csv": b"x"})
    layout = {
        "family": "csv-table", "file": "x.zip", "path": "i/{id}.jpg", "labels": {"class": "{k}"},
        "table": {"file": "x.zip", "member": "labels.csv"},
    }  # fmt: skip
    extra = make_zip(tmp_path / "extra.zip", {"a.jpg": b"1"})
    members, lines, _, _ = indexed(tmp_path, source, layout, {"extra.zip": extra})
    account = members["x.zip"]
    assert [account[why] for why in ("used", "read", "unmatched", "unsupported")] == [2, 1, 1, 1]
    assert account["tables"] == ["labels.csv"]
    assert (
        lines[1] == "things: extra.zip: 0 of 1 members used; not used: 1 unmatched ('extra.zip')."
    )


def test_inner_archives_are_accounted_for_member_by_member(tmp_path):
    inner = make_tar(tmp_path / "in.tar", {"cat/1.jpg": b"1", "cat/x.txt": b"2"}).read_bytes()
    source = make_zip(tmp_path / "x.zip", {"in.tar": inner, "other.zip": b"3", "a.jpg": b"4"})
    layout = {
        "family": "nested-archives", "files": ["x.zip"], "nested": ["in.tar"],
        "pattern": "in.tar!/{class}/*", "labels": {"class": "{class}"},
    }  # fmt: skip
    members, _, _, _ = indexed(tmp_path, source, layout)
    account = members["x.zip"]
    assert [account[why] for why in ("used", "read", "unmatched", "unsupported")] == [1, 1, 1, 2]
    assert account["examples"]["unsupported"] == ["in.tar!/cat/x.txt", "other.zip"]


@pytest.mark.parametrize("kind", ["int", "float", "text", "decimal128(5, 2)"])
def test_rows_of_parquet_without_a_label_are_left_out_and_whole_numbers_stay_whole(tmp_path, kind):
    labels = [0, 1, 10, None, 2, -1]
    if kind == "text":
        column = pa.array([None if k is None else str(k) for k in labels])
    else:
        types = {"int": pa.int64(), "float": pa.float64()}
        column = pa.array(labels, pa.int64()).cast(types.get(kind, pa.decimal128(21, 2)))
    images = [{"bytes": b"\xff\xd8\xff" + bytes([k])} for k in range(6)]
    buffer = io.BytesIO()
    pq.write_table(pa.table({"image": images, "label": column}), buffer)
    source = make_folder(tmp_path / "s", {"x.parquet": buffer.getvalue()}) / "x.parquet"
    layout = {"family": "parquet", "parts": [{"file": "x.parquet"}], "labels": {"class": "label"}}
    members, _, root, manifest = indexed(tmp_path, source, layout)
    assert load_samples(root, "things", manifest).classes["class"] == ["0", "1", "2", "10"]
    account = members["x.parquet"]
    assert [account[why] for why in ("used", "read", "left out")] == [4, 1, 2]


def test_verify_finds_sums_that_are_wrong_or_no_longer_true(tmp_path):
    source = make_folder(tmp_path / "pictures", {"cat/1.jpg": b"1", "dog/1.jpg": b"2"})
    _, _, root, manifest = indexed(tmp_path, source, folders_layout("pictures"))
    record = root.record("things")
    kept = record.read_text()
    for change, told in [
        ({"used": 1}, "2 members are recorded, of which 1 are named"),
        ({"used": 3, "members": 3}, "3 members are recorded, it has 2"),
        ({"links followed": 1}, "1 links followed are recorded, it has 0"),
    ]:
        content = json.loads(kept)
        content["index"]["members"]["pictures"] |= change
        write_json(record, content)
        assert any(told in problem for problem in verify_index(manifest, root))
    content = json.loads(kept)
    del content["index"]["members"]
    write_json(record, content)
    assert any("is not recorded" in problem for problem in verify_index(manifest, root))
    assert index_dataset(manifest, root, Silent()).action == "indexed"  # and records it
    assert verify_index(manifest, root) == []
    make_folder(root.archive("things", "pictures"), {"dog/2.jpg": b"3"})
    assert any("unmatched are recorded, it has 1" in p for p in verify_index(manifest, root))


def test_random_archives_add_up(tmp_path):
    rng = np.random.default_rng(0)
    names = ["a/1.jpg", "a/2.JPG", "b/1.png", "b/x", ".z.jpg", "c.jpg", "a/b/1.gif", "d/1.tiff"]
    for number in range(25):
        source = tmp_path / f"{number}.tar"
        with tarfile.open(source, "w") as archive:
            for name in ["a/0.jpg", *rng.choice(names, 6)]:
                info = tarfile.TarInfo(name)
                info.type = rng.choice([tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE])
                info.linkname = "a/0.jpg" if info.islnk() else "../a/0.jpg"
                if name == "a/0.jpg":
                    info.type = tarfile.REGTYPE
                archive.addfile(info)
        layout = {**folders_layout(source.name), "pattern": "{class}/*"}
        members, _, _, _ = indexed(tmp_path / f"t{number}", source, layout)
        assert members[source.name]["members"] == 7
