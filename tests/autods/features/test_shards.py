"""Feature shards and feature sets on disk."""

import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from shard_tools import shard_info

from autods.core.root import DataRoot
from autods.errors import FeatureMismatch, FeaturesMissing, StoreError
from autods.features.content import check_content
from autods.features.sets import list_features, open_features, seal_features
from autods.features.shards import FORMAT, ShardData, ShardInfo, read_shard, write_shard

NAMES = {"kind": ["cat", "dog", "owl"], "colour": ["black", "white"]}


def data(n: int, *, d: int = 8, seed: int = 0, start: int = 0, paper: bool = True) -> ShardData:
    generator = np.random.default_rng(seed)
    return ShardData(
        features=generator.normal(size=(n, d)).astype(np.float16),
        labels={
            task: generator.integers(0, len(names), n).astype(np.int32)
            for task, names in NAMES.items()
        },
        sample=np.arange(start, start + n, dtype=np.int64),
        content_hash=generator.integers(0, 2**64, n, dtype=np.uint64),
        splits={"paper": generator.integers(0, 4, n).astype(np.uint8)} if paper else {},
    )


def info(n: int, **changes: object) -> ShardInfo:
    plain = shard_info(
        n,
        NAMES,
        encoder={"model": "tiny", "weights_sha256": "ab" * 32},
        unreadable=[[17, "pets.zip/broken.jpg", "truncated"]],
    )
    return replace(plain, **changes)


def write_set(root: DataRoot, encoder: str = "tiny.a", **counts: list[int]) -> None:
    """Write shards of the given sizes per split, with running sample ids."""
    first = 0
    for split, sizes in counts.items():
        start = 0
        for index, n in enumerate(sizes):
            what = info(n, split=split, start=start, stop=start + n, index=index)
            path = root.shard(encoder, "pets", split, index, len(sizes))
            write_shard(path, data(n, start=first), replace(what, count=len(sizes), unreadable=()))
            start, first = start + n, first + n


@pytest.mark.parametrize("n", [0, 1, 500])
def test_a_shard_reads_back_as_it_was_written(tmp_path, n):
    path = tmp_path / "train-00000-of-00001.h5"
    write_shard(path, data(n), info(n))
    shard = read_shard(path)
    expected = data(n)
    assert shard.info == info(n)
    assert shard.features.dtype == np.float16 and shard.features.shape == (n, 8)
    assert np.array_equal(shard.features, expected.features)
    assert np.array_equal(shard.sample, expected.sample)
    assert np.array_equal(shard.content_hash, expected.content_hash)
    assert list(shard.labels) == ["kind", "colour"]
    for task in NAMES:
        assert np.array_equal(shard.labels[task], expected.labels[task])
    assert np.array_equal(shard.splits["paper"], expected.splits["paper"])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 6e-8, -5e-5])
def test_a_row_that_float16_does_not_hold_is_not_written(tmp_path, value):
    path, wrong = tmp_path / "train-00000-of-00001.h5", data(9)
    features = wrong.features.copy()
    features[4], features[4, 3] = 0, value
    with pytest.raises(ValueError, match=r"shard features, row 4: .* in column 3"):
        write_shard(path, replace(wrong, features=features), info(9))
    assert not path.exists()
    features[4] = 0  # a row of zeros is one
    write_shard(path, replace(wrong, features=features), info(9))


def test_arrays_of_a_shard_are_aligned_read_only_memory_maps(tmp_path):
    path = tmp_path / "shard.h5"
    write_shard(path, data(100), info(100))
    shard = read_shard(path)
    for array in (shard.features, shard.labels["kind"], shard.sample, shard.content_hash):
        assert isinstance(array, np.memmap)
        assert array.ctypes.data % 64 == 0
        assert not array.flags.writeable


def test_two_writes_give_the_same_bytes_at_different_times(tmp_path):
    one, two = tmp_path / "one.h5", tmp_path / "two.h5"
    write_shard(one, data(50), info(50))
    time.sleep(1.1)  # HDF5 timestamps count whole seconds
    write_shard(two, data(50), info(50))
    assert one.read_bytes() == two.read_bytes()


