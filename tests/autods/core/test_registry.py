"""Names that are not known: what the error tells."""

import shlex

import pytest

from autods.core.registry import unknown_dataset, unknown_encoder


@pytest.mark.parametrize("name", ["pictures", "my pictures"])
@pytest.mark.parametrize("kind", ["dataset", "stream", "dataset or stream"])
def test_who_names_a_folder_is_told_how_it_becomes_a_dataset(tmp_path, name, kind):
    folder = tmp_path / name
    folder.mkdir()
    told = str(unknown_dataset(kind, str(folder), ["flowers", "pets"]))
    assert told == (
        f"unknown {kind} '{folder}': expected a name, got a folder; nothing was done. Make a "
        f"dataset of its images with `autods new NAME --folder {shlex.quote(str(folder))}`."
    )


@pytest.mark.parametrize("place", [".", "manifests"])
@pytest.mark.parametrize("known", [[], ["minerals"]])
def test_who_forgets_the_folder_of_a_manifest_is_told_it(tmp_path, monkeypatch, place, known):
    monkeypatch.chdir(tmp_path)
    (tmp_path / place).mkdir(exist_ok=True)
    (tmp_path / place / "mine.yaml").touch()
    told = str(unknown_dataset("dataset", "mine", known))
    assert "mine.yaml was not read" in told
    assert f"Add --manifests {place} if it is its manifest." in told
    assert "or name the file if it is a stream's" in str(unknown_dataset("stream", "mine", known))


@pytest.mark.parametrize(
    "name", ["pictures", "~nobody-of-this-name", "", "x" * 300, "a\0b", "../x"]
)
def test_a_name_is_looked_for_among_folders_whatever_it_is(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    told = str(unknown_dataset("dataset", name, ["pets"]))
    assert ("`autods new NAME --folder pictures`" in told) == (name == "pictures")


@pytest.mark.parametrize("known", [[], ["pets"], [f"set{i}" for i in range(20)]])
def test_who_names_a_dataset_like_no_other_is_told_where_own_manifests_are_named(known):
    told = str(unknown_dataset("dataset", "zzz", known))
    assert told.startswith("unknown dataset 'zzz'; ")
    assert told.endswith(". One of your own is found by the folder of its manifest: "
                         "--manifests FOLDER, or AUTODS_MANIFESTS.")  # fmt: skip


@pytest.mark.parametrize("name", ["shapes", "trashnet"])
def test_a_name_that_resembles_another_from_afar_is_told_where_own_ones_are_found(tmp_path, name):
    told = str(unknown_dataset("dataset", name, ["sports", "oriset"], tmp_path))
    assert "; did you mean " in told
    assert told.endswith(f"--manifests FOLDER, or AUTODS_MANIFESTS. No features of it are under "
                         f"{tmp_path} (--root, or AUTODS_ROOT).")  # fmt: skip


def test_a_wrong_spelling_gets_the_near_names_only():
    told = str(unknown_dataset("dataset", "flowrs", ["flowers", "pets"]))
    assert told == "unknown dataset 'flowrs'; did you mean flowers?"


@pytest.mark.parametrize(
    ("known", "told"),
    [
        ([], "no encoder has features of 'pets' yet, 'tiny.a' neither; nothing was done. "),
        (["big.b"], "no features of 'pets' are by encoder 'tiny.a'; encoders that have some: "
         "big.b. Nothing was done. Name one of them; "),
        (["tiny.b"], "by encoder 'tiny.a'; did you mean tiny.b? Encoders that have some: tiny.b. "),
        ([f"big.{n:02}" for n in range(20)], "big.11, .... Nothing was done. Name one of them; "),
    ],
)  # fmt: skip
def test_who_names_an_encoder_without_features_is_told_which_ones_have_some(known, told):
    text = str(unknown_encoder("tiny.a", known, "of 'pets'"))
    assert told in text
    assert "`autods extract` makes features" in text
