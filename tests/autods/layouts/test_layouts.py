from pathlib import Path
from typing import Any

import numpy as np
import pytest
from archives import folders_layout, make_zip
from hypothesis import given
from hypothesis import strategies as st
from layout_tools import CSV, IMAGE, found, images, read

from autods.core.patterns import compile_pattern, filler
from autods.errors import LayoutError


def test_class_folders_take_split_and_class_from_the_path(tmp_path):
    content = images("train/cat/1.JPG", "train/dog/2.png", "test/cat/3.jpeg", "README.md", "x.jpg")
    layout = folders_layout("a.zip", "{split}/{class}/*", split="{split}")
    assert found(read(tmp_path, {"a.zip": content}, layout)) == [
        ("test/cat/3.jpeg", "cat", "test"),
        ("train/cat/1.JPG", "cat", "train"),
        ("train/dog/2.png", "dog", "train"),
    ]


def test_class_folders_combine_names_per_task_exclude_and_restrict_suffixes(tmp_path):
    content = images("red_dress/1.jpg", "red_hat/2.jpg", "red_hat/3.png", "copy/red_hat/2.jpg")
    layout = folders_layout(
        "a.zip",
        "**/{colour}_{kind}/*",
        labels={"class": "{kind} {colour}", "colour": "{colour}"},
        exclude=["copy/**"],
        suffixes=[".JPG"],
    )
    samples = read(tmp_path, {"a.zip": content}, layout)
    assert found(samples) == [
        ("red_dress/1.jpg", "dress red", None),
        ("red_hat/2.jpg", "hat red", None),
    ]
    assert {sample.labels["colour"] for sample in samples} == {"red"}


def test_class_folders_without_a_match_say_what_is_there(tmp_path):
    with pytest.raises(LayoutError, match=r"a\.zip: expected images .*'\{class\}/\*'.*deep/er"):
        read(tmp_path, {"a.zip": images("deep/er/1.jpg")}, folders_layout("a.zip"))


def test_a_field_that_occurs_twice_takes_the_same_text(tmp_path):
    pattern = compile_pattern("{class}/{class}_*.jpg")
    assert pattern.fullmatch("cat/cat_1.jpg")
    assert not pattern.fullmatch("cat/dog_1.jpg")


words = st.text("abcXYZ 0-", min_size=1, max_size=5)


@given(split=words, label=words, rest=words)
def test_a_pattern_takes_out_what_a_template_put_in(split, label, rest):
    template = "root/{split}/{class}/x_{name}.jpg"
    values = {"split": split, "class": label, "name": rest}
    matched = compile_pattern(template).fullmatch(filler(template)(values))
    assert matched is not None
    assert matched.groupdict() == values


LISTS = {
    "family": "list-files",
    "file": "a.zip",
    "lists": [
        {"file": "a.zip", "member": "train.txt", "split": "train"},
        {"file": "test.txt", "split": "test"},
    ],
    "delimiter": ",",
    "columns": ["path", "fine", "coarse"],
    "path": "images/{path}",
    "labels": {"class": "{fine}", "coarse": "{coarse}"},
}


def list_content(train: bytes) -> dict[str, Any]:
    return {"a.zip": {**images("images/1.jpg", "images/2.jpg"), "train.txt": train}}


def test_list_files_read_lists_inside_and_beside_the_archive(tmp_path):
    files = {**list_content(b"1.jpg, 7, 0\n"), "test.txt": b"\xef\xbb\xbf2.jpg, 8, 1\r\n\r\n"}
    samples = read(tmp_path, files, LISTS)
    assert found(samples) == [("images/1.jpg", "7", "train"), ("images/2.jpg", "8", "test")]
    assert [sample.labels["coarse"] for sample in samples] == ["0", "1"]


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (b"1.jpg, 7, 0\n\n1.jpg, 7\n", "line 3: expected 3 columns, got 2"),
        (b"1.jpg, 7, 0\n9.jpg, 7, 0\n", "line 2: expected image 'images/9.jpg'"),
        (b"\n\n", "expected at least one row"),
        (b"\xff\xfe1.jpg", "expected text in utf-8-sig"),
    ],
)
def test_a_wrong_list_is_an_error_with_file_and_line(tmp_path, train, message):
    files = {**list_content(train), "test.txt": b"2.jpg, 8, 1\n"}
    with pytest.raises(LayoutError, match=message) as caught:
        read(tmp_path, files, LISTS)
    assert "a.zip/train.txt" in str(caught.value)


