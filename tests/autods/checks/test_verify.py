"""Verification of stored features finds each kind of damage."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import h5py
import numpy as np
import pytest
from archives import folders_layout, make_zip, manifest_of, placed
from shard_tools import shard_info

from autods.checks.features import unhashed_features, verify_features
from autods.core.files import read_json, write_json
from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.encode.plan import digest_samples
from autods.errors import AutodsError, UnknownName
from autods.features.sets import describe_features, open_features, seal_features
from autods.features.shards import FORMAT, Shard, ShardData, read_shard, write_shard
from autods.index.samples import SampleIndex, index_dataset, load_samples

ENCODER = "tiny.a"


def write_set(root: DataRoot, name: str = "pets") -> None:
    for number, (split, n) in enumerate({"train": 12, "dev": 0, "test": 6}.items()):
        info = shard_info(n, {"kind": ["cat", "dog"]}, dataset=name, split=split)
        data = ShardData(
            features=np.ones((n, 4), np.float16),
            labels={"kind": (np.arange(n) % 2).astype(np.int32)},
            sample=np.arange(100 * number, 100 * number + n, dtype=np.int64),
            content_hash=np.arange(n, dtype=np.uint64),
        )
        write_shard(root.shard(ENCODER, name, split, 0, 1), data, info)
    seal_features(root, ENCODER, name)


def rewrite(
    path: Path, change: Callable[[Shard, dict[str, np.ndarray]], dict[str, object]]
) -> None:
    """Write a shard again with changed arrays; ``change`` returns changes of its info."""
    shard = read_shard(path)
    arrays = {
        "features": np.array(shard.features),
        "kind": np.array(shard.labels["kind"]),
        "sample": np.array(shard.sample),
    }
    info = replace(shard.info, **change(shard, arrays))
    data = ShardData(
        arrays["features"], {"kind": arrays["kind"]}, arrays["sample"], np.array(shard.content_hash)
    )
    with patch("autods.features.shards.unfit_rows", lambda rows: np.zeros(len(rows), bool)):
        write_shard(path, data, info)  # as one who does not check it may write it


def test_a_whole_feature_set_has_no_problems(tmp_path):
    root = DataRoot.open(tmp_path)
    write_set(root)
    write_set(root, "toys")
    assert verify_features(root) == []
    assert verify_features(root, ENCODER, ["toys"]) == []


def not_finite(shard: Shard, arrays: dict[str, np.ndarray]) -> dict[str, object]:
    arrays["features"][3, 1] = np.inf
    return {}


def label_outside(shard: Shard, arrays: dict[str, np.ndarray]) -> dict[str, object]:
    arrays["kind"][2:4] = 2
    return {}


def ids_out_of_order(shard: Shard, arrays: dict[str, np.ndarray]) -> dict[str, object]:
    arrays["sample"][:2] = arrays["sample"][1::-1]
    return {}


def ids_of_another_split(shard: Shard, arrays: dict[str, np.ndarray]) -> dict[str, object]:
    arrays["sample"][-1] = 200
    return {}


def too_few_rows(shard: Shard, arrays: dict[str, np.ndarray]) -> dict[str, object]:
    return {"stop": shard.info.stop + 1}


def another_place(shard: Shard, arrays: dict[str, np.ndarray]) -> dict[str, object]:
    return {"split": "test"}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (not_finite, "1 rows hold numbers that are not finite"),
        (label_outside, "2 labels of task 'kind' are outside 0 to 1"),
        (ids_out_of_order, "sample ids of train do not increase"),
        (ids_of_another_split, "1 samples occur in more than one row"),
        (too_few_rows, "12 rows and 0 unreadable images, expected 13 together"),
        (another_place, "it says it is pets/test-00000-of-00001.h5"),
    ],
)
def test_damage_within_a_shard_is_found(tmp_path, change, sentence):
    root = DataRoot.open(tmp_path)
    write_set(root)
    rewrite(root.shard(ENCODER, "pets", "train", 0, 1), change)
    assert any(sentence in problem for problem in verify_features(root)), verify_features(root)


def test_a_cut_off_shard_and_a_missing_one_are_found(tmp_path):
    root = DataRoot.open(tmp_path)
    write_set(root)
    path = root.shard(ENCODER, "pets", "test", 0, 1)
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    assert "its content is not what was written" in verify_features(root)[0]
    path.write_bytes(whole[:-140])
    assert "cannot be read as a feature shard" in verify_features(root)[0]
    path.unlink()
    assert "the shards say" in verify_features(root)[0]


def test_a_record_that_is_absent_damaged_or_wrong_is_found(tmp_path):
    root = DataRoot.open(tmp_path)
    write_set(root)
    path = root.feature_record(ENCODER, "pets")
    record = json.loads(path.read_text())
    write_json(path, {**record, "dim": 5})
    assert [p for p in verify_features(root) if "dim: the shards say 4, the record says 5" in p]
    path.write_text("{")
    assert "not valid JSON" in verify_features(root)[0]
    path.unlink()
    assert "not finished" in verify_features(root)[0]


def test_a_record_of_the_format_before_is_no_problem(tmp_path):
    root = DataRoot.open(tmp_path)
    write_set(root)
    path = root.feature_record(ENCODER, "pets")
    record = json.loads(path.read_text())
    del record["samples_sha256"]
    write_json(path, {**record, "format": FORMAT - 1})
    assert verify_features(root) == []
    write_json(path, {**record, "format": FORMAT - 1, "dim": 5})
    assert len(verify_features(root)) == 1


def test_names_without_features_are_answered_with_the_nearest(tmp_path):
    root = DataRoot.open(tmp_path)
    write_set(root)
    with pytest.raises(UnknownName, match="did you mean pets"):
        verify_features(root, None, ["pet"])
    with pytest.raises(UnknownName, match=r"did you mean tiny\.a"):
        verify_features(root, "tiny.b")


def indexed(tmp_path: Path) -> tuple[DataRoot, SampleIndex]:
    """Index 16 members that are never decoded, and write features that agree with it."""
    members = {
        f"{split}/{kind}/{i}.jpg": f"{split}{kind}{i}".encode()
        for split in ("train", "test")
        for kind in ("cat", "dog")
        for i in range(4)
    }
    source = make_zip(tmp_path / "source" / "a.zip", members)
    layout = folders_layout("a.zip", "{split}/{class}/*", split="{split}")
    splits = {"clean": {"rule": "official", "dev_fraction": 0.25}}
    root = DataRoot(tmp_path / "root")
    manifest = placed(
        root, manifest_of({"a.zip": source}, layout, splits=splits), {"a.zip": source}
    )
    index_dataset(manifest, root, Silent())
    index = load_samples(root, manifest.name)
    for split in ("train", "dev", "test"):
        rows = index.rows(split)
        info = shard_info(
            len(rows),
            index.classes,
            dataset=manifest.name,
            split=split,
            default_task=index.default_task,
            fingerprint=index.fingerprint,
            samples_sha256=digest_samples(index),
            unreadable=[[int(rows[0]), "a.zip/x", "truncated"]] if split == "train" else (),
        )
        kept = rows[1:] if split == "train" else rows
        labels = {task: index.labels(task)[kept] for task in index.classes}
        data = ShardData(np.ones((len(kept), 4), np.float16), labels, kept, kept.astype(np.uint64))
        write_shard(root.shard(ENCODER, manifest.name, split, 0, 1), data, info)
    seal_features(root, ENCODER, manifest.name)
    return root, index


def test_features_are_compared_with_the_sample_index(tmp_path):
    root, index = indexed(tmp_path)
    assert verify_features(root) == []
    path = root.shard(ENCODER, index.dataset, "test", 0, 1)
    shard = read_shard(path)
    labels = {task: 1 - array for task, array in shard.labels.items()}
    write_shard(path, replace(data_of(shard), labels=labels), shard.info)
    assert any("8 labels of task 'class' differ from the index" in p for p in verify_features(root))
    fewer = ShardData(
        shard.features[1:],
        {task: array[1:] for task, array in shard.labels.items()},
        shard.sample[1:],
        shard.content_hash[1:],
    )
    write_shard(path, fewer, replace(shard.info, stop=7))
    assert any("test: 1 samples of the index are missing" in p for p in verify_features(root))
    write_shard(path, data_of(shard), replace(shard.info, fingerprint="0" * 64))
    assert "do not belong together" in verify_features(root)[0]


def data_of(shard: Shard) -> ShardData:
    return ShardData(shard.features, shard.labels, shard.sample, shard.content_hash)


def contents(root: DataRoot) -> list[object]:
    """Return all that a stream takes from the stored features."""
    stored = open_features(root, ENCODER, "pets")
    rows = np.arange(stored.starts[-1])
    arrays = [stored.gather(rows), stored.labels("kind"), stored.content_hash]
    split = stored.membership("clean")
    return [*(array.tobytes() for array in (*arrays, split)), describe_features(stored)]


@pytest.mark.parametrize(
    "name", ["train-00000-of-00001.h5", "record.json", "../.pets-unchanged.json"]
)
def test_a_flipped_bit_in_any_file_is_refused_and_found_or_changes_nothing(tmp_path, name):
    root = DataRoot.open(tmp_path)
    write_set(root)
    truth = contents(root)
    path = root.features(ENCODER, "pets") / name
    whole, refused = path.read_bytes(), 0
    for position in range(0, len(whole), max(1, len(whole) // 150)):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << position % 8
        path.write_bytes(flipped)
        try:
            assert contents(root) == truth
        except AutodsError as error:
            assert "Delete this file" in str(error) or "Run the same" in str(error)
            assert verify_features(root)
            refused += 1
    assert refused > 20 or name.startswith("..")
    path.write_bytes(whole)
    assert contents(root) == truth and verify_features(root) == []


def test_a_bit_that_flips_without_a_trace_in_the_file_system_is_found_by_verify(tmp_path):
    root = DataRoot.open(tmp_path)
    write_set(root)
    path = root.shard(ENCODER, "pets", "train", 0, 1)
    status, content = path.stat(), bytearray(path.read_bytes())
    with h5py.File(path) as file:
        content[file["features"].id.get_offset() + 5] ^= 4
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert "its content is not what was written" in verify_features(root)[0]


def test_shards_of_an_earlier_version_have_no_hash_and_are_read_and_told(tmp_path):
    root = DataRoot.open(tmp_path)
    write_set(root)
    truth = contents(root)
    for path in root.features(ENCODER, "pets").glob("*.h5"):
        with h5py.File(path, "r+") as file:
            file.attrs["complete"] = True  # HDF5 drops what follows its end
    record = read_json(root.feature_record(ENCODER, "pets"))
    del record["seals"]
    root.feature_record(ENCODER, "pets").write_text(json.dumps(record))
    assert contents(root) == truth and verify_features(root) == []
    (note,) = unhashed_features(root, None, "pets")
    assert "3 of 3 shards have no hash" in note
