"""Streams over stored features: numbering, order, protocol, normalisation, batches."""

import os
import pickle
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from archives import folders_layout, make_zip, manifest_of
from hypothesis import given, settings
from hypothesis import strategies as st
from shard_tools import shard_info

from autods.core.root import DataRoot
from autods.errors import FeatureMismatch, FeaturesMissing, StoreError, UnknownName, UsageError
from autods.features.class_names import ClassTexts, write_texts
from autods.features.sets import open_features, seal_features
from autods.features.shards import CODES, ShardData, write_shard
from autods.interop.imports.from_files import import_files
from autods.manifest.catalogue import Catalogue
from autods.manifest.schema import StreamItem, StreamSpec
from autods.streams import feature_set
from autods.streams.feature_set import FeatureSet, l2_normalize
from autods.streams.open import open_stream
from autods.streams.resolve import resolve
from autods.streams.stream import Stream, Task
from autods.streams.table import tabulate

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "features"
ENCODER = "tiny.a"
SIZES = {"birds": 5, "cats": 3, "frog": 11}


def write_split(
    root: DataRoot,
    name: str,
    split: str,
    labels: list[int],
    hashes: list[int],
    *,
    start: int = 0,
    classes: int | None = None,
    encoder: dict[str, object] | None = None,
    paper: list[int] | None = None,
    **changes: str,
) -> None:
    """Write one shard; feature k of a row tells its hash and its label."""
    y = np.array(labels, np.int32)
    h = np.array(hashes, np.uint64)
    features = np.stack([h, y + 1, np.ones(len(y))], axis=1).astype(np.float16)
    names = [f"{name}-{i}" for i in range(classes or max(labels) + 1)]
    info = shard_info(
        len(y),
        {"class": names, "half": ["low", "high"]},
        dataset=name,
        split=split,
        encoder=encoder or {"model": "tiny", "weights_sha256": "ab"},
    )
    info = replace(info, **changes)
    tasks = {"class": y, "half": (y > len(names) // 2).astype(np.int32)}
    splits = {"paper": np.array(paper, np.uint8)} if paper is not None else {}
    sample = np.arange(start, start + len(y), dtype=np.int64)
    data = ShardData(features, tasks, sample, h, splits)
    write_shard(root.shard(ENCODER, name, split, 0, 1), data, info)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> DataRoot:
    """Three datasets of 5, 3 and 11 classes without duplicates; birds is not split for paper."""
    root = DataRoot.open(tmp_path_factory.mktemp("root"))
    first = 1
    for name, classes in SIZES.items():
        start = 0
        for split, each in (("train", 6), ("dev", 2), ("test", 3)):
            labels = [(7 * i) % classes for i in range(classes * each)]
            hashes = list(range(first, first + len(labels)))
            paper = None if name == "birds" else [CODES[split]] * len(labels)
            write_split(root, name, split, labels, hashes, start=start, paper=paper)
            first, start = first + len(labels), start + len(labels)
        seal_features(root, ENCODER, name)
    return root


def content(task: Task) -> set[tuple[str, str, float]]:
    """Return (split, class name, hash) of every row: what must not depend on the order."""
    rows = set()
    for split in ("train", "dev", "test"):
        part: FeatureSet = getattr(task, split)
        for x, y in zip(part.features, part.labels, strict=True):
            rows.add((split, task.class_names[y - task.class_offset], float(x[0])))
    return rows


@settings(max_examples=25, deadline=None)
@given(order=st.integers(0, 2**31), cut=st.none() | st.integers(1, 12))
def test_labels_are_a_bijection_and_an_order_only_permutes_the_tasks(root, order, cut):
    options = {"classes_per_task": cut, "normalize": "none"}
    plain = open_stream("all", root, ENCODER, **options)
    mixed = open_stream("all", root, ENCODER, order=order, **options)
    for stream in (plain, mixed):
        numbers = np.concatenate([np.unique(task.test.labels) for task in stream.tasks])
        assert numbers.tolist() == list(range(sum(SIZES.values()))) == list(range(stream.n_classes))
        for index, task in enumerate(stream.tasks):
            assert task.index == index
            own = range(task.class_offset, task.class_offset + len(task.class_names))
            for part in (task.train, task.dev, task.test):
                assert set(part.labels.tolist()) <= set(own)
                assert part.labels.dtype == np.int64 and part.features.dtype == np.float16
    assert {t.name: content(t) for t in plain.tasks} == {t.name: content(t) for t in mixed.tasks}
    assert mixed.provenance["order"] == [task.name for task in mixed.tasks]
    assert mixed.provenance["order_seed"] == order


@settings(max_examples=40, deadline=None)
@given(
    train=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12)), min_size=1, max_size=20),
    dev=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12)), max_size=8),
    test=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12)), min_size=1, max_size=8),
)
def test_under_clean_no_image_is_learned_twice_or_tested(tmp_path_factory, train, dev, test):
    train = [*train, (0, 13)]  # an image of its own: something is always left to learn
    root = DataRoot.open(tmp_path_factory.mktemp("clean"))
    start = 0
    for split, rows in (("train", train), ("dev", dev), ("test", test)):
        labels, hashes = [y for y, _ in rows], [h for _, h in rows]
        paper = [CODES[split]] * len(rows)
        write_split(root, "pets", split, labels, hashes, start=start, classes=3, paper=paper)
        start += len(rows)
    seal_features(root, ENCODER, "pets")
    stream = open_stream("pets", root, ENCODER, normalize="none")
    task = stream.tasks[0]
    tested = task.test.features[:, 0].tolist()
    learned = [*task.train.features[:, 0], *task.dev.features[:, 0]]
    assert len(tested) == len(test)
    assert not set(learned) & set(tested)
    assert len(set(learned)) == len(learned)
    labels_of: dict[int, set[int]] = {}
    for y, h in [*train, *dev]:
        labels_of.setdefault(h, set()).add(y)
    sound = {h for h, labels in labels_of.items() if len(labels) == 1} - {h for _, h in test}
    assert set(learned) == sound
    removed = stream.provenance["duplicates_removed"].get("pets", {})
    assert len(learned) + sum(removed.values()) == len(train) + len(dev)
    paper = open_stream("pets", root, ENCODER, protocol="paper").tasks[0]
    assert [len(paper.train), len(paper.dev)] == [len(train), len(dev)]