def test_class_names_above_the_attribute_limit_of_old_hdf5_are_kept(tmp_path):
    names = {"kind": [f"a rather long class name {i}" for i in range(5000)], "colour": ["a", "b"]}
    path = tmp_path / "shard.h5"
    write_shard(path, data(3), info(3, class_names=names))
    assert read_shard(path).info.class_names == names


@pytest.mark.parametrize("keep", [0, 7, 600, -1])
def test_a_truncated_shard_is_an_error_with_a_cure(tmp_path, keep):
    path = tmp_path / "shard.h5"
    write_shard(path, data(300), info(300))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(StoreError, match=r"shard\.h5: .*Delete this file and run"):
        read_shard(path)


def test_any_flipped_byte_of_the_header_is_an_error_or_without_effect(tmp_path):
    path = tmp_path / "shard.h5"
    write_shard(path, data(4), info(4))
    whole = path.read_bytes()
    refused = 0
    for at in range(0, 600, 13):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            read_shard(path)
        except StoreError:
            refused += 1
    assert refused > 10


def test_a_shard_without_its_last_attribute_is_incomplete(tmp_path):
    path = tmp_path / "shard.h5"
    write_shard(path, data(4), info(4))
    with h5py.File(path, "r+") as file:
        del file.attrs["complete"]
    with pytest.raises(StoreError, match="not written to its end"):
        read_shard(path)


def test_a_shard_of_the_format_before_is_read(tmp_path):
    now, before = tmp_path / "now.h5", tmp_path / "before.h5"
    write_shard(now, data(4), info(4))
    write_shard(before, data(4), info(4))
    with h5py.File(before, "r+") as file:  # all that version 2 has changed in the file
        file.attrs["format"] = 1
        del file.attrs["samples_sha256"]
    old, new = read_shard(before), read_shard(now)
    assert old.info == replace(new.info, samples_sha256="")
    assert np.array_equal(old.features, new.features)
    assert old.labels.keys() == new.labels.keys()


@pytest.mark.parametrize("at", [0, 60, 700, -200, -90])
def test_a_flipped_bit_is_named_as_such_whatever_the_parser_says_of_it(tmp_path, at):
    paths = [tmp_path / f"shard{number}.h5" for number in range(2)]
    for path in paths:
        write_shard(path, data(40), info(40))
    check_content(paths)
    whole = bytearray(paths[1].read_bytes())
    whole[at] ^= 4
    paths[1].write_bytes(whole)
    with pytest.raises(StoreError, match=r"shard1\.h5: .*does not have the sha256"):
        check_content(paths)


def test_a_shard_of_a_later_format_is_refused_by_version(tmp_path):
    path = tmp_path / "shard.h5"
    write_shard(path, data(4), info(4))
    with h5py.File(path, "r+") as file:
        file.attrs["format"] = 9
    with pytest.raises(StoreError, match=f"expected format version {FORMAT}, got 9"):
        read_shard(path)


