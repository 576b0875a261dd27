"""Shards of strangers: everything that breaks the contract is refused before it is used."""

import json
import shutil

import h5py
import numpy as np
import pytest
from shard_tools import shard_info

from autods.core.root import DataRoot
from autods.errors import StoreError
from autods.features.sets import open_features, seal_features
from autods.features.shards import ShardData, write_shard

ENCODER, N, D = "tiny.a", 6, 4
CLASSES = {"kind": ["cat", "dog"], "colour": ["red", "blue"]}


@pytest.fixture
def root(tmp_path):
    root = DataRoot.open(tmp_path / "root")
    for split, first in (("train", 0), ("test", N)):
        labels = {task: np.arange(N, dtype=np.int32) % 2 for task in CLASSES}
        data = ShardData(
            np.ones((N, D), np.float16), labels, np.arange(first, first + N),
            np.arange(N, dtype=np.uint64), {"paper": np.ones(N, np.uint8)},
        )  # fmt: skip
        path = root.shard(ENCODER, "pets", split, 0, 1)
        write_shard(path, data, shard_info(N, CLASSES, split=split))
    seal_features(root, ENCODER, "pets")
    return root


def replaced(name, make):
    def change(file):
        del file[name]
        made = make(file)
        if made is not None:
            file[name] = made

    return change


def attribute(name, value):
    return lambda file: file.attrs.__setitem__(name, value)


def virtual(file):
    layout = h5py.VirtualLayout(shape=(N, D), dtype="<f2")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", shape=(N, D))
    file.create_virtual_dataset("features", layout)


def outside(file):
    unlimited = [("/etc/passwd", 0, h5py.h5f.UNLIMITED)]
    file.create_dataset("features", shape=(N, D), dtype="<f2", external=unlimited)


def stored(name, value, **options):
    return replaced(name, lambda file: file.create_dataset(name, data=value, **options) and None)


def shaped(name, shape, dtype):
    return replaced(name, lambda file: file.create_dataset(name, shape=shape, dtype=dtype) and None)