def test_removed_duplicates_are_counted_by_reason(tmp_path):
    root = DataRoot.open(tmp_path)
    write_split(root, "pets", "train", [0, 0, 1, 0, 1, 1], [1, 1, 2, 3, 3, 9], classes=2)
    write_split(root, "pets", "dev", [1, 1], [2, 4], start=6, classes=2)
    write_split(root, "pets", "test", [0, 0], [9, 9], start=8, classes=2)
    seal_features(root, ENCODER, "pets")
    stream = open_stream("pets", root, ENCODER, normalize="none")
    assert stream.provenance["duplicates_removed"] == {
        "pets": {"in_test": 1, "contradictory": 2, "repeated": 2}
    }
    assert stream.tasks[0].train.features[:, 0].tolist() == [1, 2]
    assert stream.tasks[0].dev.features[:, 0].tolist() == [4]
    assert stream.provenance["counts"] == {"train": 2, "dev": 1, "test": 2}


def test_protocol_paper_uses_the_splits_stored_for_it(tmp_path):
    root = DataRoot.open(tmp_path)
    write_split(root, "pets", "train", [0, 1, 0], [1, 2, 3], classes=2, paper=[1, 3, 0])
    write_split(root, "pets", "extra", [1], [4], start=3, classes=2, paper=[2])
    write_split(root, "pets", "test", [1], [5], start=4, classes=2, paper=[0])
    seal_features(root, ENCODER, "pets")
    task = open_stream("pets", root, ENCODER, protocol="paper", normalize="none").tasks[0]
    hashes = [part.features[:, 0].tolist() for part in (task.train, task.dev, task.test)]
    assert hashes == [[1], [4], [2]]
    clean = open_stream("pets", root, ENCODER, normalize="none").tasks[0]
    assert [len(clean.train), len(clean.dev), len(clean.test)] == [3, 0, 1]