def test_in_lists_divided_by_blanks_the_last_column_takes_the_rest(tmp_path):
    layout = {
        "family": "list-files",
        "file": "a.zip",
        "lists": [{"file": "list.txt"}],
        "columns": ["id", "name"],
        "path": "{id}.jpg",
        "labels": {"class": "{name}"},
    }
    files = {"a.zip": images("0034309.jpg"), "list.txt": b"0034309 F/A-18 Hornet\n"}
    assert found(read(tmp_path, files, layout)) == [("0034309.jpg", "F/A-18 Hornet", None)]


def test_only_line_feeds_end_a_line_and_only_blanks_divide_it(tmp_path):
    layout = {
        "family": "list-files",
        "file": "a.zip",
        "lists": [{"file": "list.txt"}],
        "columns": ["id", "name", "rest"],
        "path": "{id}.jpg",
        "labels": {"class": "{name}", "rest": "{rest}"},
    }
    lines = "1 b\x85c\u2028d x\x0cy\r\n2\t e\xa0f  z\x1cz"
    files = {"a.zip": images("1.jpg", "2.jpg"), "list.txt": lines.encode()}
    samples = read(tmp_path, files, layout)
    assert [s.labels["class"] for s in samples] == ["b\x85c\u2028d", "e\xa0f"]
    assert [s.labels["rest"] for s in samples] == ["x\x0cy", "z\x1cz"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_lines_may_end_as_on_any_system_and_begin_with_a_mark(tmp_path, end, mark):
    samples = [("1.jpg", "cat", None), ("2.jpg", "dog, big", None)]
    lines = end.join(["1.jpg cat", "2.jpg dog, big", ""])
    table = end.join(["id,kind", "1,cat", "2,dog, big"])
    listed = {
        "family": "list-files",
        "file": "a.zip",
        "lists": [{"file": "list.txt"}],
        "columns": ["image", "kind"],
        "path": "{image}",
        "labels": {"class": "{kind}"},
    }
    rest = {"columns": ["id", "kind"], "rest": True, "skip_lines": 1, "split": None}
    files = {"a.zip": images("1.jpg", "2.jpg"), "list.txt": (mark + lines).encode()}
    assert found(read(tmp_path / "a", files, listed)) == samples
    files = {"a.zip": images("1.jpg", "2.jpg"), "table.csv": (mark + table).encode()}
    assert found(read(tmp_path / "b", files, {**CSV, "path": "{id}.jpg", **rest})) == samples


def test_a_csv_table_names_columns_by_its_header_and_knows_quotes(tmp_path):
    table = 'id,kind,part\n1,"big, red",train\n2,é,test\n'.encode()
    files = {"a.zip": images("images/1.jpg", "images/2.jpg"), "table.csv": table}
    assert found(read(tmp_path, files, CSV)) == [
        ("images/1.jpg", "big, red", "train"),
        ("images/2.jpg", "é", "test"),
    ]


def test_a_csv_table_without_header_in_another_encoding(tmp_path):
    layout = {
        **CSV,
        "table": {"file": "table.csv", "encoding": "latin-1"},
        "columns": ["part", "kind", "id"],
        "delimiter": ";",
    }
    files = {"a.zip": images("images/1.jpg"), "table.csv": "train;é;1\n".encode("latin-1")}
    assert found(read(tmp_path, files, layout)) == [("images/1.jpg", "é", "train")]


def test_a_csv_table_without_an_expected_column_is_an_error(tmp_path):
    files = {"a.zip": images("images/1.jpg"), "table.csv": b"id,label,part\n1,x,train\n"}
    with pytest.raises(
        LayoutError,
        match=r"table\.csv: labels: class .*kind.* is not known; expected one of id, label, part",
    ):
        read(tmp_path, files, CSV)


def numbered(**changes: Any) -> dict[str, Any]:
    return {
        "family": "numbered",
        "file": "a.zip",
        "pattern": "image_{number}.jpg",
        "per_class": 2,
        "tasks": ["class"],
        **changes,
    }


FOUR = images(*(f"image_{i:04d}.jpg" for i in range(1, 5)))


def mat(tmp_path: Path, **variables: list[int]) -> bytes:
    from scipy.io import savemat

    target = tmp_path / "made.mat"
    savemat(target, {name: np.array([v], dtype=np.uint8) for name, v in variables.items()})
    return target.read_bytes()


MAT = {"file": "s.mat", "variables": {"train": ["trn", "val"], "test": ["tst"]}}


def test_numbered_files_take_labels_and_splits_from_their_numbers(tmp_path):
    files = {"a.zip": {**FOUR, "files.txt": b""}, "s.mat": mat(tmp_path, trn=[3], val=[1], tst=[2])}
    assert found(read(tmp_path, files, numbered(splits=MAT))) == [
        ("image_0001.jpg", "0", "train"),
        ("image_0002.jpg", "0", "test"),
        ("image_0003.jpg", "1", "train"),
        ("image_0004.jpg", "1", None),
    ]


def test_numbered_files_take_splits_from_text_lists(tmp_path):
    layout = numbered(split_lists={"train": {"file": "n.txt"}}, first=0)
    samples = read(tmp_path, {"a.zip": FOUR, "n.txt": b"1\n4\n"}, layout)
    assert [sample.split for sample in samples] == ["train", None, None, "train"]
    assert [sample.labels["class"] for sample in samples] == ["0", "1", "1", "2"]


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"trn": [3], "val": [1], "tst": [3]}, "expected one official split, got 'train'"),
        ({"trn": [9], "val": [1], "tst": [3]}, "expected image number 9"),
        ({"trn": [1], "val": [2]}, "expected a variable 'tst', got trn, val"),
        (None, "expected a MATLAB file"),
    ],
)
def test_wrong_splits_of_numbered_files_are_errors(tmp_path, variables, message):
    content = b"<html>gone</html>" * 20 if variables is None else mat(tmp_path, **variables)
    with pytest.raises(LayoutError, match=message):
        read(tmp_path, {"a.zip": FOUR, "s.mat": content}, numbered(splits=MAT))


