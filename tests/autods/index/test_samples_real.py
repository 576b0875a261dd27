"""Index the four real datasets of the shared folder, in archives built as published."""

import hashlib
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from archives import REPOSITORY, placed
from published import OMNIGLOT, RAW, publish_flowers, publish_tinyimagenet

from autods.containers import MemberReader
from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.index.samples import SampleIndex, index_dataset, load_samples, verify_index
from autods.manifest.catalogue import Catalogue
from autods.manifest.schema import Manifest

pytestmark = pytest.mark.skipif(not RAW.is_dir(), reason="no shared data beside the repository")


@pytest.fixture(scope="module")
def archives(tmp_path_factory) -> Path:
    """Return a folder with the archives of all four datasets."""
    out = tmp_path_factory.mktemp("archives")
    publish_flowers(out)
    publish_tinyimagenet(out)
    with zipfile.ZipFile(out / "nested.zip", "w") as archive:
        archive.write(
            OMNIGLOT / "images_background_small1.zip", "python/images_background_small1.zip"
        )
        archive.write(
            OMNIGLOT / "images_background_small2.zip",
            "python/images_background_small2.zip",
            zipfile.ZIP_DEFLATED,
        )
    return out


def catalogue() -> Catalogue:
    return Catalogue([REPOSITORY / "docs" / "examples" / "manifests"])


def indexed(tmp_path: Path, name: str, files: dict[str, Path]) -> tuple[Manifest, SampleIndex]:
    root = DataRoot(tmp_path)
    manifest = placed(root, catalogue().dataset(name), files)
    index_dataset(manifest, root, Silent())
    assert verify_index(manifest, root) == []
    return manifest, load_samples(root, name, manifest)


def counts(index: SampleIndex, protocol: str = "clean") -> dict[str, int]:
    return dict(Counter(index.splits(protocol).tolist()))


def label_of(index: SampleIndex, path: str, task: str | None = None) -> str:
    sample = index.table["path"].to_pylist().index(path)
    task = task or index.default_task
    return index.classes[task][index.labels(task)[sample]]


def assert_bytes(root: Path, index: SampleIndex, originals: dict[str, Path]) -> None:
    """Check every sample's bytes against the original file, by its path."""
    reader = MemberReader(DataRoot(root), index.dataset)
    for sample, path in enumerate(index.table["path"].to_pylist()):
        data = reader.read(*index.locate(sample))
        assert hashlib.sha256(data).digest() == digest(originals[path]), path