def test_a_protocol_without_a_rule_is_refused_and_not_replaced_by_another(root):
    with pytest.raises(UsageError, match=r"no splits of 'birds' for protocol 'paper'.*clean"):
        open_stream("all", root, ENCODER, protocol="paper")


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_task_without_samples_to_learn_or_to_test_is_refused(tmp_path, split):
    root = DataRoot.open(tmp_path)
    other = "test" if split == "train" else "train"
    write_split(root, "pets", split, [0, 0], [1, 2], classes=2)
    write_split(root, "pets", other, [0, 1], [3, 4], start=2, classes=2)
    seal_features(root, ENCODER, "pets")
    assert len(open_stream("pets", root, ENCODER).tasks) == 1
    with pytest.raises(UsageError, match=rf"task 'pets\[1:2\]'.*no sample.*{split}"):
        open_stream("pets", root, ENCODER, classes_per_task=1)


def test_datasets_are_cut_into_tasks_of_nearly_equal_size(root):
    items = [StreamItem(dataset="frog", classes_per_task=4), StreamItem(dataset="birds")]
    spec = StreamSpec(name="mine", title="mine", datasets=items)
    stream = open_stream(spec, root, ENCODER)
    names = ["frog[0:4]", "frog[4:8]", "frog[8:11]", "birds"]
    assert [task.name for task in stream.tasks] == names
    assert [len(task.class_names) for task in stream.tasks] == [4, 4, 3, 5]
    assert stream.tasks[1].class_names == ["frog-4", "frog-5", "frog-6", "frog-7"]
    assert [task.class_offset for task in stream.tasks] == [0, 4, 8, 11]
    assert stream.describe()[2] == {
        "task": "frog[8:11]",
        "dataset": "frog",
        "classes": 3,
        "train": 18,
        "dev": 6,
        "test": 9,
    }


def test_another_labelling_of_a_dataset_can_be_streamed(root):
    items = [StreamItem(dataset="frog"), StreamItem(dataset="frog", task="half")]
    spec = StreamSpec(name="two", title="two", datasets=items)
    stream = open_stream(spec, root, ENCODER)
    assert [task.name for task in stream.tasks] == ["frog", "frog/half"]
    assert stream.tasks[1].class_names == ["low", "high"]
    wrong = StreamSpec(name="x", title="x", datasets=[StreamItem(dataset="frog", task="halve")])
    with pytest.raises(UnknownName, match="did you mean half"):
        open_stream(wrong, root, ENCODER)


def text_of(name: str) -> list[float]:
    """Return what stands for the embedded name of a class in these tests: float [3]."""
    dataset, _, number = name.partition("-")
    return [list(SIZES).index(dataset), float(number), 1] if number else [len(dataset), 0, 0]


def test_a_task_offers_the_embedded_names_of_its_own_classes(tmp_path):
    root = DataRoot.open(tmp_path)
    for start, name in enumerate(["birds", "frog"]):
        labels = list(range(SIZES[name])) * 2
        for split in ("train", "test"):
            hashes = [100 * start + 50 * (split == "test") + i for i in range(len(labels))]
            write_split(root, name, split, labels, hashes)
        seal_features(root, ENCODER, name)
    classes = {"class": [f"frog-{i}" for i in range(11)], "half": ["low", "high"]}
    rows = {task: np.array(list(map(text_of, names)), "f2") for task, names in classes.items()}
    texts = ClassTexts("frog", "class", classes, classes, rows, "plain", ["{}"], "ab" * 32, {})
    write_texts(root.text(ENCODER, "frog", "plain"), texts)

    options = {"order": 3, "classes_per_task": 4}
    stream = open_stream("birds,frog", root, ENCODER, **options)
    assert [task.name for task in stream.tasks] != sorted(task.name for task in stream.tasks)
    for task in stream.tasks:
        if task.dataset == "frog":
            assert task.class_embeddings("plain").tolist() == list(map(text_of, task.class_names))
            assert task.class_embeddings("plain").dtype == np.float32
        else:
            with pytest.raises(FeaturesMissing, match="autods embed-classes birds"):
                task.class_embeddings("plain")
    with pytest.raises(FeaturesMissing, match="templates default-v1"):
        next(task for task in stream.tasks if task.dataset == "frog").class_embeddings()
    items = [StreamItem(dataset="frog", task="half")]
    half = open_stream(StreamSpec(name="h", title="h", datasets=items), root, ENCODER)
    assert half.tasks[0].class_embeddings("plain").tolist() == [text_of("low"), text_of("high")]


