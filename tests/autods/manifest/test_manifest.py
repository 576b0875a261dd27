import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from archives import REPOSITORY, folders_layout, make_zip, manifest_of
from pydantic import ValidationError

from autods.errors import ManifestError
from autods.manifest.catalogue import Catalogue, load
from autods.manifest.schema import Manifest, Mirror, TaskSpec

EXAMPLES = REPOSITORY / "docs" / "examples" / "manifests"


def written(tmp_path: Path, **changes: Any) -> Path:
    source = make_zip(tmp_path / "a.zip", {"cat/1.jpg": b"x"})
    content = manifest_of({"a.zip": source}, folders_layout("a.zip")).model_dump(
        mode="json", by_alias=True
    )
    target = tmp_path / "things.yaml"
    target.write_text(yaml.safe_dump({**content, **changes}, sort_keys=False), "utf-8")
    return target


def message(path: Path) -> str:
    with pytest.raises(ManifestError) as caught:
        load(path, Manifest)
    return str(caught.value)


@pytest.mark.parametrize("name", ["flowers", "grocery", "omniglot", "tinyimagenet"])
def test_shipped_and_example_manifests_load(name):
    manifest = Catalogue([EXAMPLES]).dataset(name)
    assert manifest.name == name
    assert all(entry.mirrors for entry in manifest.files)


def test_a_manifest_survives_being_written_and_read_again(tmp_path):
    for name in ("flowers", "tinyimagenet", "grocery", "omniglot"):
        manifest = Catalogue([EXAMPLES]).dataset(name)
        again = Manifest.model_validate(manifest.model_dump(mode="json", by_alias=True))
        assert again.fingerprint() == manifest.fingerprint()


def test_an_unknown_layout_family_is_answered_with_the_nearest_name(tmp_path):
    text = message(written(tmp_path, layout={**folders_layout("a.zip"), "family": "class-folder"}))
    assert "unknown layout family 'class-folder'; did you mean class-folders" in text
    assert re.search(r"things\.yaml:\d+: layout", text)


def test_a_layout_without_a_family_is_told_the_families(tmp_path):
    text = message(written(tmp_path, layout={"files": ["a.zip"]}))
    assert "family: required key is missing; expected one of arrays, class-folders" in text


def test_an_unknown_family_of_a_part_is_answered_too(tmp_path):
    parts = [{**folders_layout("a.zip"), "family": "list-file"}]
    text = message(written(tmp_path, layout={"family": "combined", "parts": parts}))
    assert "did you mean list-files" in text


@pytest.mark.parametrize(
    "layout", [None, "class-folders", {}, {"family": None}, {"family": "combined", "parts": "x"}]
)
def test_a_layout_of_the_wrong_shape_is_a_manifest_error(tmp_path, layout):
    assert "layout" in message(written(tmp_path, layout=layout))


def test_a_wrong_key_inside_a_layout_is_named_with_its_line(tmp_path):
    path = written(tmp_path, layout=folders_layout("a.zip", patern="{class}"))
    text = message(path)
    line = next(i for i, t in enumerate(path.read_text().splitlines(), 1) if "patern" in t)
    assert f"things.yaml:{line}: layout.class-folders.patern: unknown key" in text


def test_a_template_with_a_field_that_the_pattern_does_not_take_is_refused(tmp_path):
    text = message(written(tmp_path, layout=folders_layout("a.zip", "{kind}/*")))
    assert "field '{class}' is not known; expected one of kind" in text


def test_a_pattern_with_a_bad_field_name_is_refused(tmp_path):
    assert "Class" in message(written(tmp_path, layout=folders_layout("a.zip", "{Class}/*")))


def test_a_layout_that_reads_a_file_the_manifest_lacks_is_refused(tmp_path):
    assert "'b.zip' is not among files" in message(
        written(tmp_path, layout=folders_layout("b.zip"))
    )


def test_a_new_optional_field_changes_no_fingerprint_until_it_is_used(tmp_path):
    class Wider(TaskSpec):
        hint: str | None = None

    old = load(written(tmp_path), Manifest)
    new = old.model_copy(update={"tasks": {"class": Wider()}})
    used = old.model_copy(update={"tasks": {"class": Wider(hint="x")}})
    assert old.fingerprint() == new.fingerprint() != used.fingerprint()