@pytest.mark.parametrize("name", ["image_x.jpg", "image_0000.jpg", "image_1.jpg"])
def test_a_numbered_file_without_a_proper_number_is_an_error(tmp_path, name):
    with pytest.raises(LayoutError, match=name):
        read(tmp_path, {"a.zip": {**FOUR, name: IMAGE}}, numbered())


def test_combined_parts_read_one_archive_in_two_ways(tmp_path):
    layout = {
        "family": "combined",
        "parts": [
            folders_layout("a.zip", "train/{class}/*", split="train"),
            {
                "family": "list-files",
                "file": "a.zip",
                "lists": [{"file": "a.zip", "member": "val.txt", "split": "val"}],
                "delimiter": "\t",
                "columns": ["name", "label"],
                "path": "val/{name}",
                "labels": {"class": "{label}"},
            },
        ],
    }
    content = {**images("train/cat/1.jpg", "val/1.jpg"), "val.txt": b'1.jpg\t"cat\n'}
    assert found(read(tmp_path, {"a.zip": content}, layout)) == [
        ("train/cat/1.jpg", "cat", "train"),
        ("val/1.jpg", '"cat', "val"),
    ]


def test_nested_zips_are_seen_as_folders(tmp_path):
    inner = make_zip(tmp_path / "in.zip", images("top/cat/1.jpg", "top/dog/2.jpg")).read_bytes()
    layout = {
        "family": "nested-archives",
        "files": ["a.zip"],
        "pattern": "{split}.zip!/top/{class}/*",
        "split": "{split}",
        "labels": {"class": "{class}"},
    }
    content = {"train.zip": inner, "test.zip": inner}
    assert found(read(tmp_path, {"a.zip": content}, layout)) == [
        ("test.zip!/top/cat/1.jpg", "cat", "test"),
        ("test.zip!/top/dog/2.jpg", "dog", "test"),
        ("train.zip!/top/cat/1.jpg", "cat", "train"),
        ("train.zip!/top/dog/2.jpg", "dog", "train"),
    ]