def test_an_order_may_be_given_by_names_of_tasks_or_datasets(root):
    order = ["cats", "frog[6:11]", "birds", "frog[0:6]"]
    stream = open_stream("all", root, ENCODER, order=order, classes_per_task=6)
    assert [task.name for task in stream.tasks] == order
    by_dataset = open_stream("all", root, ENCODER, order=["frog", "cats", "birds"])
    assert [task.dataset for task in by_dataset.tasks] == ["frog", "cats", "birds"]
    assert [task.name for task in open_stream("all", root, ENCODER, max_tasks=2).tasks] == [
        "birds",
        "cats",
    ]
    with pytest.raises(UsageError, match="leaves out birds"):
        open_stream("all", root, ENCODER, order=["frog", "cats"])
    with pytest.raises(UsageError, match="names a task twice"):
        open_stream("all", root, ENCODER, order=["frog", "cats", "birds", "frog"])


def test_names_resolve_to_lists_globs_and_files(root, tmp_path):
    def datasets(name: str | list[str]) -> list[str]:
        return [item.dataset for item in resolve(name, root, ENCODER).spec.datasets]

    assert datasets("all") == datasets("*") == ["birds", "cats", "frog"]
    assert datasets("[bf]*") == ["birds", "frog"]
    assert datasets("frog, birds") == datasets(["frog", "birds"]) == ["frog", "birds"]
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\ntitle: mine\ndatasets:\n  - cats\n", encoding="utf-8")
    assert datasets(str(path)) == ["cats"]


@pytest.mark.parametrize(
    ("name", "options", "error", "named"),
    [
        ("froggs", {}, UnknownName, "unknown stream 'froggs'; did you mean frog"),
        ("frog,brids", {}, UnknownName, "unknown dataset 'brids'; did you mean birds"),
        (["frog", "brids"], {}, UnknownName, "unknown dataset 'brids'; did you mean birds"),
        ("all", {"encoder": None}, UsageError, r"are by: tiny\.a\."),
        ("all", {"encoder": None, "root": "tiny.a"}, UsageError, "none, there is no such folder"),
        ("all", {"encoder": "/tmp/root"}, UsageError, "got the path '/tmp/root'.*encoder=..."),
        ("zzz*", {}, FeaturesMissing, "match 'zzz"),
        ("frog", {"encoder": "tiny.b"}, UnknownName, r"tiny\.b'; did you mean tiny\.a"),
        ("frog,frog", {}, UsageError, "'frog' is in the stream twice"),
        ("frog", {"scenario": "class_il"}, UnknownName, "did you mean class-il"),
        ("frog", {"protocol": "papers"}, UnknownName, "did you mean paper"),
        ("frog", {"normalize": "l3"}, UnknownName, "did you mean l2"),
        ("frog", {"order": "random"}, UsageError, "'paper', a seed .0 or more. or a list"),
        ("frog", {"order": -1}, UsageError, "a seed .0 or more. or a list of names, got '-1'"),
        ("frog", {"order": ["forg"]}, UnknownName, "did you mean frog"),
        ("frog", {"max_tasks": 0}, UsageError, "max_tasks: expected a positive"),
    ],
)
def test_a_wrong_request_is_answered_by_name(root, name, options, error, named):
    with pytest.raises(error, match=named):
        open_stream(name, **{"root": root, "encoder": ENCODER, **options})