def test_a_file_that_is_no_shard_and_one_that_is_absent_are_store_errors(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.arange(3)
    with pytest.raises(StoreError):
        read_shard(tmp_path / "other.h5")
    with pytest.raises(StoreError, match="does not exist"):
        read_shard(tmp_path / "none.h5")


def test_arrays_of_wrong_type_or_length_are_refused_and_leave_no_file(tmp_path):
    path = tmp_path / "shard.h5"
    good = data(4)
    for bad in (
        replace(good, features=good.features.astype(np.float32)),
        replace(good, sample=good.sample[:3]),
        replace(good, labels={"kind": good.labels["kind"]}),
    ):
        with pytest.raises(ValueError, match="shard"):
            write_shard(path, bad, info(4))
    assert list(tmp_path.iterdir()) == []


def test_a_feature_set_gives_rows_of_all_shards_in_order(tmp_path):
    root = DataRoot.open(tmp_path)
    write_set(root, train=[30, 20], dev=[0], test=[10])
    seal_features(root, "tiny.a", "pets")
    stored = open_features(root, "tiny.a", "pets")
    assert list_features(root, "tiny.a") == ["pets"]
    assert stored.rows("train").tolist() == list(range(50))
    assert stored.rows("dev").tolist() == []
    assert stored.rows("test").tolist() == list(range(50, 60))
    whole = np.concatenate([shard.features for shard in stored.shards])
    for rows in ([], [3], [0, 5, 29], [28, 29, 30, 31], [2, 40, 59], list(range(60))):
        assert np.array_equal(stored.take(np.array(rows, np.int64)), whole[rows])
    assert np.shares_memory(stored.take(np.arange(30, 50)), stored.shards[1].features)
    codes = np.concatenate([shard.splits["paper"] for shard in stored.shards])
    assert stored.rows("dev", "paper").tolist() == np.flatnonzero(codes == 2).tolist()


def test_features_that_are_absent_name_the_command_and_what_else_exists(tmp_path):
    root = DataRoot.open(tmp_path)
    write_set(root, train=[5])
    with pytest.raises(FeaturesMissing, match="not finished"):
        open_features(root, "tiny.a", "pets")
    seal_features(root, "tiny.a", "pets")
    with pytest.raises(FeaturesMissing) as caught:
        open_features(root, "ViT-B-32.openai", "pets")
    assert "autods extract pets --model ViT-B-32 --pretrained openai" in str(caught.value)
    assert "tiny.a" in str(caught.value)
    with pytest.raises(FeaturesMissing, match="--random-weights 3"):
        open_features(root, "ViT-B-32.random-3", "pets")


def test_a_set_with_a_missing_or_foreign_shard_is_not_opened(tmp_path):
    root = DataRoot.open(tmp_path)
    write_set(root, train=[5, 5], test=[5])
    seal_features(root, "tiny.a", "pets")
    second = root.shard("tiny.a", "pets", "train", 1, 2)
    kept = second.read_bytes()
    second.unlink()
    with pytest.raises(StoreError, match="train-00001-of-00002"):
        open_features(root, "tiny.a", "pets")
    second.write_bytes(kept)
    root.shard("tiny.a", "pets", "train", 0, 1).write_bytes(kept)
    with pytest.raises(StoreError, match="of another count"):
        open_features(root, "tiny.a", "pets")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"fingerprint": "ef" * 32}, "manifest sha256 is cdcd.* and efef"),
        ({"encoder": {"model": "tiny", "weights_sha256": "ff"}}, "weights_sha256 is abab.* ff"),
    ],
)
def test_shards_of_different_origin_in_one_folder_are_a_mismatch(tmp_path, change, named):
    root = DataRoot.open(tmp_path)
    write_set(root, train=[5])
    path = root.shard("tiny.a", "pets", "test", 0, 1)
    write_shard(path, data(5), info(5, split="test", **change))
    with pytest.raises(FeatureMismatch, match=named):
        seal_features(root, "tiny.a", "pets")


def test_shards_open_in_hugging_face_datasets(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    root = DataRoot.open(tmp_path)
    write_set(root, train=[40, 0], test=[20])
    files = {
        split: [str(p) for p in sorted(root.features("tiny.a", "pets").glob(f"{split}-*.h5"))]
        for split in ("train", "test")
    }
    # Without a batch size the loader divides by zero at a shard that has no rows.
    loaded = datasets.load_dataset(
        "hdf5", data_files=files, batch_size=1000, cache_dir=str(tmp_path / "cache")
    )
    assert loaded["train"].num_rows == 40 and loaded["test"].num_rows == 20
    shard = read_shard(Path(files["train"][0]))
    table = loaded["train"].with_format("numpy")[:]
    assert np.array_equal(table["features"].astype(np.float16), shard.features)
    assert np.array_equal(table["label"], shard.labels["kind"])
    assert np.array_equal(table["content_hash"].astype(np.uint64), shard.content_hash)
    first = loaded["train"][0]
    assert first["labels"] == {"colour": int(shard.labels["colour"][0])}
    assert first["splits"] == {"paper": int(shard.splits["paper"][0])}
