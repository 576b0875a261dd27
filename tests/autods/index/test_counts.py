"""Counts of an index are compared with each number that the manifest expects."""

from pathlib import Path

import pytest
from flawed import make_flawed

from autods.core.progress import Silent
from autods.errors import IndexMissing
from autods.index.counts import count_differences
from autods.index.samples import index_dataset

# clean: 10 + 3 cats and dogs of train and an eel, 5 and 5 of test; paper holds out a dev set
RIGHT = {
    "classes": 3,
    "total": 35,
    "train": 25,
    "test": 10,
    "published_train": 25,
    "published_test": 10,
    "per_class": {"cat": 16, "dog": 18, "eel": 1},
    "source": "their page",
}


def differences(tmp_path: Path, expected: dict, **changes) -> list[tuple[str, int, int]]:
    root, manifest = make_flawed(tmp_path, expected=expected, **changes)
    index_dataset(manifest, root, Silent())
    return [(d.what, d.expected, d.found) for d in count_differences(manifest, root)]


def test_the_right_counts_differ_in_nothing(tmp_path):
    assert differences(tmp_path, RIGHT) == []


def test_what_the_manifest_leaves_open_is_not_compared(tmp_path):
    assert differences(tmp_path, {}) == []


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"classes": 4}, ("classes", 4, 3)),
        ({"total": 36}, ("images", 36, 35)),
        ({"train": 24}, ("training images", 24, 25)),
        ({"test": 0}, ("test images", 0, 10)),
        ({"published_train": 26}, ("training images of protocol paper", 26, 25)),
        ({"published_test": 11}, ("test images of protocol paper", 11, 10)),
        ({"per_class": {"dog": 17}}, ("images of class 'dog'", 17, 18)),
        ({"per_class": {"fox": 2}}, ("images of class 'fox'", 2, 0)),
    ],
)
def test_each_wrong_count_is_found(tmp_path, change, found):
    assert differences(tmp_path, {**RIGHT, **change}) == [found]


def test_published_counts_are_compared_only_where_the_published_splits_are_made(tmp_path):
    splits = {"clean": {"rule": "official", "dev_fraction": 0}}
    expected = {**RIGHT, "published_train": 1, "published_test": 1}
    assert differences(tmp_path, expected, splits=splits) == []


def test_images_that_clean_does_not_use_are_not_counted(tmp_path):
    splits = {"clean": {"rule": "official", "train": [], "test": ["test"], "dev_fraction": 0}}
    expected = {"total": 35, "train": 25, "per_class": {"eel": 1}}
    assert differences(tmp_path, expected, splits=splits) == [
        ("images", 35, 10),
        ("training images", 25, 0),
        ("images of class 'eel'", 1, 0),
    ]


def test_many_wrong_classes_are_summed_up(tmp_path):
    wrong = {f"class {i}": 1 for i in range(7)}
    found = differences(tmp_path, {"per_class": {**wrong, "eel": 1}})
    assert [what for what, _, _ in found[:5]] == [f"images of class 'class {i}'" for i in range(5)]
    assert found[5:] == [("classes with the right number of images", 8, 1)]


def test_a_difference_says_what_was_expected_by_whom_and_what_is_there(tmp_path):
    root, manifest = make_flawed(tmp_path, expected={**RIGHT, "total": 3500})
    index_dataset(manifest, root, Silent())
    (difference,) = count_differences(manifest, root)
    assert f"{difference}" == "expected 3,500 images (their page), the index has 35"


def test_counts_without_an_index_are_refused(tmp_path):
    root, manifest = make_flawed(tmp_path, expected=RIGHT)
    with pytest.raises(IndexMissing, match="autods index pets"):
        count_differences(manifest, root)