@pytest.mark.parametrize("other", ["dev", "test"])
def test_a_split_name_in_two_splits_of_one_rule_is_refused(tmp_path, other):
    rule = {"rule": "official", "train": ["a", "b"], "test": ["c"], other: ["b"]}
    text = message(written(tmp_path, splits={"clean": rule}))
    assert f"'b' is given to train and {other}" in text
    assert re.search(r"things\.yaml:\d+: splits\.clean", text)


def test_class_names_that_occur_twice_are_refused(tmp_path):
    tasks = {"class": {"classes": ["cat", "dog", "cat"]}}
    assert "each class once, got 'cat' twice" in message(written(tmp_path, tasks=tasks))


@pytest.mark.parametrize(("classes", "told"), [
    (["caf\u00e9", "cafe\u0301"], "each class once"), (["cat", ""], "got an empty one"),
    (["cat", " "], "got an empty one"),
])  # fmt: skip
def test_class_names_that_indexing_cannot_tell_apart_or_show_are_refused(tmp_path, classes, told):
    assert told in message(written(tmp_path, tasks={"class": {"classes": classes}}))


@pytest.mark.parametrize("again", ["a.zip", "./a.zip"])
def test_two_files_of_one_name_are_refused(tmp_path, again):
    files = yaml.safe_load(written(tmp_path).read_text())["files"]
    text = message(written(tmp_path, files=[*files, {**files[0], "name": again}]))
    assert f"each file once, got '{again}' again" in text


@pytest.mark.parametrize("task", ["a/b", "", "two words ", " two", "..", "größe", "a\n"])
def test_a_task_name_that_is_not_plain_is_refused(tmp_path, task):
    layout = folders_layout("a.zip", labels={task: "{class}"})
    path = written(tmp_path, layout=layout, tasks={task: {}}, default_task=task)
    assert (
        "expected a task name of letters, digits, '_', '-', '.' and blanks between them"
        in message(path)
    )


def test_a_task_that_no_image_gets_is_refused(tmp_path):
    text = message(written(tmp_path, tasks={"class": {}, "family": {}}))
    assert "task 'family' gets no labels: the layout gives those of class" in text


@pytest.mark.parametrize("family", ["class-folders", "combined"])
def test_labels_of_a_task_that_is_not_declared_are_answered_with_the_nearest_name(tmp_path, family):
    layout = folders_layout("a.zip", labels={"class": "{class}", "clas": "{class}"})
    if family == "combined":
        layout = {"family": "combined", "parts": [layout]}
    assert "unknown task 'clas'; did you mean class" in message(written(tmp_path, layout=layout))


def test_a_manifest_that_is_not_utf_8_is_one_message(tmp_path):
    path = written(tmp_path)
    path.write_bytes(b"name: caf\xe9\n")
    assert "things.yaml: expected UTF-8 text" in message(path)


@pytest.mark.parametrize(("kind", "url"), [
    ("http", "http://[::1/x"), ("http", "https://a:99999/x"), ("http", "http://a:b/x"),
    ("http", "http:///x"), ("http", "http://\u2100.com/x"), ("ftp", "ftp://[x/y"),
    ("git", "https://[x/y"),
])  # fmt: skip
def test_an_address_whose_host_cannot_be_read_is_refused_with_the_manifest(kind, url):
    with pytest.raises(ValidationError, match="expected an address of a host"):
        Mirror(kind=kind, url=url)


@pytest.mark.parametrize(("kind", "url"), [
    ("git", "git@host:a/b"), ("git", "file:///a/b"), ("git", "/a/b"), ("http", "http://[::1]:80/x"),
    ("http", "http://user:pass@host/x"), ("ftp", "ftp://host/x y"), ("file", "http://[x"),
])  # fmt: skip
def test_other_addresses_and_places_are_taken(kind, url):
    assert Mirror(kind=kind, url=url).url == url
