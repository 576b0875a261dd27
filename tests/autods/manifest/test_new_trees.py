"""What `autods new --folder` makes of trees that people have: splits, wrappers, depths, links."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from archives import make_folder
from PIL import Image

from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.errors import AutodsError, LayoutError, UsageError
from autods.fetch import fetch_dataset
from autods.index.samples import index_dataset, load_samples, verify_index
from autods.manifest.catalogue import Catalogue
from autods.manifest.new.folder import manifest_from_folder


def images(folder: Path, *places: str, each: int = 3) -> Path:
    names = [f"{place}/{i}.png" for place in places for i in range(each)]
    return make_folder(folder, {name: name.encode() for name in names})


def learned(tmp_path: Path, folder: Path, **options: str):
    """Write a manifest, index the folder: classes, counts of protocol clean, lines for the user."""
    _, remarks = manifest_from_folder("mine", folder, tmp_path / "m", **options)
    manifest = Catalogue([tmp_path / "m"]).dataset("mine")
    root = DataRoot(tmp_path / "root")
    fetch_dataset(manifest, root, Silent())
    counts = index_dataset(manifest, root, Silent()).counts["clean"]
    assert verify_index(manifest, root) == []
    return load_samples(root, "mine", manifest).classes["class"], counts, remarks


SPLITS = [  # train, test, perhaps dev
    ("train", "eval"), ("train", "holdout"), ("01_train", "02_test"), ("Train", "TEST"),
    ("train_images", "test_images"), ("TrainingSet", "TestingSet"), ("seg_train", "seg_test"),
    ("x_train", "x_test"), ("training data", "hold-out"), ("trainset", "testset"),
    ("train2017", "test2017"), ("1-train", "3-test", "2-valid"), ("train", "test", "eval"),
    ("Training", "Testing", "Validation"), ("train", "held_out", "dev"),
]  # fmt: skip


@pytest.mark.parametrize("wrapper", ["", "archive/dataset/", "My Data {v1}/"])
@pytest.mark.parametrize("names", SPLITS)
def test_split_names_are_recognised_below_any_wrapper(tmp_path, names, wrapper):
    places = [f"{wrapper}{name}/{c}" for name in names for c in ("cat", "dog")]
    classes, counts, remarks = learned(tmp_path, images(tmp_path / "f", *places))
    assert classes == ["cat", "dog"]
    assert counts["test"] == 6 and counts["unused"] == 0
    assert counts["train"] + counts["dev"] == 6 * (len(names) - 1)
    assert [counts["dev"]] == [6] if len(names) == 3 else counts["dev"] < 3
    assert "splits: train" in remarks[0]
    assert any(line.split()[:2] == ["cat", "3"] for line in remarks)


def test_classes_are_named_as_indexing_names_them_and_those_nearly_alike_are_told(tmp_path):
    names = ["caf\u00e9", "cafe\u0301", "Owl", "owl ", "01", "1", "eel"]
    classes, _, remarks = learned(tmp_path, images(tmp_path / "f", *names))
    assert remarks[0].startswith(f"21 images in {len(classes)} classes")
    assert "caf\u00e9        6" in remarks
    alike = "Names that are nearly alike, each a class of its own: '01', '1'; 'Owl', 'owl '."
    assert alike in remarks


HIDDEN = [
    "@eaDir", "cat/@eaDir/1.jpg", "__MACOSX/cat", "$RECYCLE.BIN/S-1", "System Volume Information",
    ".git", "cat/.ipynb_checkpoints", ".Trash/cat",
]  # fmt: skip


def test_previews_and_what_was_deleted_are_no_classes_and_are_counted(tmp_path):
    folder = images(tmp_path / "f", "cat", "dog", *HIDDEN)
    classes, counts, remarks = learned(tmp_path, folder)
    assert classes == ["cat", "dog"] and sum(counts.values()) == 6
    assert any(f"not used: {3 * len(HIDDEN)} hidden (" in line for line in remarks)


def test_a_guess_at_splits_takes_the_larger_folder_for_training(tmp_path):
    folder = images(tmp_path / "f", "essai/a", "essai/b", "scolaire/a", "scolaire/b")
    make_folder(folder, {"scolaire/a/9.png": b"9"})
    with pytest.raises(LayoutError, match="--splits train=scolaire,test=essai"):
        learned(tmp_path, folder, classes=None)


def test_without_a_test_folder_all_images_are_divided_and_that_is_told(tmp_path):
    folder = images(tmp_path / "f", "train/cat", "train/dog", "val/cat")
    _, _, remarks = learned(tmp_path, folder)
    assert "; there are no images of a test split, so 20% of each class is drawn" in remarks[0]


def test_splits_below_each_class_are_recognised(tmp_path):
    places = [f"{c}/{s}" for c in ("cat", "dog", "eel") for s in ("train", "test")]
    classes, counts, _ = learned(tmp_path, images(tmp_path / "f", *places))
    assert classes == ["cat", "dog", "eel"] and counts["test"] == 9


FOLDS = ["fold_a/x", "fold_a/y", "fold_b/x", "fold_b/y"]
UNCLEAR = [  # folders, the option that decides, and classes and tests with it
    (FOLDS, {"splits": "train=fold_a,test=fold_b"}, 2, 6),
    (FOLDS, {"classes": "first"}, 2, 2),
    (["seen/x", "seen/y", "unseen/x", "unseen/y"], {"splits": "train=seen,test=unseen"}, 2, 6),
    (["fruit/apple", "fruit/pear", "veg/leek", "veg/beet"], {"classes": "last"}, 4, 4),
    (["fruit/apple", "fruit/pear", "veg/leek"], {"classes": "path"}, 3, 3),
    (["a/apple/red", "a/apple/green", "a/kiwi", "b/a/red"], {"classes": "path"}, 4, 4),
    (["train/a", "train/b", "test"], {"splits": "train=train"}, 2, 2),
    (["train", "test"], {"splits": "none"}, 2, 2),
    (["train/a", "train/b", "test/a", "more"], {"splits": "train=train,test=test"}, 2, 3),
    (["train/a", "train/b", "predict/a"], {"splits": "train=train,test=predict"}, 2, 3),
    (["holdout/a", "holdout/b", "main/a", "main/b"], {"splits": "train=main,test=holdout"}, 2, 6),
]


@pytest.mark.parametrize(("places", "option", "classes", "test"), UNCLEAR)
def test_what_is_unclear_is_refused_until_an_option_decides(
    tmp_path, places, option, classes, test
):
    folder = images(tmp_path / "f", *places)
    with pytest.raises(LayoutError, match=r"--(splits|classes) .*") as caught:
        manifest_from_folder("mine", folder, tmp_path / "m")
    assert "nothing was written" in str(caught.value) and not (tmp_path / "m").exists()
    assert f"--{next(iter(option))}" in str(caught.value)
    found, counts, remarks = learned(tmp_path, folder, **option)
    assert (len(found), counts["test"], counts["unused"]) == (classes, test, 0), remarks


def test_depths_below_splits_count_by_the_way_that_is_chosen(tmp_path):
    kinds = ["fruit/apple/red", "fruit/apple/green", "fruit/pear", "veg/leek", "veg/root/red"]
    folder = images(tmp_path / "f", *(f"{s}/{kind}" for s in ("train", "test") for kind in kinds))
    found = {}
    for choice in ("first", "last", "path"):
        found[choice], counts, remarks = learned(tmp_path / choice, folder, classes=choice)
        told = "1 class has folders in several places: 'red'."
        assert (told in remarks) == (choice == "last")
        assert counts["test"] == 15
    assert found == {
        "first": ["fruit", "veg"], "last": ["green", "leek", "pear", "red"], "path": sorted(kinds),
    }  # fmt: skip


@pytest.mark.parametrize("hollow", ["test", "02_test", "val", "holdout"])
def test_an_empty_split_is_refused_at_once(tmp_path, hollow):
    folder = images(tmp_path / "f", "train/a", "train/b")
    (folder / hollow / "a").mkdir(parents=True)
    with pytest.raises(LayoutError, match=rf"{hollow}: no images.*--splits train=train"):
        manifest_from_folder("mine", folder, tmp_path / "m")
    _, counts, remarks = learned(tmp_path, folder, splits="train=train")
    assert counts["test"] == 2 and any(f"no image: '{hollow}'" in line for line in remarks)


@pytest.mark.parametrize(
    "places", [["train", "plane", "bus"], ["test", "exam"], ["training shoes", "test tube"]]
)
def test_classes_that_are_called_like_splits_stay_classes(tmp_path, places):
    classes, counts, _ = learned(tmp_path, images(tmp_path / "f", *places))
    assert classes == sorted(places) and counts["test"] == len(places)


def picture(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("ending", "kind"),
    [
        (".jfif", "JPEG"),
        (".JPE", "JPEG"),
        ("", "PNG"),
        (".bin", "WEBP"),
        (".image", "BMP"),
        (".p", "PPM"),
    ],
)
def test_images_with_another_ending_or_none_are_classes_too(tmp_path, ending, kind):
    folder = images(tmp_path / "f", "cat", "dog")
    make_folder(folder, {f"eel/{i}{ending}": picture(kind) for i in range(3)})
    make_folder(folder, {f"eel/notes{i}.txt": b"text" for i in range(2)})
    classes, _, remarks = learned(tmp_path, folder)
    assert classes == ["cat", "dog", "eel"]
    assert remarks[0].startswith("9 images in 3 classes")
    assert any("2 unsupported ('eel/notes0.txt', 'eel/notes1.txt')" in line for line in remarks)


@pytest.mark.parametrize("kind", ["absolute", "relative", "chain", "files", "inside"])
def test_links_to_classes_and_images_are_followed_and_told(tmp_path, kind):
    pool = images(tmp_path / "pool", "cat", "dog")
    folder = images(tmp_path / "f", "eel")
    for name in ("cat", "dog"):
        link = folder / name
        if kind == "absolute":
            link.symlink_to(pool / name)
        elif kind == "relative":
            link.symlink_to(Path("../pool", name))
        elif kind == "chain":
            (tmp_path / f"to {name}").symlink_to(pool / name)
            link.symlink_to(tmp_path / f"to {name}")
        elif kind == "inside":
            link.symlink_to("eel")
        else:
            link.mkdir()
            for i in range(3):
                (link / f"{i}.png").symlink_to(pool / name / f"{i}.png")
    (folder / "eel" / "gone.png").symlink_to("nowhere.png")
    (folder / "eel" / "self").symlink_to(folder / "eel")
    classes, _, remarks = learned(tmp_path, folder)
    assert classes == ["cat", "dog", "eel"] and remarks[0].startswith("9 images")
    text = "\n".join(remarks)
    lost = "6 links not followed ('cat" if kind == "inside" else "2 links not followed ('eel/gone"
    assert lost in text
    assert ("out of the folder" in text) == (kind != "inside")
    assert "followed" in text


def test_a_folder_of_links_to_nothing_is_refused(tmp_path):
    folder = tmp_path / "f"
    folder.mkdir()
    for name in ("cat", "dog"):
        (folder / name).symlink_to(tmp_path / "gone" / name)
    with pytest.raises(LayoutError, match="got none"):
        manifest_from_folder("mine", folder, tmp_path / "m")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"splits": "train=trian"}, "did you mean train"),
        ({"splits": "train"}, "expected train=FOLDER"),
        ({"splits": "learn=train"}, "unknown split 'learn'"),
        ({"splits": "test=test"}, "a folder for train"),
        ({"splits": "train=train,test=train"}, "folder .train. once"),
        ({"classes": "frist"}, "did you mean first"),
    ],
)
def test_a_mistyped_option_is_an_error(tmp_path, options, told):
    folder = images(tmp_path / "f", "train/a", "test/a")
    with pytest.raises(UsageError, match=told):
        manifest_from_folder("mine", folder, tmp_path / "m", **options)
    assert not (tmp_path / "m").exists()


def test_every_tree_is_read_whole_or_refused(tmp_path):
    """Random trees: all images are in the table or told, and indexing finds the same ones."""
    names = ["train", "test", "val", "cat", "dog", "a", "b", "01_train", "eval", "data"]
    read = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        depths = rng.integers(1, 4, rng.integers(1, 7))
        places = {"/".join(rng.choice(names, depth)) for depth in depths}
        folder = images(tmp_path / f"f{seed}", *sorted(places), each=2)
        try:
            _, counts, remarks = learned(tmp_path / f"t{seed}", folder)
        except AutodsError as error:
            assert isinstance(error, LayoutError) and "--" in str(error), error
            continue
        read += 1
        used = sum(counts.values())
        assert remarks[0].startswith(f"{used} image")
        record = json.loads((tmp_path / f"t{seed}/root/datasets/mine/record.json").read_text())
        account = record["index"]["members"]["images"]
        assert account["members"] == 2 * len(places) and account["used"] == used
        manifest = yaml.safe_load((tmp_path / f"t{seed}/m/mine.yaml").read_text())
        assert manifest["splits"]["clean"]["rule"] in ("official", "random")
    assert read >= 10
