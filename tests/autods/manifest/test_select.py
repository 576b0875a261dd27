"""One selection for all commands: names, globs, streams, and what is left out."""

import pytest
from many_tools import described, write_manifests

from autods.errors import UnknownName, UsageError
from autods.manifest.catalogue import Catalogue
from autods.manifest.select import Selection, expand, parse_size, select
from autods.verbs import datasets

SIZES = {"omni_a": 10, "omni_b": 2_000, "pets": 1_000_000, "far": None}


@pytest.fixture
def catalogue(tmp_path, monkeypatch):
    """Four datasets of known and unknown sizes beside the shipped ones, and a stream of them."""
    values = {n: described(n, {"a.zip": (b"x", "http://127.0.0.1/a.zip")}) for n in SIZES}
    for name, value in values.items():
        value["files"][0]["size"] = SIZES[name]
    values["pets"]["access"] = "kaggle"
    folder = write_manifests(tmp_path / "manifests", values)
    (folder / "streams").mkdir()
    stream = "name: mine\ndatasets: [pets, omni_b, far, omni_a]\n"
    (folder / "streams" / "mine.yaml").write_text(stream)
    return Catalogue([folder])


def test_names_and_globs_keep_their_order_and_come_once(catalogue):
    assert select(Selection(["pets", "omni*", "omni_a"]), catalogue).names == [
        "pets", "omni_a", "omni_b",
    ]  # fmt: skip


def test_a_stream_gives_its_datasets_in_its_order(catalogue):
    assert select(Selection(stream="mine"), catalogue).names == ["pets", "omni_b", "far", "omni_a"]


def test_options_leave_datasets_out_and_say_which_and_why(catalogue):
    found = select(
        Selection(stream="mine", exclude=["omni_a, omni_a"], max_size="1KB"),
        catalogue,
    )
    assert found.names == ["far"]
    assert found.left_out == {
        "--max-size": ["pets (1.0 MB)", "omni_b (2.0 kB)"],
        "--exclude": ["omni_a"],
    }
    assert found.unsized == ["far"]
    opened = select(Selection(stream="mine", access="open"), catalogue)
    assert opened.left_out == {"--access": ["pets (kaggle)"]}


def test_globs_match_what_is_here_for_commands_that_work_on_it(catalogue):
    here = ["omni_b", "own"]
    assert select(Selection(["o*"]), catalogue, lambda: here).names == ["omni_b", "own"]
    assert select(Selection(), catalogue, lambda: here).names == ["omni_b", "own"]
    assert select(Selection(["own"]), catalogue, lambda: here).names == ["own"]
    with pytest.raises(
        UnknownName, match=r"that is here matches 'pet\*', only pets; .*autods fetch"
    ):
        select(Selection(["pet*"]), catalogue, lambda: here)


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (Selection(), "expected names of datasets or --all or --stream, got none"),
        (Selection(["pets"], True), "got several"),
        (Selection(["pets"], stream="mine"), "got several"),
        (Selection(["omin*"]), r"no dataset matches 'omin\*'"),
        (Selection(["?zq*"]), r"cinic10, ... Nothing was done"),
        (Selection(["pest"]), "unknown dataset 'pest'; did you mean pets"),
        (Selection(stream="mime"), "did you mean mine"),
        (Selection(stream="mine", exclude=["pest"]), "unknown dataset 'pest'"),
        (Selection(stream="mine", exclude=["zz*"]), r"no dataset matches 'zz\*'"),
        (Selection(stream="mine", access="opne"), "unknown access 'opne'; did you mean open"),
        (Selection(["omni*"], max_size="5B"), "left of 2 datasets: --max-size of 5 bytes leaves"),
        (Selection(["pets"], exclude=["*"]), "nothing is left of the dataset: --exclude leaves"),
        (Selection(["pets"], max_size="fifty"), "size 'fifty': expected a number"),
        (Selection(["pets"], max_size="-1GB"), "size '-1GB': expected a number"),
    ],
)
def test_a_wrong_selection_is_refused_with_what_was_expected(catalogue, selection, message):
    with pytest.raises(UsageError, match=message):
        select(selection, catalogue)


def test_a_glob_that_matches_nothing_is_told_in_whole_sentences():
    few = ["birds", "cats"]
    with pytest.raises(UsageError, match=r"matches 'z\*'; known: birds, cats\. Nothing was done\."):
        expand(["z*"], few, few)


def test_sizes_are_read_as_people_write_them():
    texts = ["50GB", "1.5 tb", "700MiB", "12", "3kB"]
    assert [parse_size(t) for t in texts] == [50 * 10**9, 15 * 10**11, 700 * 2**20, 12, 3000]


def test_a_manifest_that_cannot_be_read_is_left_to_the_command(catalogue):
    path = catalogue.path("omni_a")
    path.write_text("name: omni_a\n")
    assert "omni_a" in select(Selection(["omni*"], max_size="5KB"), catalogue).names


def test_the_face_lists_by_the_same_rules(catalogue):
    chosen = datasets("mine", exclude="omni_a", max_size="1GB", access="open", catalogue=catalogue)
    assert chosen == ["omni_b", "far"]
    assert datasets(catalogue=catalogue) == catalogue.datasets()
