"""What an archive must not do, and what must not pass: refused by name, others go on."""

import io
import os
import pickle
import re
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
import torch
from archives import make_zip
from published_archive import (
    metadata_of,
    pickled,
    simple_sets,
    tar_of,
    vectors_of,
    write_database,
    write_dataset,
)
from warm import program

from autods.core.root import DataRoot
from autods.errors import AutodsError, ContainerError, LayoutError, UnsafePickle
from autods.interop.published import import_published

ENCODER = "ViT-L-14.published-stream"
ODD = "zip/c0/train003.jpg"
SETS = simple_sets()
LISTS = SETS["none"]
ONES = np.ones(8, np.float32)


class Evil:
    """Pickles as a call that would leave a file behind."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    for name in ("apples", "boat", "cats"):
        write_dataset(folder, name, simple_sets(), seed=len(name))
    return folder


@pytest.fixture
def source(good: Path, tmp_path: Path) -> Path:
    """Return a folder with a good dataset on either side of the one that each test spoils."""
    return Path(shutil.copytree(good, tmp_path / "in"))


def refused(source: Path, tmp_path: Path) -> AutodsError:
    """Import; return why nothing of boat was imported, the others being whole."""
    root = DataRoot.open(tmp_path / "root")
    outcome = import_published(source, root)
    assert outcome.imported == ["apples", "cats"]
    assert list(outcome.refused) == ["boat"]
    assert not root.features(ENCODER, "boat").exists()
    error = outcome.refused["boat"]
    assert str(error).count("nothing of 'boat' was imported.") == 1
    return error


def train(source: Path) -> Path:
    return source / "boat" / "feats" / "clip" / "train"


def rewrite(source: Path, changed: dict[str, Any] | None = None, **options: Any) -> None:
    """Write the train features of boat anew, some of them changed."""
    shutil.rmtree(train(source))
    paths = [path for path, _ in simple_sets()["none"]["train"]]
    write_database(train(source), {**vectors_of(paths, 8), **(changed or {})}, **options)


def save(source: Path, value: Any, zipped: bool = True) -> None:
    target = source / "boat" / "metadata.pickle"
    torch.save(value, target, _use_new_zipfile_serialization=zipped)


def evil_value(source: Path, marker: Path) -> None:
    rewrite(source, {ODD: Evil(marker)})


def evil_inside_a_value(source: Path, marker: Path) -> None:
    rewrite(source, {ODD: np.array([1.0, Evil(marker)], dtype=object)})


def evil_list(source: Path, marker: Path) -> None:
    rewrite(source, file_names=pickle.dumps(["a", Evil(marker)]))


def evil_metadata(source: Path, marker: Path) -> None:
    save(source, {**metadata_of(simple_sets()), "corrupt_files": Evil(marker)})


def evil_old_metadata(source: Path, marker: Path) -> None:
    save(source, [Evil(marker)], zipped=False)


def evil_plain_metadata(source: Path, marker: Path) -> None:
    (source / "boat" / "metadata.pickle").write_bytes(pickle.dumps(Evil(marker)))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (evil_value, rf"train/data\.mdb: the value of '{ODD}'"),
        (evil_inside_a_value, rf"train/data\.mdb: the value of '{ODD}'"),
        (evil_list, r"train/data\.mdb: the value of 'file_names'"),
        (evil_metadata, r"boat/metadata\.pickle"),
        (evil_old_metadata, r"boat/metadata\.pickle"),
        (evil_plain_metadata, r"boat/metadata\.pickle"),
    ],
)
def test_a_pickle_that_asks_for_more_than_data_is_named(source, tmp_path, spoil, named, packed):
    marker = tmp_path / "marker"
    spoil(source, marker)
    place = tar_of(source, tmp_path / "stream_feats.tar") if packed else source
    error = refused(place, tmp_path)
    assert isinstance(error, UnsafePickle)
    assert re.search(named, str(error))
    assert "asks for 'posix.system'; nothing of it was run" in str(error)
    assert not marker.exists()


def test_tensors_in_the_metadata_are_refused(source, tmp_path):
    for zipped in (True, False):
        save(source, {"file_names": torch.ones(2)}, zipped)
        error = import_published(source, DataRoot.open(tmp_path / "root")).refused["boat"]
        assert isinstance(error, UnsafePickle)
        assert "asks for 'torch._utils._rebuild_tensor" in str(error)


def test_a_zip_that_torch_would_not_write_is_refused(source, tmp_path):
    data = pickle.dumps(metadata_of(SETS))
    for members, compression in [
        ({"metadata/data.pkl": data}, zipfile.ZIP_DEFLATED),
        ({"a/data.pkl": data, "b/data.pkl": data}, zipfile.ZIP_STORED),
        ({"data.json": b"{}"}, zipfile.ZIP_STORED),
    ]:
        make_zip(source / "boat" / "metadata.pickle", members, compression)
        error = import_published(source, DataRoot.open(tmp_path / "root")).refused["boat"]
        assert "expected one uncompressed data.pkl in the zip" in str(error)


def test_metadata_with_a_wrong_checksum_is_refused(source, tmp_path):
    path = source / "boat" / "metadata.pickle"
    path.write_bytes(path.read_bytes().replace(b"train011.jpg", b"train999.jpg"))
    assert "Bad CRC-32" in str(refused(source, tmp_path))


def test_the_command_refuses_a_malicious_value_with_exit_code_1(source, tmp_path):
    marker = tmp_path / "marker"
    evil_value(source, marker)
    command = [program("autods"), "import-features", str(source), "--root", str(tmp_path / "root")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "imported cats" in done.stdout
    assert f"the value of '{ODD}': expected plain data" in done.stderr
    assert "1 of 3 datasets were refused: boat" in done.stderr
    assert not marker.exists()


def without_metadata(source: Path) -> None:
    (source / "boat" / "metadata.pickle").unlink()


def without_val(source: Path) -> None:
    shutil.rmtree(train(source).with_name("val"))


def cut_metadata(source: Path) -> None:
    path = source / "boat" / "metadata.pickle"
    path.write_bytes(path.read_bytes()[:-300])


def page_for_metadata(source: Path) -> None:
    (source / "boat" / "metadata.pickle").write_text("<html>quota</html>")


def cut_database(source: Path) -> None:
    path = train(source) / "data.mdb"
    path.write_bytes(path.read_bytes()[:-5000])


def empty_database(source: Path) -> None:
    (train(source) / "data.mdb").write_bytes(b"")


def cut_value(source: Path) -> None:
    rewrite(source, {ODD: ONES}, dumps=lambda x: pickled(x)[: -9 if x is ONES else None])


@pytest.mark.parametrize(
    ("spoil", "kind", "named"),
    [
        (without_metadata, LayoutError, r"boat: expected .*, got no metadata\.pickle"),
        (without_val, LayoutError, r"got no val/data\.mdb"),
        (cut_metadata, ContainerError, r"metadata\.pickle: not a file of torch\.save: BadZipFile"),
        (page_for_metadata, ContainerError, r"metadata\.pickle: not a file of torch\.save"),
        (cut_database, ContainerError, r"train/data\.mdb: not a whole LMDB database: it ends at"),
        (empty_database, ContainerError, r"train/data\.mdb: not a whole LMDB database: it ends at"),
        (cut_value, ContainerError, r"train/data\.mdb: the value of 'zip/c"),
    ],
)
def test_a_part_that_is_missing_or_damaged_is_named(source, tmp_path, spoil, kind, named):
    spoil(source)
    error = refused(source, tmp_path)
    assert type(error) is kind
    assert re.search(named, str(error))


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ([1], "its content: expected a dict, got list"),
        ({"files": 1}, "its content: expected a key 'file_names', got only files"),
        ({"file_names": []}, "file_names: expected a dict"),
        ({"file_names": {}}, "file_names: expected at least one label set, got none"),
        ({"file_names": {"none": {"train": []}}}, "of 'none': expected splits train and val"),
        (
            {"file_names": {"none": {**LISTS, "val": "ab"}}},
            "val: expected a list of pairs, got str",
        ),
        ({"file_names": {"none": {**LISTS, "val": ["ab"]}}}, "expected pairs of path and label"),
        ({"file_names": {"none": {**LISTS, "val": [("a", None)]}}}, "text or a number, got None"),
        ({"file_names": {"a/b": LISTS}}, "expected distinct plain names of label sets, got 'a/b'"),
        ({"file_names": {"none": LISTS, "class": LISTS}}, "distinct plain names of label sets"),
        ({"file_names": {1: LISTS, "1": LISTS}}, "file_names: expected distinct keys"),
        ({"file_names": SETS, "class_names": {"none": "c0"}}, "class_names .*expected a list"),
        ({"file_names": SETS, "class_names": {"none": ["a", "a"]}}, "expected distinct names"),
        ({"file_names": {"none": {**LISTS, "val": []}}}, "expected features with labels, got none"),
        (
            {"file_names": {"none": {**LISTS, "val": [*LISTS["val"], ("gone.jpg", "c0")]}}},
            r"of 'none', val: expected a feature of each of the 7 files, got none of 1, the first "
            r"being 'gone\.jpg'",
        ),
    ],
)
def test_metadata_of_another_shape_is_told_where_and_what(source, tmp_path, value, named):
    save(source, value)
    error = refused(source, tmp_path)
    assert type(error) is LayoutError
    assert re.search(named, str(error))


@pytest.mark.parametrize(
    ("value", "kind", "named"),
    [
        (ONES * np.nan, LayoutError, r"expected finite values within \+-65504"),
        (ONES * np.inf, LayoutError, "expected finite values"),
        (ONES * 70_000, LayoutError, "expected finite values"),
        (np.ones(9, np.float32), LayoutError, "expected 8 numbers as in the values before, got 9"),
        (np.ones((2, 4), np.float32), LayoutError, r"expected one vector, got an array \(2, 4\)"),
        (np.ones(0, np.float32), LayoutError, r"expected one vector, got an array \(0,\)"),
        (np.ones(8, np.int32), LayoutError, "floating point numbers, got int32"),
        ([1.0] * 8, LayoutError, "floating point numbers, got list"),
        (torch.ones(8), UnsafePickle, r"asks for 'torch\._utils\._rebuild_tensor"),
    ],
)
def test_a_value_that_is_no_vector_like_the_others_is_named(source, tmp_path, value, kind, named):
    rewrite(source, {ODD: value})
    error = refused(source, tmp_path)
    assert type(error) is kind
    assert re.search(rf"data\.mdb: the value of '{ODD}': .*{named}", str(error))


def test_a_value_that_only_begins_like_the_others_is_named(source, tmp_path):
    """The last but one opcode fills the array: here it throws the numbers away."""
    odd = np.full(8, 2, np.float32)
    rewrite(source, {ODD: odd}, dumps=lambda x: pickled(x)[:-2] + (b"0." if x is odd else b"b."))
    told = str(refused(source, tmp_path))
    assert f"the value of '{ODD}': expected an array of floating point numbers, got int8" in told


@pytest.mark.parametrize(
    ("stored", "kind", "named"),
    [
        (None, ContainerError, "'file_names', which is written last, got none"),
        (pickled([]), LayoutError, "'file_names' lists, got 12 others and none of 0 of the 0 in"),
        (
            pickled([*(path for path, _ in LISTS["train"]), "lost.jpg"]),
            LayoutError,
            "'file_names' lists, got 0 others and none of 1 of the 13 in the list",
        ),
        (pickled(3), ContainerError, "the value of 'file_names': 'int' object is not iterable"),
        (b"\x80", ContainerError, "the value of 'file_names': "),
    ],
)
def test_a_database_that_lacks_what_it_lists_is_refused(source, tmp_path, stored, kind, named):
    rewrite(source, file_names=stored)
    error = refused(source, tmp_path)
    assert type(error) is kind
    assert re.search(named, str(error))


def test_a_folder_that_cannot_name_a_feature_set_is_refused(source, tmp_path):
    shutil.move(source / "boat", source / "My Boat")
    outcome = import_published(source, DataRoot.open(tmp_path / "root"))
    assert outcome.imported == ["apples", "cats"]
    assert "'my boat' cannot name a feature set" in str(outcome.refused["my boat"])


def test_a_refused_dataset_is_imported_once_it_is_mended(source, tmp_path):
    rewrite(source, {ODD: ONES * np.nan})
    refused(source, tmp_path)
    rewrite(source)
    outcome = import_published(source, DataRoot.open(tmp_path / "root"))
    assert (outcome.imported, outcome.kept) == (["boat"], ["apples", "cats"])


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.999, None])
def test_a_tar_that_is_cut_off_is_refused_as_a_whole(source, tmp_path, share):
    with tarfile.open(tar_of(source, tmp_path / "whole.tar")) as archive:
        between = archive.getmember("stream_feats/cats").offset
    whole = (tmp_path / "whole.tar").read_bytes()
    size = between if share is None else int(len(whole.rstrip(b"\0")) * share)
    cut = tmp_path / "stream_feats.tar"
    cut.write_bytes(whole[:size])
    with pytest.raises(ContainerError, match="half of one; it was left as it is and nothing"):
        import_published(cut, DataRoot.open(tmp_path / "root"))
    assert not (tmp_path / "root").exists()


def test_a_compressed_tar_is_refused_with_what_to_do(source, tmp_path):
    archive = tar_of(source, tmp_path / "stream_feats.tar", "w:gz")
    with pytest.raises(ContainerError, match="unpack it and name the folder if it is compressed"):
        import_published(archive, DataRoot.open(tmp_path / "root"))


def test_a_member_that_would_leave_the_archive_is_refused(source, tmp_path):
    archive = tar_of(source, tmp_path / "stream_feats.tar")
    with tarfile.open(archive, "a") as handle:
        info = tarfile.TarInfo("../boat/metadata.pickle")
        info.size = 3
        handle.addfile(info, io.BytesIO(b"abc"))
    with pytest.raises(AutodsError, match=r"would leave the archive's folder"):
        import_published(archive, DataRoot.open(tmp_path / "root"))


def test_a_database_without_labels_for_any_of_its_features_is_refused(source, tmp_path):
    """The keys may be right and all labels of another split: nothing to learn from."""
    save(source, {"file_names": {"none": {"train": [], "val": LISTS["val"]}}})
    assert "expected features with labels, got none" in str(refused(source, tmp_path))


def test_a_key_that_is_no_text_is_refused(source, tmp_path):
    place = str(train(source))
    with lmdb.open(place, map_size=1 << 28) as environment, environment.begin(write=True) as writer:
        writer.put(b"\xff\xfe", pickled(ONES))
    assert "got 1 others and none of 0 of the 12 in the list" in str(refused(source, tmp_path))
