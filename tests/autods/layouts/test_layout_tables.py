"""What families whose images are named by rows can do beside plain rows."""

from typing import Any

import pytest
from archives import folders_layout, make_zip
from layout_tools import CSV, found, images, read
from pydantic import TypeAdapter, ValidationError

from autods.errors import LayoutError
from autods.layouts import AnyLayout


def listed(**changes: Any) -> dict[str, Any]:
    return {
        "family": "list-files",
        "file": "a.zip",
        "lists": [{"file": "list.txt"}],
        "columns": ["path"],
        "path": "{path}",
        "labels": {"class": "{path}"},
        **changes,
    }


def test_a_pattern_takes_fields_out_of_a_column(tmp_path):
    layout = listed(take={"path": "{category}_final/{image}"}, labels={"class": "{category}"})
    files = {"a.zip": images("coffee_maker_final/1.JPG"), "list.txt": b"coffee_maker_final/1.JPG"}
    assert found(read(tmp_path, files, layout)) == [
        ("coffee_maker_final/1.JPG", "coffee_maker", None)
    ]


def test_a_column_that_does_not_match_is_an_error_with_its_line(tmp_path):
    layout = listed(take={"path": "{category}/{image}"}, labels={"class": "{category}"})
    files = {"a.zip": images("c/1.jpg"), "list.txt": b"c/1.jpg\n1.jpg\n"}
    with pytest.raises(LayoutError, match=r"list\.txt: line 2: .* to match '\{category\}/"):
        read(tmp_path, files, layout)


JOINED = {
    "lists": [{"file": "list.txt", "split": "part{flag}"}],
    "columns": ["id", "path"],
    "join": [{"file": "a.zip", "member": "flags.txt", "columns": ["id", "flag"], "by": "id"}],
}


def test_a_joined_list_adds_the_split(tmp_path):
    content = {**images("x 1.jpg", "y.jpg"), "flags.txt": b"2 0\n1 1\n3 1\n"}
    files = {"a.zip": content, "list.txt": b"1 x 1.jpg\n2 y.jpg\n"}
    assert found(read(tmp_path, files, listed(**JOINED))) == [
        ("x 1.jpg", "x 1.jpg", "part1"),
        ("y.jpg", "y.jpg", "part0"),
    ]


def test_a_joined_table_may_name_its_columns_in_its_first_row(tmp_path):
    join = [{"file": "part.csv", "delimiter": ",", "by": "id"}]
    files = {
        "a.zip": images("images/1.jpg"),
        "table.csv": b"id,kind\n1,cat\n",
        "part.csv": b"id,part\n1,test\n",
    }
    assert found(read(tmp_path, files, {**CSV, "join": join})) == [("images/1.jpg", "cat", "test")]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (b"1 1\n", "line 2: expected a partner in a.zip/flags.txt by column 'id', got no row"),
        (b"1 1\n2 0\n1 0\n", "line 3: expected each 'id' once, got '1' again"),
    ],
)
def test_a_join_without_exactly_one_partner_is_an_error(tmp_path, flags, message):
    content = {**images("x.jpg", "y.jpg"), "flags.txt": flags}
    with pytest.raises(LayoutError, match=message):
        read(tmp_path, {"a.zip": content, "list.txt": b"1 x.jpg\n2 y.jpg\n"}, listed(**JOINED))


@pytest.mark.parametrize(
    ("table", "part", "message"),
    [
        (b"id,kind,kind\n1,cat,dog\n", b"id,part\n1,x\n", "table.csv: .* column 'kind' once"),
        (b"id,kind\n1,cat\n", b"id,part,part\n1,x,y\n", "part.csv: .* column 'part' once"),
        (b"id,kind\n1,cat\n", b"id,part,kind\n1,x,dog\n", "'kind' in one table, got it in"),
    ],
)
def test_a_column_name_that_stands_for_two_columns_is_an_error(tmp_path, table, part, message):
    layout = {**CSV, "join": [{"file": "part.csv", "delimiter": ",", "by": "id"}]}
    files = {"a.zip": images("images/1.jpg"), "table.csv": table, "part.csv": part}
    with pytest.raises(LayoutError, match=message):
        read(tmp_path, files, layout)


def test_unnamed_columns_may_be_several(tmp_path):
    files = {"a.zip": images("images/1.jpg"), "table.csv": b",id,,kind,part\n0,1,0,cat,x\n"}
    assert found(read(tmp_path, files, CSV)) == [("images/1.jpg", "cat", "x")]


def test_a_table_too_large_for_memory_is_refused_by_its_size(tmp_path, monkeypatch):
    monkeypatch.setattr("autods.layouts.tables.TEXT_BYTES", 10)
    files = {"a.zip": images("images/1.jpg"), "table.csv": b"id,kind,part\n"}
    with pytest.raises(LayoutError, match=r"table\.csv: .* up to 10 bytes, got 13"):
        read(tmp_path, files, CSV)


def test_a_path_with_stars_is_the_one_member_that_matches(tmp_path):
    layout = listed(path="**/part_*/{path}.jpg")
    files = {"a.zip": images("in/part_1/a.jpg", "in/part_2/b.jpg", "c.jpg"), "list.txt": b"a\nb"}
    assert [member for member, _, _ in found(read(tmp_path, files, layout))] == [
        "in/part_1/a.jpg",
        "in/part_2/b.jpg",
    ]


def test_a_path_with_stars_may_use_any_column_of_a_header(tmp_path):
    layout = {**CSV, "path": "**/{Image ID}_*/{File}", "labels": {"class": "{Kind}"}, "split": None}
    table = b"Image ID,File,Kind\n7+,a (1).jpg,cat\n7,b.jpg,dog\n"
    files = {"a.zip": images("x/7+_/a (1).jpg", "x/77_/b.jpg", "x/7_y/b.jpg"), "table.csv": table}
    assert found(read(tmp_path, files, layout)) == [
        ("x/7+_/a (1).jpg", "cat", None),
        ("x/7_y/b.jpg", "dog", None),
    ]


