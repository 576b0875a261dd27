import os
from pathlib import Path

import pytest
from archives import make_folder, placed

from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.errors import LayoutError, UsageError
from autods.index.samples import IndexSummary, index_dataset
from autods.manifest.catalogue import Catalogue
from autods.manifest.new.folder import manifest_from_folder


def images(tmp_path: Path, *places: str, each: int = 10) -> Path:
    files = {f"{place}/{i}.png": f"{place}{i}".encode() for place in places for i in range(each)}
    return make_folder(tmp_path / "pictures", files)


def summary(tmp_path: Path, folder: Path) -> IndexSummary:
    manifest_from_folder("mine", folder, tmp_path / "manifests")
    manifest = Catalogue([tmp_path / "manifests"]).dataset("mine")
    assert Path(manifest.files[0].mirrors[0].url) == folder.resolve()
    root = DataRoot(tmp_path / "root")
    assert placed(root, manifest, {"images": folder}).fingerprint() == manifest.fingerprint()
    return index_dataset(manifest, root, Silent())


def test_class_folders_get_a_seeded_fifth_as_test(tmp_path):
    found = summary(tmp_path, images(tmp_path, "cat", "dog/deep/er"))
    assert found.counts == {"clean": {"train": 14, "dev": 2, "test": 4, "unused": 0}}
    assert found.classes == {"class": 2}


def test_train_and_test_folders_are_official_splits(tmp_path):
    found = summary(tmp_path, images(tmp_path, "Train/cat", "Train/dog", "test/cat", "test/dog"))
    assert found.counts == {"clean": {"train": 18, "dev": 2, "test": 20, "unused": 0}}


def test_a_val_folder_becomes_dev_when_there_is_a_test_folder(tmp_path):
    found = summary(tmp_path, images(tmp_path, "train/cat", "valid/cat", "test/cat"))
    assert found.counts == {"clean": {"train": 10, "dev": 10, "test": 10, "unused": 0}}


def test_without_a_test_folder_train_and_val_are_divided_anew(tmp_path):
    found = summary(tmp_path, images(tmp_path, "train/cat", "val/cat"))
    assert found.counts["clean"]["test"] == 4
    assert found.classes == {"class": 1}


def test_a_folder_of_classes_one_of_which_is_called_test_has_no_official_split(tmp_path):
    found = summary(tmp_path, images(tmp_path, "test", "exam"))
    assert found.classes == {"class": 2}


def test_the_same_folder_gives_the_same_manifest(tmp_path):
    folder = images(tmp_path, "cat", "dog")
    texts = [
        manifest_from_folder("mine", folder, tmp_path / out)[0].read_text().replace(out, "")
        for out in ("one", "two")
    ]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("place", [b"caf\xe9/1.jpg", b"cat/caf\xe9.jpg"])
def test_a_name_that_is_not_utf_8_is_one_message(tmp_path, place):
    folder = images(tmp_path, "cat")
    target = folder / os.fsdecode(place)
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(b"x")
    with pytest.raises(LayoutError, match=r"'.*caf\\xe9.*expected names in UTF-8") as caught:
        manifest_from_folder("mine", folder, tmp_path / "manifests")
    str(caught.value).encode()
    assert not (tmp_path / "manifests").exists()


def test_mistakes_are_answered_and_nothing_is_written(tmp_path):
    folder = images(tmp_path, "cat")
    out = tmp_path / "manifests"
    with pytest.raises(UsageError, match="lower-case"):
        manifest_from_folder("My Pictures", folder, out)
    with pytest.raises(UsageError, match="expected a folder"):
        manifest_from_folder("mine", folder / "nowhere", out)
    with pytest.raises(LayoutError, match="class folders"):
        manifest_from_folder("mine", folder / "cat", out)
    assert not out.exists()
    target, _ = manifest_from_folder("mine", folder, out)
    text = target.read_text()
    with pytest.raises(UsageError, match="exists already"):
        manifest_from_folder("mine", folder, out)
    assert target.read_text() == text


def test_a_folder_for_the_manifest_that_is_a_file_is_refused(tmp_path):
    taken = tmp_path / "taken"
    taken.write_text("x")
    with pytest.raises(UsageError, match="expected a folder for the manifest, got a file"):
        manifest_from_folder("mine", images(tmp_path, "cat"), taken)
    assert taken.read_text() == "x"


def test_the_remarks_count_what_is_used_and_name_what_is_left_out(tmp_path):
    folder = images(tmp_path, "cat", "dog/deep/er")
    make_folder(
        folder, {"top.png": b"1", "cat/notes.txt": b"2", ".hidden": b"3", "eel/1.JPG": b"4"}
    )
    _, remarks = manifest_from_folder("mine", folder, tmp_path / "out of here")
    assert remarks == [
        "21 images in 3 classes; 20% of each class is drawn for test.",
        "class  images",
        "cat        10",
        "dog        10",
        "eel         1",
        "'eel': one image only, which is for training; nothing is left to test.",
        "pictures: images: 21 of 24 members used; not used: 1 hidden ('.hidden'), "
        "1 unmatched ('top.png'), 1 unsupported ('cat/notes.txt').",
        "`autods fetch` copies the images into the data root; `autods new --in-place` leaves them "
        "where they are.",
        f"Next: autods fetch mine --manifests '{tmp_path}/out of here'",
    ]


def test_classes_are_counted_below_official_splits_and_may_have_one_image_there(tmp_path):
    folder = images(tmp_path, "train/cat", "test/cat", each=1)
    _, remarks = manifest_from_folder("mine", folder, tmp_path / "out")
    assert remarks[0] == "2 images in 1 class; splits: train, test."
    assert remarks[1:3] == ["class   train    test", "cat         1       1"]
    assert len(remarks) == 5


def test_a_name_that_a_shipped_dataset_has_is_told(tmp_path):
    folder = images(tmp_path, "cat", "dog")
    _, remarks = manifest_from_folder("flowers", folder, tmp_path / "out")
    assert remarks[-2].startswith("autods has a dataset 'flowers', too: yours takes")