def digest(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


def test_flowers_follow_the_numbers_and_the_official_split(tmp_path, archives):
    names = ["17flowers.tgz", "datasplits.mat"]
    _, index = indexed(tmp_path, "flowers", {name: archives / name for name in names})
    assert counts(index) == {"train": 204, "dev": 102, "test": 102}
    assert counts(index, "paper") == {"train": 275, "dev": 31, "test": 102}
    assert np.bincount(index.labels()).tolist() == [24] * 17
    assert label_of(index, "17flowers.tgz/jpg/image_0001.jpg") == "Daffodil"
    assert label_of(index, "17flowers.tgz/jpg/image_0081.jpg") == "Snowdrop"
    assert label_of(index, "17flowers.tgz/jpg/image_1290.jpg") == "Pansy"
    jpg = RAW / "flowers17" / "jpg"
    assert_bytes(tmp_path, index, {f"17flowers.tgz/jpg/{p.name}": p for p in jpg.iterdir()})


def test_tinyimagenet_takes_train_from_folders_and_val_from_the_list(tmp_path, archives):
    file = "tiny-imagenet-200.zip"
    _, index = indexed(tmp_path, "tinyimagenet", {file: archives / file})
    folder = RAW / "tinyimagenet"
    originals = {f"{file}/{p.relative_to(folder).as_posix()}": p for p in folder.rglob("*.JPEG")}
    train = sum("/train/" in path for path in originals)
    found = counts(index)
    assert found["train"] + found["dev"] == train
    assert found["test"] == len(originals) - train == 950
    assert set(originals) == set(index.table["path"].to_pylist())
    assert_bytes(tmp_path, index, originals)
    words = dict(
        line.split("\t")
        for line in (folder / "tiny-imagenet-200" / "words.txt").read_text("utf-8").splitlines()
    )
    for name, wnid in [("val_0.JPEG", "n03444034"), ("val_9.JPEG", "n02226429")]:
        assert label_of(index, f"{file}/tiny-imagenet-200/val/images/{name}") == words[wnid]
    one = "tiny-imagenet-200/train/n07920052/images/n07920052_0.JPEG"
    assert label_of(index, f"{file}/{one}") == words["n07920052"]
    every = np.unique(index.labels()[index.rows("test")])
    assert every.tolist() == list(range(len(index.classes["class"])))


def test_grocery_has_two_label_sets_from_its_lists(tmp_path):
    name = "GroceryStoreDataset"
    _, index = indexed(tmp_path, "grocery", {name: RAW / "grocery"})
    assert counts(index) == {"train": 647, "dev": 180, "test": 404}
    assert [len(index.classes[task]) for task in ("fine", "coarse")] == [81, 43]
    # All 81 classes occur, so the class numbers are the published ids.
    lines = (RAW / "grocery" / "dataset" / "test.txt").read_text().splitlines()
    number = {path: i for i, path in enumerate(index.table["path"].to_pylist())}
    for line in lines:
        path, fine, coarse = line.split(", ")
        sample = number[f"{name}/dataset/{path}"]
        assert index.labels("fine")[sample] == int(fine)
        assert index.labels("coarse")[sample] == int(coarse)
        assert index.splits()[sample] == "test"
    apple = f"{name}/dataset/test/Fruit/Apple/Golden-Delicious/Golden-Delicious_001.jpg"
    assert label_of(index, apple, "coarse") == "Apple"
    folder = RAW / "grocery"
    originals = {f"{name}/{p.relative_to(folder).as_posix()}": p for p in folder.rglob("*.jpg")}
    assert_bytes(tmp_path, index, originals)


def omniglot_files() -> dict[str, Path]:
    return {f"images_background_small{i}.zip": OMNIGLOT for i in (1, 2)}


def test_omniglot_zips_are_the_published_ones_and_keep_alphabet_and_character(tmp_path):
    files = {name: folder / name for name, folder in omniglot_files().items()}
    published = {entry.name: entry.checksum for entry in catalogue().dataset("omniglot").files}
    manifest, index = indexed(tmp_path, "omniglot", files)
    assert {entry.name: entry.checksum for entry in manifest.files} == published
    # Greek and Latin lie in both zips with the same images and count once.
    assert len(index) == 2720 + 3120 - 1000
    one = "images_background_small1/Balinese/character01/0108_01.png"
    path = f"images_background_small1.zip/{one}"
    assert label_of(index, path) == "Balinese/character01"
    assert label_of(index, path, "alphabet") == "Balinese"
    with zipfile.ZipFile(files["images_background_small1.zip"]) as archive:
        reader = MemberReader(DataRoot(tmp_path), "omniglot")
        sample = index.table["path"].to_pylist().index(path)
        assert reader.read(*index.locate(sample)) == archive.read(one)
    per_class = np.bincount(index.labels()[index.rows("test")])
    assert len(per_class) == len(index.classes["character"])
    assert per_class.min() >= 5


def test_omniglot_nested_in_one_zip_gives_the_same_labels_and_bytes(tmp_path, archives):
    files = {name: folder / name for name, folder in omniglot_files().items()}
    _, flat = indexed(tmp_path / "flat", "omniglot", files)
    example = catalogue().dataset("omniglot").model_dump(mode="json", by_alias=True)
    example["layout"] = {
        **example["layout"],
        "family": "nested-archives",
        "files": ["nested.zip"],
        "pattern": "python/{part}.zip!/*/{alphabet}/{character}/*",
    }
    example["files"] = [{**example["files"][0], "name": "nested.zip"}]
    root = DataRoot(tmp_path / "nested")
    manifest = placed(
        root, Manifest.model_validate(example), {"nested.zip": archives / "nested.zip"}
    )
    index_dataset(manifest, root, Silent())
    nested = load_samples(root, "omniglot", manifest)
    assert nested.classes == flat.classes
    assert nested.labels().tolist() == flat.labels().tolist()
    assert nested.splits().tolist() == flat.splits().tolist()
    flat_reader = MemberReader(DataRoot(tmp_path / "flat"), "omniglot")
    nested_reader = MemberReader(root, "omniglot")
    for sample in range(0, len(flat), 7):
        expected = flat_reader.read(*flat.locate(sample))
        assert nested_reader.read(*nested.locate(sample)) == expected