def test_a_table_of_datasets_with_other_features_only_names_these_encoders(root, tmp_path):
    file = tmp_path / "shared.yaml"
    file.write_text("name: shared\ndatasets: [frog]\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"name of an encoder .* are by: tiny\.a"):
        tabulate(resolve(file, root))
    with pytest.raises(FeaturesMissing, match=r"by encoder 'big\.b' .* exist for: tiny\.a"):
        tabulate(resolve(file, root, "big.b"))
    with pytest.raises(UnknownName, match=f"No features of it are under {tmp_path}"):
        tabulate(resolve(file, tmp_path, ENCODER))


def test_all_datasets_without_features_are_named_at_once(root):
    with pytest.raises(FeaturesMissing) as caught:
        open_stream("stream71", root, ENCODER)
    text = str(caught.value)
    assert "of all 71 datasets, 71 have none" in text
    assert "aircraft, apparel" in text and "zalando" in text


def test_features_of_two_encoders_do_not_make_a_stream(tmp_path):
    root = DataRoot.open(tmp_path)
    write_split(root, "a", "train", [0], [1])
    write_split(root, "b", "train", [0], [2], encoder={"model": "tiny", "weights_sha256": "ff"})
    for name in ("a", "b"):
        seal_features(root, ENCODER, name)
    with pytest.raises(FeatureMismatch, match=r"'a' and 'b'.*weights_sha256 is ab and ff"):
        open_stream("all", root, ENCODER)


def test_features_of_an_older_manifest_are_not_opened(tmp_path):
    root = DataRoot.open(tmp_path / "root")
    manifest = manifest_of(
        {"a.zip": make_zip(tmp_path / "a.zip", {"x/1.jpg": b"1"})}, folders_layout("a.zip"), "pets"
    )
    text = manifest.model_dump_json(by_alias=True)
    (tmp_path / "manifests").mkdir()
    path = tmp_path / "manifests" / "pets.yaml"
    path.write_text(text, encoding="utf-8")
    catalogue = Catalogue([path.parent])
    for split in ("train", "test"):
        rows = {"labels": [0, 1], "hashes": [1, 2] if split == "train" else [3, 4]}
        write_split(root, "pets", split, **rows, fingerprint=manifest.fingerprint())
    seal_features(root, ENCODER, "pets")
    assert open_stream("pets", root, ENCODER, catalogue=catalogue).n_classes == 2
    path.write_text(text.replace('"test_fraction":0.2', '"test_fraction":0.3'), encoding="utf-8")
    with pytest.raises(FeatureMismatch) as caught:
        open_stream("pets", root, ENCODER, catalogue=catalogue)
    today = catalogue.dataset("pets").fingerprint()
    assert today != manifest.fingerprint()
    for named in (manifest.fingerprint()[:12], today[:12], "autods extract pets", str(path)):
        assert named in str(caught.value)
    write_split(root, "pets", "train", [0, 1], [1, 2], hashed="features")  # not of images
    write_split(root, "pets", "test", [0, 1], [3, 4], hashed="features")
    seal_features(root, ENCODER, "pets")
    assert open_stream("pets", root, ENCODER, catalogue=catalogue).n_classes == 2


def test_features_of_one_encoder_on_different_devices_make_a_stream(tmp_path):
    root = DataRoot.open(tmp_path)
    for name, place in (("a", "cpu"), ("b", "cuda")):
        made = {"model": "tiny", "device": place, "torch": f"2.{place}", "open_clip": place}
        for start, split in enumerate(("train", "test")):
            write_split(root, name, split, [0], [start], start=start, encoder=made)
        seal_features(root, ENCODER, name)
    assert len(open_stream("all", root, ENCODER).tasks) == 2


def test_l2_gives_unit_rows_and_keeps_zero_rows():
    features = np.random.default_rng(0).normal(size=(100, 300)).astype(np.float16) * 40
    features[3] = 0
    scaled = l2_normalize(features, block=7)
    assert scaled.dtype == np.float16
    lengths = np.linalg.norm(scaled.astype(np.float64), axis=1)
    assert lengths[3] == 0
    assert np.abs(np.delete(lengths, 3) - 1).max() < 1e-3
    exact = features.astype(np.float64)
    cosine = (exact * scaled).sum(1)[:3] / np.linalg.norm(exact, axis=1)[:3]
    assert np.abs(cosine / lengths[:3] - 1).max() < 1e-6


@pytest.mark.parametrize("dim", [1, 33, 768])
def test_l2_gives_the_same_bits_with_and_without_torch_and_in_blocks_of_any_size(dim, monkeypatch):
    rows = np.random.default_rng(dim).normal(size=(150, dim)) * np.logspace(-6, 3, 150)[:, None]
    features = rows.astype(np.float16)
    features[7] = 0
    scaled = [l2_normalize(features), l2_normalize(features, block=1), l2_normalize(features[::-1])]
    monkeypatch.setitem(sys.modules, "torch", None)
    scaled += [l2_normalize(features), l2_normalize(features, block=49)]
    scaled[2] = scaled[2][::-1]
    assert len({one.tobytes() for one in scaled}) == 1


def test_rows_and_batches_of_a_large_set_come_from_its_files_to_the_same_bits(root, monkeypatch):
    kept = open_stream("frog", root, ENCODER).tasks[0].train
    expected = [(x.tolist(), y.tolist()) for x, y in kept.batches(3, 7)]
    monkeypatch.setattr(feature_set, "KEPT", 0)
    part = open_stream("frog", root, ENCODER).tasks[0].train
    assert [(x.tolist(), y.tolist()) for x, y in part.batches(3, 7)] == expected
    order = np.array([4, 0, 4, 2])
    assert np.array_equal(part.rows(order), kept.features[order])
    assert "features" not in vars(part)
    again = pickle.loads(pickle.dumps(part))  # paths and row numbers
    assert np.array_equal(again.rows(order), kept.features[order])


def test_unnormalised_neighbouring_rows_are_the_mapped_file_itself(root):
    stream = open_stream("frog", root, ENCODER, normalize="none")
    assert isinstance(stream.tasks[0].train.features, np.memmap)
    assert not stream.tasks[0].train.features.flags.owndata


def test_features_are_read_when_a_task_is_used_and_then_kept(root):
    stream = open_stream("all", root, ENCODER)
    assert stream.dim == 3
    assert all("features" not in vars(task.train) for task in stream.tasks)
    assert stream.tasks[0].train.features is stream.tasks[0].train.features


def test_the_fingerprint_changes_with_all_that_changes_the_numbers(root):
    def fingerprint(name: str = "cats,frog", **options: object) -> str:
        return str(open_stream(name, root, ENCODER, **options).provenance["fingerprint"])

    base = fingerprint()
    assert fingerprint() == base == fingerprint("[cf]*")
    others = [
        fingerprint(order=["frog", "cats"]),
        fingerprint(protocol="paper"),
        fingerprint(normalize="none"),
        fingerprint("cats"),
        fingerprint(classes_per_task=3),
    ]
    assert base not in others and len(set(others)) == len(others)
    assert fingerprint("cats") == fingerprint(max_tasks=1)  # the same numbers


@settings(max_examples=30, deadline=None)
@given(n=st.integers(0, 1500), batch=st.integers(1, 700), seed=st.integers(0, 2**32))
def test_an_epoch_of_batches_holds_every_sample_exactly_once(n, batch, seed):
    features = np.arange(n * 2, dtype=np.float32).reshape(n, 2)
    part = FeatureSet(features, np.arange(n))
    batches = list(part.batches(batch, seed))
    assert [len(y) for _, y in batches[:-1]] == [batch] * (len(batches) - 1)
    assert sum(len(y) for _, y in batches) == n
    for x, y in batches:
        assert x.dtype == torch.float32 and y.dtype == torch.int64
        assert torch.equal(x, torch.from_numpy(features)[y])
    seen = [i for _, y in batches for i in y.tolist()]
    assert sorted(seen) == list(range(n))
    again = [i for _, y in part.batches(batch, seed) for i in y.tolist()]
    assert seen == again


def test_batches_of_stored_features_are_exact_and_do_not_touch_the_file(root):
    part = open_stream("frog", root, ENCODER, normalize="none").tasks[0].train
    before = np.array(part.features)
    orders = []
    for epoch in (0, 1):
        for x, y in part.batches(8, (5, epoch), torch.float64):
            assert x.dtype == torch.float64
            assert torch.equal(x[:, 1].long() - 1, y)
            x.zero_()
            orders.append(y.tolist())
    assert orders[: len(orders) // 2] != orders[len(orders) // 2 :]
    assert np.array_equal(part.features, before)


def test_a_stream_can_be_made_by_hand():
    part = FeatureSet(np.zeros((4, 7), np.float32), np.zeros(4, np.int64))
    task = Task("t", "d", 0, ["only"], 0, part, part, part)
    with pytest.raises(FeaturesMissing, match="do not come from a data root"):
        task.class_embeddings()
    stream = Stream("mine", "class-il", [task], "none", {})
    assert (stream.n_classes, stream.dim, len(part)) == (1, 7, 4)
    assert stream.describe()[0]["train"] == 4


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared real features are not here")
def test_the_real_features_make_a_stream_of_small_tasks(tmp_path):
    root, encoder = DataRoot.open(tmp_path), "mobilenetv2.imagenet"
    import_files(SHARED, root, encoder, pad_to=1280)
    stream = open_stream("all", root, encoder, classes_per_task=12)
    assert (len(stream.tasks), stream.n_classes, stream.dim) == (32, 353, 1280)
    assert stream.provenance["counts"] == {"train": 15423, "dev": 1714, "test": 6270}
    with np.load(SHARED / "grocery.npz", allow_pickle=False) as file:
        names, x, y = file["class_names"], file["x_val"], file["y_val"]
    task = next(task for task in stream.tasks if task.name == "grocery[24:36]")
    assert task.class_names == names[24:36].tolist()
    mine = (y >= 24) & (y < 36)
    assert np.array_equal(task.test.labels - task.class_offset, y[mine] - 24)
    assert np.array_equal(task.test.features, l2_normalize(x[mine]))
    learned = np.concatenate([np.unique(t.train.labels) for t in stream.tasks])
    assert learned.tolist() == list(range(353))
    assert open_features(root, encoder, "grocery").info.origin["file"] == "grocery.npz"


@pytest.mark.parametrize("flip", [1 << 4, 1 << 12, 1 << 30])
def test_a_label_of_no_class_that_a_flipped_bit_made_is_refused(tmp_path, flip):
    """The file has its old size and time, so it is not hashed again."""
    root = DataRoot.open(tmp_path)
    small = np.ones((6, 4), np.float16)
    data = ShardData(small, {"class": np.arange(6, dtype=np.int32) % 2}, np.arange(6),
                     np.arange(6, dtype=np.uint64))  # fmt: skip
    for split in ("train", "test"):
        info = shard_info(6, {"class": ["a", "b"]}, dataset="pets", split=split)
        shifted = replace(data, sample=data.sample + (0 if split == "train" else 6))
        write_shard(root.shard("made.up", "pets", split, 0, 1), shifted, info)
    seal_features(root, "made.up", "pets")
    path = root.shard("made.up", "pets", "train", 0, 1)
    with h5py.File(path) as file:
        at = file["label"].id.get_offset()
    content, status = bytearray(path.read_bytes()), path.stat()
    label = int.from_bytes(content[at : at + 4], "little") ^ flip
    content[at : at + 4] = label.to_bytes(4, "little")
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(StoreError, match=r"holds label .* which has 2 classes"):
        open_stream("pets", root, "made.up", scenario="class-il")