def test_two_members_for_one_path_are_an_error_that_names_both(tmp_path):
    files = {"a.zip": images("1/a.jpg", "2/a.jpg"), "list.txt": b"a\n"}
    with pytest.raises(LayoutError, match=r"line 1: .* got 1/a\.jpg and 2/a\.jpg"):
        read(tmp_path, files, listed(path="*/{path}.jpg"))


def test_excluded_rows_need_no_image_and_empty_labels_get_a_name(tmp_path):
    layout = {**CSV, "exclude": ["images/9.jpg"], "empty": "Others", "split": None}
    files = {"a.zip": images("images/1.jpg"), "table.csv": b"id,kind,part\n1,,x\n9,cat,x\n"}
    assert found(read(tmp_path, files, layout)) == [("images/1.jpg", "Others", None)]


def test_the_last_column_of_a_table_with_stray_delimiters_takes_the_rest(tmp_path):
    layout = {**CSV, "columns": ["id", "kind", "rest"], "rest": True, "skip_lines": 1}
    layout["split"] = None
    table = b'id,kind,name\r\n1,cat,5" tall, red\r\n2,dog,\r\n'
    files = {"a.zip": images("images/1.jpg", "images/2.jpg"), "table.csv": table}
    assert found(read(tmp_path, files, layout)) == [
        ("images/1.jpg", "cat", None),
        ("images/2.jpg", "dog", None),
    ]


def test_a_list_is_found_by_a_name_with_stars(tmp_path):
    layout = listed(lists=[{"file": "a.zip", "member": "25x25*/train.txt"}])
    content = {**images("1.png"), "25x25 overlap/train.txt": b"1.png"}
    assert len(read(tmp_path, {"a.zip": content}, layout)) == 1
    with pytest.raises(LayoutError, match="expected exactly one member of this name, got none"):
        read(tmp_path / "b", {"a.zip": images("1.png")}, layout)


def test_images_inside_an_inner_archive_are_named_by_rows(tmp_path):
    inner = make_zip(tmp_path / "in.zip", images("set/1.jpg")).read_bytes()
    layout = listed(path="set.zip!/**/{path}", nested=["set.zip"])
    files = {"a.zip": {"set.zip": inner, "other.zip": b"not opened"}, "list.txt": b"1.jpg"}
    assert found(read(tmp_path, files, layout)) == [("set.zip!/set/1.jpg", "1.jpg", None)]


def test_a_group_comes_from_a_row_or_from_a_path(tmp_path):
    rows = {**CSV, "group": "{part}", "split": None}
    files = {"a.zip": images("images/1.jpg"), "table.csv": b"id,kind,part\n1,cat,p7\n"}
    assert [s.group for s in read(tmp_path, files, rows)] == ["p7"]
    pattern = "images/{class}-{patient:int}.jpg"
    paths = folders_layout("a.zip", pattern, group="{class}/{patient}")
    files = {"a.zip": images("images/x-007.jpg", "images/x-y.jpg")}
    assert [s.group for s in read(tmp_path / "b", files, paths)] == ["x/7"]


LISTED_SPLITS = {
    "family": "class-folders",
    "files": ["a.zip"],
    "pattern": "dataset/{brick} {id:word}.png",
    "labels": {"class": "{brick}"},
    "split": "train",
    "split_lists": [
        {"file": "a.zip", "member": "val.txt", "path": "dataset/{line}", "split": "val"}
    ],
}


def test_a_list_gives_the_images_of_a_split_and_the_others_are_the_rest(tmp_path):
    content = images("dataset/300 Brick 2x2 001.png", "dataset/300 Brick 2x2 002L.png")
    files = {"a.zip": {**content, "val.txt": b"300 Brick 2x2 002L.png\r\n"}}
    assert found(read(tmp_path, files, LISTED_SPLITS)) == [
        ("dataset/300 Brick 2x2 001.png", "300 Brick 2x2", "train"),
        ("dataset/300 Brick 2x2 002L.png", "300 Brick 2x2", "val"),
    ]


def test_a_listed_image_that_is_not_there_is_an_error(tmp_path):
    files = {"a.zip": {**images("dataset/1 Brick 1.png"), "val.txt": b"1 Brick 9.png\n"}}
    with pytest.raises(LayoutError, match=r"got none for 1, for example 'dataset/1 Brick 9\.png'"):
        read(tmp_path, files, LISTED_SPLITS)


def test_an_image_in_the_lists_of_two_splits_is_an_error(tmp_path):
    lists = [
        {"file": "a.zip", "member": f"{split}.txt", "path": "dataset/{line}", "split": split}
        for split in ("val", "test")
    ]
    line = b"1 Brick 9.png\n"
    files = {"a.zip": {**images("dataset/1 Brick 9.png"), "val.txt": line, "test.txt": line}}
    with pytest.raises(LayoutError, match=r"test\.txt: line 1: .*'1 Brick 9\.png'.*'val'"):
        read(tmp_path, files, {**LISTED_SPLITS, "split_lists": lists})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": "{file}"}, "path '{file}': field '{file}' is not known"),
        ({"group": "{id}"}, "group '{id}'"),
        ({"take": {"path": "{Big}"}}, "lower-case letters"),
        ({"lists": [{"file": "l", "split": "{x}"}]}, "split '{x}'"),
    ],
)
def test_a_template_that_nothing_fills_is_refused_with_the_manifest(changes, message):
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(AnyLayout).validate_python(listed(**changes))
