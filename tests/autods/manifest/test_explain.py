"""What a user reads who made a mistake in a manifest or a stream."""

import copy
from typing import Any

import pytest
import yaml

from autods.errors import ManifestError
from autods.manifest.catalogue import Catalogue, load
from autods.manifest.schema import Manifest, StreamSpec

MANIFEST: dict[str, Any] = {
    "name": "skin",
    "title": "Skin lesions",
    "homepage": None,
    "citation": None,
    "licence": None,
    "access": "open",
    "files": [
        {
            "name": "skin.zip",
            "checksum": "sha256:" + "0" * 64,
            "mirrors": [{"kind": "file", "url": "skin.zip"}],
        }
    ],
    "layout": {
        "family": "csv-table",
        "file": "skin.zip",
        "table": {"file": "skin.zip", "member": "labels.csv"},
        "path": "images/{id}.png",
        "labels": {"class": "{diagnosis}"},
    },
    "tasks": {"class": {"classes": ["mole", "cancer"]}},
    "default_task": "class",
    "splits": {"clean": {"rule": "random", "test_fraction": 0.25}},
}


def changed(place: str, value: Any) -> dict[str, Any]:
    """Return the manifest with another value at a place such as ``files/0/name``."""
    content = copy.deepcopy(MANIFEST)
    *way, last = place.split("/")
    node: Any = content
    for part in way:
        node = node[int(part) if part.isdecimal() else part]
    node[last] = value
    return content


def answer(tmp_path, content: Any, model: type = Manifest) -> list[str]:
    """Return the lines of the error, without the path and the last one."""
    path = tmp_path / "skin.yaml"
    text = content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ManifestError) as caught:
        load(path, model)
    *lines, last = str(caught.value).splitlines()
    assert all(line.startswith(f"{path}:") for line in lines)
    assert last == "The file was not used."
    return [line.removeprefix(f"{path}:") for line in lines]


def test_the_manifest_of_these_tests_is_sound(tmp_path):
    path = tmp_path / "skin.yaml"
    path.write_text(yaml.safe_dump(MANIFEST), encoding="utf-8")
    assert load(path, Manifest).name == "skin"


@pytest.mark.parametrize(
    ("place", "value", "line"),
    [
        ("titel", "x", "titel: unknown key 'titel'; did you mean title"),
        ("layout/label", "x", "layout.csv-table.label: unknown key 'label'; did you mean labels"),
        ("title", None, "title: expected text; put it in quotes, got null"),
        ("title", 5, "title: expected text; put it in quotes, got '5'"),
        ("quirks", "one", "quirks: expected a list, got 'one'"),
        ("tasks", ["class"], "tasks: expected keys with values"),
        (
            "tasks/class",
            None,
            "tasks.class: expected keys with values (classes, keys, readable), got null",
        ),
        ("layout", "csv", "layout: expected keys with values, got 'csv'"),
        ("layout/table", "a", "layout.csv-table.table: expected keys with values (file, member"),
        ("layout/delimiter", ";;", "layout.csv-table.delimiter: expected at most 1 character"),
        ("access", "free", "access: expected 'open', 'kaggle', 'kaggle-competition' or 'form'"),
        ("files", [], "files: expected at least 1 entry, got 0"),
        ("files/0/size", "1 MB", "files.0.size: expected a whole number, got '1 MB'"),
        ("splits/clan", {"rule": "official"}, "splits.clan: expected 'clean' or 'paper'"),
        ("splits/clean/test_fraction", 25, "splits.clean.test_fraction: expected less than 1"),
    ],
)
def test_a_mistake_is_told_in_the_words_of_yaml(tmp_path, place, value, line):
    (told,) = answer(tmp_path, changed(place, value))
    assert told.partition(": ")[2].startswith(line)


@pytest.mark.parametrize(
    ("place", "value", "lines"),
    [
        ("tasks/class/classes", [0, "a"], ["classes.0: expected text; put it in quotes, got '0'"]),
        (
            "tasks/class/classes",
            {"fil": "x"},
            ["classes.file: required key is missing", "classes.fil: unknown key 'fil'; did you"],
        ),
        ("tasks/class/keys", {0: "mole"}, ["keys.0: expected text; put it in quotes, got '0'"]),
        (
            "tasks/class/keys",
            "number",
            ["keys: expected 'name' or 'index', got", "keys: expected keys with values, got"],
        ),
    ],
)
def test_of_several_forms_only_the_one_that_was_meant_is_explained(tmp_path, place, value, lines):
    told = answer(tmp_path, changed(place, value))
    assert len(told) == len(lines)
    for got, line in zip(told, lines, strict=True):
        assert got.partition(": ")[2].startswith(f"tasks.class.{line}")


def test_a_missing_fact_may_be_null_and_a_missing_title_may_not(tmp_path):
    content = {key: value for key, value in MANIFEST.items() if key not in ("licence", "title")}
    assert answer(tmp_path, content) == [
        "1: title: required key is missing",
        "1: licence: required key is missing; write null if it is unknown",
    ]


def test_a_part_of_a_combined_layout_is_named_with_its_number_and_family(tmp_path):
    part = {**MANIFEST["layout"], "lables": {}}
    (told,) = answer(tmp_path, changed("layout", {"family": "combined", "parts": [part]}))
    assert "layout.combined.parts.0.csv-table.lables: unknown key 'lables'; did you mean l" in told


def test_streams_are_answered_in_the_same_way(tmp_path):
    content = {"name": "s", "title": "S", "datasets": [{"dataset": "a", "clases_per_task": 2}]}
    (told,) = answer(tmp_path, content, StreamSpec)
    assert "datasets.0.clases_per_task: unknown key" in told
    assert "did you mean classes_per_task" in told


@pytest.mark.parametrize("text", ["", "only text", "- a list"])
def test_a_file_without_keys_is_one_line_with_the_keys_it_may_have(tmp_path, text):
    (told,) = answer(tmp_path, text)
    assert told.startswith("1: (whole file): expected keys with values (name, title, homepage, ")


@pytest.mark.parametrize(("text", "line"), [("a: b: c", 1), ("a:\n\tb: c", 2), ("a: [b\nc: d", 2)])
def test_what_is_no_yaml_is_answered_with_its_line(tmp_path, text, line):
    path = tmp_path / "skin.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ManifestError) as caught:
        load(path, Manifest)
    assert str(caught.value).startswith(f"{path}:{line}: not valid YAML: ")
    assert "\n" not in str(caught.value)


def test_a_file_given_as_folder_of_manifests_is_told_from_one_that_is_not_there(tmp_path):
    path = tmp_path / "skin.yaml"
    with pytest.raises(ManifestError, match="does not exist"):
        Catalogue([path])
    path.write_text("name: skin", encoding="utf-8")
    with pytest.raises(ManifestError, match="is a file; expected the folder it lies in"):
        Catalogue([path])