ONES = np.ones((N, D), np.float16)
BROKEN = {
    **{f"external link of {n}": replaced(n, lambda f: h5py.ExternalLink("/etc/hostname", "/x"))
       for n in ("features", "label", "labels", "labels/colour")},
    **{f"soft link of {n}": replaced(n, lambda f: h5py.SoftLink("/label"))
       for n in ("features", "sample", "splits/paper")},
    "a link to itself": replaced("features", lambda f: h5py.SoftLink("/features")),
    "a group in a circle": lambda f: f.__setitem__("labels/x", f["/"]),
    "external storage": replaced("features", outside),
    "virtual": replaced("features", virtual),
    "chunked": stored("features", ONES, chunks=True),
    "compressed": stored("features", ONES, compression="gzip"),
    **{f"features of {d}": stored("features", np.ones((N, D), d))
       for d in ("<f4", ">f2", "i1", "V2", [("a", "<f2")])},
    **{f"label of {d}": stored("label", np.ones(N, d)) for d in ("<f8", ">i4", "<i8", "u1")},
    **{f"sample of {d}": stored("sample", np.arange(N).astype(d)) for d in (">i8", "<i4", "<f8")},
    **{f"hash of {d}": stored("content_hash", np.ones(N, d)) for d in ("<f8", "<i8", ">u8")},
    **{f"features of shape {s}": stored("features", np.ones(s, np.float16))
       for s in ((), (N,), (N, 0), (N - 1, D), (N, D, 1))},
    **{f"{n} of length {k}": stored(n, np.ones(k, d)) for k in (0, 3, N + 1) for n, d in (
        ("label", "<i4"), ("content_hash", "<u8"), ("sample", "<i8"), ("splits/paper", "u1"),
        ("labels/colour", "<i4"))},
    "a huge shape": shaped("features", (1 << 40, 512), "<f2"),
    "a shape that overflows": shaped("features", (1 << 33, 1 << 31), "<f2"),
    "text": shaped("features", (N,), h5py.string_dtype()),
    **{f"labels of {k}": stored("label", np.full(N, k, np.int32)) for k in (2, 2**31 - 1, -2, -5)},
    "codes of splits": stored("splits/paper", np.full(N, 9, np.uint8)),
    "ids that fall": stored("sample", np.arange(N)[::-1].copy()),
    "ids twice": stored("sample", np.zeros(N, np.int64)),
    "negative ids": stored("sample", np.arange(N) - 3),
    "an array more": lambda f: f.create_dataset("zzz", shape=(1 << 50,), dtype="f8"),
    "many arrays": lambda f: [f.create_dataset(f"labels/{k}", data=0) for k in range(1100)],
    "a group in a group": lambda f: f.create_dataset("labels/a/b", data=f["label"][:]),
    "a label set more": lambda f: f.create_dataset("labels/other", data=f["label"][:]),
    **{f"no {n}": replaced(n, lambda f: None) for n in ("features", "label", "sample", "labels")},
    **{f"class names {v}": attribute("class_names", json.dumps(v)) for v in (
        [], {}, {"kind": "ab"}, {"kind": [1, 2]}, {"kind": ["a"], "colour": None}, {"x": ["a"]})},
    **{f"encoder {v}": attribute("encoder", v) for v in ("[]", "{", "null")},
    **{f"unreadable {v}": attribute("unreadable", v) for v in ("[5]", '[["a", "b", "c"]]', "{}")},
    **{f"{n} of an array": attribute(n, np.arange(5))
       for n in ("start", "complete", "format", "dataset", "class_names")},
    "format of text": attribute("format", "2"),
    "a start in bytes": attribute("start", b"\xff\xfe"),
    "a name in bytes": attribute("dataset", np.bytes_(b"\xff\xfe")),
    "a split of nobody": attribute("split", "\x1b[31mred"),
    "an index too far": attribute("index", 7),
    "an end before the start": attribute("start", 100),
}  # fmt: skip


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN)
def test_a_shard_that_breaks_the_contract_is_refused_when_it_is_opened(root, tmp_path, change):
    path = root.shard(ENCODER, "pets", "train", 0, 1)
    with h5py.File(path, "r+") as file:  # its hash, which follows the file, is gone with this
        change(file)
    path.write_bytes(path.read_bytes().split(b"\nautods sha256 ")[0])
    root.feature_record(ENCODER, "pets").write_text(json.dumps({"shards": {
        "train-00000-of-00001.h5": N, "test-00000-of-00001.h5": N,
    }}))  # fmt: skip
    with pytest.raises(StoreError, match=r"train-00000-of-00001\.h5"):
        open_features(root, ENCODER, "pets")


def test_a_shard_as_it_should_be_is_opened_and_not_checked_again(root, monkeypatch):
    stored = open_features(root, ENCODER, "pets")
    assert (len(stored.shards), stored.dim) == (2, D)

    def never(*arguments):
        raise AssertionError("checked again")

    monkeypatch.setattr("autods.features.content.check_shard", never)
    open_features(root, ENCODER, "pets")


@pytest.mark.parametrize("seed", range(40))
def test_random_damage_is_refused_or_harmless_and_the_process_lives(root, seed):
    path = root.shard(ENCODER, "pets", "train", 0, 1)
    generator = np.random.default_rng(seed)
    content = bytearray(path.read_bytes().split(b"\nautods sha256 ")[0])
    for _ in range(generator.integers(1, 6)):
        place = generator.integers(len(content))
        content[place : place + int(generator.integers(1, 9))] = generator.bytes(4)
    shutil.copy(path, path.with_suffix(".saved"))
    path.write_bytes(bytes(content[: generator.integers(len(content) // 2, len(content))]))
    try:
        stored = open_features(root, ENCODER, "pets")
    except StoreError:
        return
    assert all(len(shard.features) == N for shard in stored.shards)
