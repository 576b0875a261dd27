"""Import of the published features: exactly what the archive holds, and nothing else."""

import hashlib
import json
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import lmdb
import numpy as np
import pytest
import torch
from notes import Notes
from published_archive import (
    metadata_of,
    simple_sets,
    tar_of,
    vectors_of,
    write_database,
    write_dataset,
)
from warm import program

from autods.checks.features import verify_features
from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.errors import AutodsError, FeatureMismatch, UnknownName, UsageError
from autods.features.sets import StoredFeatures, open_features
from autods.features.shards import CODES, read_shard, write_shard
from autods.interop.published import PublishedOutcome, datasets, import_published, shards
from autods.manifest.catalogue import Catalogue
from autods.streams.open import open_stream

ENCODER = "ViT-L-14.published-stream"
AUTODS = [sys.executable, "-c", "from autods.cli.app import main; main()"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def imported(source: Path, root: DataRoot, **options) -> PublishedOutcome:
    """Import without a refusal."""
    outcome = import_published(source, root, **options)
    assert outcome.refused == {}
    return outcome


def entries(stored: StoredFeatures, task: str, *splits: str) -> list[tuple[bytes, str]]:
    """Return features as bytes and class name of every labelled row, under protocol paper."""
    labels, names = stored.labels(task), stored.info.class_names[task]
    member = stored.membership("paper")
    codes = [CODES[split] for split in splits]
    rows = np.flatnonzero(np.isin(member, codes) & (labels >= 0))
    features = stored.take(rows)
    return sorted((x.tobytes(), names[y]) for x, y in zip(features, labels[rows], strict=True))


def published(folder: Path, lists: list[tuple], split: str) -> list[tuple[bytes, str]]:
    """Return the same of a published list, read with the lmdb package and pickle."""
    place = str(folder / "feats" / "clip" / split)
    with lmdb.open(place, readonly=True, lock=False) as environment, environment.begin() as reader:
        found = [(pickle.loads(reader.get(str(path).encode())), label) for path, label in lists]
    return sorted((np.float16(x).tobytes(), str(label)) for x, label in found)


def assert_exact(folder: Path, sets: dict, stored: StoredFeatures) -> None:
    for task, lists in sets.items():
        here = "class" if task in ("none", None) else task
        assert entries(stored, here, "train", "dev") == published(folder, lists["train"], "train")
        assert entries(stored, here, "test") == published(folder, lists["val"], "val")


def tree(root: DataRoot) -> dict[str, bytes]:
    cache = (".lock", "-unchanged.json")  # the latter has times
    files = [p for p in root.path.rglob("*") if p.is_file() and not p.name.endswith(cache)]
    return {str(path.relative_to(root.path)): path.read_bytes() for path in files}


ODD = [
    "a b/c.jpg", "ü/日本.png", "'quoted', \"twice\"/x", "..hidden", "back\\slash", "tab\tname",
    "x" * 511, "UPPER.JPG", "upper.jpg", "a%20b/c.jpg", "emoji/😀.jpg", "-dash", "1", "~",
]  # fmt: skip


def test_every_value_label_and_split_is_the_published_one(source, root, monkeypatch):
    monkeypatch.setattr(shards, "SHARD", 7)
    monkeypatch.setattr(shards, "BLOCK", 5)
    train = [(path, f"c{i % 3}") for i, path in enumerate(ODD * 1)]
    train += [(f"d/{i}.jpg", f"c{i % 4}") for i in range(60)]
    val = [(f"v/{i}.jpg", f"c{i % 4}") for i in range(23)]
    color = {"train": [(p, "red") for p, _ in train[::2]], "val": [(p, "blue") for p, _ in val]}
    sets = {"type": {"train": train, "val": val}, "color": color}
    write_dataset(source, "apparel", sets, dim=768)
    assert imported(source, root).imported == ["apparel"]
    stored = open_features(root, ENCODER, "apparel")
    assert_exact(source / "apparel", sets, stored)
    assert stored.dim == 768
    assert stored.info.default_task == "color"  # as the published run has it
    assert len(stored.shards) > 10
    assert verify_features(root) == []


def test_a_dataset_without_label_sets_has_the_one_called_class(source, root):
    sets = simple_sets()
    write_dataset(source, "boat", sets)
    imported(source, root)
    stored = open_features(root, ENCODER, "boat")
    assert_exact(source / "boat", sets, stored)
    assert stored.info.class_names == {"class": ["c0", "c1", "c2"]}
    assert [len(stored.rows(split)) for split in ("train", "dev", "test")] == [11, 1, 6]


def test_labels_that_are_numbers_or_only_in_val_keep_the_published_order(source, root):
    train = [(f"t{i}", np.int64(i)) for i in (10, 9, 2, 1)]
    val = [(f"v{i}", np.int64(i)) for i in (2, 7, 5, 6, 0)]
    sets = {"none": {"train": train, "val": val}}
    write_dataset(source, "gtsrb", sets)
    imported(source, root)
    stored = open_features(root, ENCODER, "gtsrb")
    assert stored.info.class_names["class"] == ["1", "2", "9", "10", "0", "5", "6", "7"]
    assert_exact(source / "gtsrb", sets, stored)


def test_an_image_can_be_in_train_of_one_label_set_and_in_val_of_another(source, root):
    images = [(f"images/{i}.jpg", f"c{i % 2}") for i in range(20)]
    sets = {
        "split_2": {"train": images[10:], "val": images[:10]},
        "split_1": {"train": images[:10], "val": images[10:]},
    }
    write_dataset(source, "dtd", sets)
    imported(source, root)
    stored = open_features(root, ENCODER, "dtd")
    assert stored.info.default_task == "split_1"
    assert_exact(source / "dtd", sets, stored)
    for task in sets:
        stream = open_stream("dtd", root, ENCODER, protocol="paper", normalize="none")
        assert len(stream.tasks[0].train) + len(stream.tasks[0].dev) == 10, task
        assert len(stream.tasks[0].test) == 10


def test_a_path_that_is_listed_twice_counts_twice_under_paper_and_once_under_clean(source, root):
    sets = simple_sets(train=20)
    sets["none"]["train"] += [*sets["none"]["train"][:5], ("zip/c1/other.jpg", "c1")]
    sets["none"]["val"] += [sets["none"]["val"][0], (sets["none"]["val"][1][0], "c0")]
    write_dataset(source, "sketch", sets)
    imported(source, root)
    stored = open_features(root, ENCODER, "sketch")
    assert_exact(source / "sketch", sets, stored)
    sizes = {
        protocol: [len(part) for part in (task.train, task.dev, task.test)]
        for protocol in ("paper", "clean")
        for task in open_stream("sketch", root, ENCODER, protocol=protocol).tasks
    }
    assert sum(sizes["paper"][:2]) == 26
    assert sum(sizes["clean"][:2]) == 21
    assert sizes["paper"][2] == sizes["clean"][2] == 8


def test_clean_leaves_out_what_is_in_test_too_and_paper_keeps_it(source, root):
    sets = simple_sets(train=30)
    vectors = {
        s: vectors_of([p for p, _ in sets["none"][s]], 8, i) for i, s in enumerate(sets["none"])
    }
    copied, twin = sets["none"]["train"][3][0], sets["none"]["val"][0][0]
    vectors["train"][copied] = vectors["val"][twin]
    write_dataset(source, "ham10000", sets, vectors=vectors)
    imported(source, root)
    clean = open_stream("ham10000", root, ENCODER)
    paper = open_stream("ham10000", root, ENCODER, protocol="paper")
    assert clean.provenance["duplicates_removed"]["ham10000"]["in_test"] == 1
    assert len(clean.tasks[0].train) + len(clean.tasks[0].dev) == 29
    assert len(paper.tasks[0].train) + len(paper.tasks[0].dev) == 30


def test_dev_is_a_seeded_stratified_part_of_train(source, tmp_path):
    write_dataset(source, "boat", simple_sets(train=60))
    held = []
    for number, seed in enumerate((0, 0, 1)):
        root = DataRoot.open(tmp_path / f"root{number}")
        imported(source, root, dev_fraction=0.2, seed=seed)
        stored = open_features(root, ENCODER, "boat")
        dev = stored.rows("dev")
        assert np.bincount(stored.labels("class")[dev]).tolist() == [4, 4, 4]
        held.append(stored.take(dev).tobytes())
    assert held[0] == held[1] != held[2]


def test_dev_is_drawn_once_for_rows_of_several_label_sets(source, root):
    rows = [(f"t{i:02d}", f"c{i % 2}") for i in range(60)]
    val = [("v0", "c0"), ("v1", "c1")]
    other = [(path, f"k{i % 3}") for i, (path, _) in enumerate(rows[:40])]
    alone = [(f"u{i:02d}", f"k{i % 2}") for i in range(20)]
    sets = {
        "type": {"train": [*other, *alone], "val": [("v0", "k0")]},
        "color": {"train": rows, "val": val},
    }
    write_dataset(source, "apparel", sets)
    imported(source, root, dev_fraction=0.2)
    stored = open_features(root, ENCODER, "apparel")
    dev = stored.rows("dev")
    assert np.bincount(stored.labels("color")[dev] + 1).tolist() == [4, 6, 6]
    only = stored.labels("color")[dev] < 0
    assert np.bincount(stored.labels("type")[dev][only]).tolist() == [2, 2]


def test_tar_and_folder_give_the_same_bytes_and_neither_is_changed(source, tmp_path):
    for name in ("boat", "flowers", "rock"):
        write_dataset(source, name, simple_sets(), seed=len(name))
    archive = tar_of(source, tmp_path / "stream_feats.tar")
    archive.chmod(0o444)
    before = {path: path.read_bytes() for path in [archive, *source.rglob("*.*")]}
    one, two = DataRoot.open(tmp_path / "one"), DataRoot.open(tmp_path / "two")
    assert imported(archive, one).imported == ["boat", "flowers", "rock"]
    imported(source, two)
    assert tree(one) == tree(two)
    assert {path: path.read_bytes() for path in [archive, *source.rglob("*.*")]} == before
    assert imported(source, one).kept == ["boat", "flowers", "rock"]
    assert tree(one) == tree(two)
    assert {path.name for path in one.path.iterdir()} == {"features"}  # no scratch is left


def test_a_killed_import_goes_on_to_the_same_bytes(source, tmp_path):
    for number in range(12):
        write_dataset(source, f"d{number:02d}", simple_sets(train=900), dim=256, seed=number)
    archive = tar_of(source, tmp_path / "stream_feats.tar")
    whole, root = DataRoot.open(tmp_path / "whole"), DataRoot.open(tmp_path / "root")
    imported(archive, whole)
    command = [program("autods"), "import-features", str(archive), "--root", str(root.path)]
    for records in (1, 4, 8):
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while child.poll() is None and len(list(root.path.rglob("record.json"))) < records:
            time.sleep(0.001)
        child.send_signal(signal.SIGKILL)
        child.wait()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "kept     d00" in done.stdout
    leftovers = {".tmp", ".lock", ".holder"}
    found = {name: data for name, data in tree(root).items() if Path(name).suffix not in leftovers}
    assert found == tree(whole)


def test_a_changed_archive_or_setting_is_a_mismatch_that_keeps_what_stands(source, root, tmp_path):
    write_dataset(source, "boat", simple_sets())
    imported(source, root)
    before = tree(root)
    error = import_published(source, root, seed=1).refused["boat"]
    assert isinstance(error, FeatureMismatch) and "seed was 0, now 1" in str(error)
    (tmp_path / "other").mkdir()
    write_dataset(tmp_path / "other", "boat", simple_sets(), seed=5)
    error = import_published(tmp_path / "other", root).refused["boat"]
    assert isinstance(error, FeatureMismatch) and "made of sha256" in str(error)
    assert tree(root) == before


def test_provenance_says_archive_extractor_model_and_hashes(source, root):
    write_dataset(source, "boat", simple_sets())
    imported(source, root)
    record = json.loads(root.feature_record(ENCODER, "boat").read_text())
    assert record["encoder"]["extractor"] == "clip"
    assert record["encoder"]["source"].startswith("openai/clip-vit-large-patch14")
    assert record["origin"]["archive"] == "stream-clip"
    for place in ("metadata.pickle", "feats/clip/train/data.mdb", "feats/clip/val/data.mdb"):
        digest = hashlib.sha256((source / "boat" / place).read_bytes()).hexdigest()
        assert digest in record["origin"]["sha256"].values()


def test_stream71_opens_over_imported_features_in_the_published_order(source, root):
    names = [item.dataset for item in Catalogue().stream("stream71").datasets]
    for number, name in enumerate(names):
        write_dataset(source, name, simple_sets(2, 6, 4, name), dim=4, seed=number)
    assert imported(source, root).imported == names
    for protocol in ("paper", "clean"):
        stream = open_stream("stream71", root, ENCODER, protocol=protocol)
        assert [task.name for task in stream.tasks] == names
        assert stream.n_classes == 142
    part = open_stream("rock,boat", root, ENCODER, protocol="paper")
    assert [task.name for task in part.tasks] == ["rock", "boat"]


def test_only_the_named_datasets_are_imported(source, root):
    for name in ("boat", "rock"):
        write_dataset(source, name, simple_sets())
    assert imported(source, root, names=["rock"]).imported == ["rock"]
    with pytest.raises(UnknownName, match="did you mean rock"):
        import_published(source, root, names=["rok"])


def test_folders_that_have_another_name_here_get_it(source, root):
    write_dataset(source, "domainnetreal", simple_sets())
    assert imported(source, root).imported == ["domainnet_real"]


def test_other_extractors_are_listed_and_imported_under_names_of_their_own(source, root):
    write_dataset(source, "boat", simple_sets())
    write_dataset(source, "boat", simple_sets(), extractor="resnet", dim=16)
    write_dataset(source, "imdb", simple_sets(), extractor="gpt2")
    outcome = imported(source, root)
    assert outcome.extractors == {"clip": 1, "gpt2": 1, "resnet": 1}
    assert (outcome.imported, outcome.without) == (["boat"], {"imdb": ["gpt2"]})
    assert imported(source, root, extractor="resnet").encoder == "resnet50.published-stream"
    assert open_features(root, "resnet50.published-stream", "boat").dim == 16
    with pytest.raises(UsageError, match=r"'vit', got those of clip, gpt2, resnet; nothing"):
        import_published(source, root, extractor="vit")
    refused = import_published(source, root, names=["imdb"]).refused
    assert "of extractor clip" in str(refused["imdb"])


def test_widths_of_one_encoder_never_mix(source, root):
    write_dataset(source, "boat", simple_sets(), dim=8)
    write_dataset(source, "rock", simple_sets(), dim=9)
    outcome = import_published(source, root)
    assert outcome.imported == ["boat"]
    assert isinstance(outcome.refused["rock"], FeatureMismatch)
    assert "expected 8 dimensions" in str(outcome.refused["rock"])
    assert imported(source, root, names=["rock"], encoder="other.clip").imported == ["rock"]


def variants() -> dict[str, object]:
    lists = simple_sets()["none"]
    names = ["c0", "c1", "c2"]
    array = {split: np.array(pairs, dtype=object) for split, pairs in lists.items()}
    as_bytes = {
        split.encode(): [(path.encode(), label.encode()) for path, label in pairs]
        for split, pairs in lists.items()
    }
    of_paths = {
        split: [(pathlib.PurePosixPath(path), label) for path, label in pairs]
        for split, pairs in lists.items()
    }
    return {
        "as the source writes it": metadata_of({"none": lists}),
        "None for none": {"file_names": {None: lists}, "class_names": {None: names}},
        "without label sets": {"file_names": lists, "class_names": names},
        "without class names": {"file_names": {"none": lists}},
        "tuples": {"file_names": {"none": {s: tuple(p) for s, p in lists.items()}}},
        "lists": {"file_names": {"none": {s: [[*r] for r in p] for s, p in lists.items()}}},
        "dicts": {"file_names": {"none": {s: dict(p) for s, p in lists.items()}}},
        "arrays": {"file_names": {"none": array}, "class_names": {"none": np.array(names)}},
        "bytes": {b"file_names": {b"none": as_bytes}, b"class_names": {b"none": (b"c0",)}},
        "paths": {
            "file_names": {"none": of_paths},
            "corrupt_files": [pathlib.PosixPath("/gone/x.jpg")],
            "subset_indices": {"birds": {"train": [0, 1]}},
        },
    }


@pytest.mark.parametrize("how", ["zip", "old", "pickle"])
@pytest.mark.parametrize("variant", variants())
def test_metadata_is_read_in_every_form_that_the_source_leaves_open(source, root, variant, how):
    sets = simple_sets()
    write_dataset(source, "boat", sets)
    target, value = source / "boat" / "metadata.pickle", variants()[variant]
    if how == "pickle":
        target.write_bytes(pickle.dumps(value))
    else:
        torch.save(value, target, _use_new_zipfile_serialization=how == "zip")
    imported(source, root)
    stored = open_features(root, ENCODER, "boat")
    assert_exact(source / "boat", sets, stored)
    assert stored.info.class_names == {"class": ["c0", "c1", "c2"]}


@pytest.mark.parametrize(
    ("dtype", "protocol"),
    [*(("<f4", protocol) for protocol in range(6)), ("<f2", 4), ("<f8", 4), (">f4", 4)],
)
def test_vectors_of_every_type_and_pickle_are_rounded_the_same(source, root, dtype, protocol):
    sets = simple_sets()
    vectors = {
        split: {p: x.astype(dtype) for p, x in vectors_of([p for p, _ in pairs], 8).items()}
        for split, pairs in sets["none"].items()
    }
    for number, path in enumerate(list(vectors["train"])[::3]):  # several writers in one database
        vectors["train"][path] = (vectors["train"][path] * (number + 1)).reshape(1, 8)
    vectors["train"][path] = np.zeros(8, dtype)
    write_dataset(
        source, "boat", sets, vectors=vectors, dumps=lambda x: pickle.dumps(x, protocol=protocol)
    )
    imported(source, root)
    stored = open_features(root, ENCODER, "boat")
    found = sorted(x.tobytes() for x in stored.take(np.arange(18)))
    expected = [x.astype(np.float16).tobytes() for s in vectors.values() for x in s.values()]
    assert found == sorted(expected)


def test_a_wider_vector_among_narrow_ones_is_rounded_once(source, root):
    sets = simple_sets()
    vectors = vectors_of([path for path, _ in sets["none"]["train"]], 8)
    odd = sets["none"]["train"][4][0]
    vectors[odd] = np.full(8, 1 + 2.0**-11 + 2.0**-40)  # by way of float32 it would become 1
    write_dataset(source, "boat", sets, vectors={"train": vectors})
    imported(source, root)
    stored = open_features(root, ENCODER, "boat")
    assert int((stored.take(np.arange(18)) == 1 + 2.0**-10).all(axis=1).sum()) == 1


def test_bytes_that_only_look_like_the_numbers_are_not_taken_for_them(source, root):
    """A decoy has the bytes of the vector in the first value, and others in those after it."""
    sets = simple_sets()
    vector = np.arange(8, dtype=np.float32)
    swapped = pickle.dumps(vector.astype(">f4"), protocol=3)
    generator, calls = np.random.default_rng(0), []

    def dumps(_: np.ndarray) -> bytes:
        first_of_a_database = len(calls) in (0, 12)
        calls.append(1)
        decoy = vector.tobytes() if first_of_a_database else generator.bytes(32)
        return swapped[:2] + b"C\x20" + decoy + b"0" + swapped[2:]

    write_dataset(source, "boat", sets, dumps=dumps)
    imported(source, root)
    stored = open_features(root, ENCODER, "boat")
    assert (stored.take(np.arange(18)) == vector).all()
    assert_exact(source / "boat", sets, stored)


def test_features_without_a_label_are_left_out_and_told(source, root):
    sets, notes = simple_sets(), Notes()
    write_dataset(source, "boat", sets)
    fewer = {"none": {**sets["none"], "train": sets["none"]["train"][:9]}}
    torch.save(metadata_of(fewer), source / "boat" / "metadata.pickle")
    imported(source, root, progress=notes)
    assert_exact(source / "boat", fewer, open_features(root, ENCODER, "boat"))
    (line,) = notes.lines
    assert line.startswith("boat: 3 features of ")
    assert line.endswith("train/data.mdb have no label in metadata.pickle and are left out")


def test_hashing_a_large_archive_is_told_in_bytes(source, root, monkeypatch):
    class Steps(Silent):
        def __init__(self) -> None:
            self.steps: list[list[object]] = []

        def start(self, title: str, total: int | None, unit: str) -> None:
            self.steps.append([title, unit, total, 0])

        def advance(self, amount: int) -> None:
            self.steps[-1][-1] += amount

    write_dataset(source, "boat", simple_sets())
    monkeypatch.setattr(datasets, "LARGE", 0)
    steps = Steps()
    imported(source, root, progress=steps)
    size = sum(path.stat().st_size for path in (source / "boat").rglob("*.*") if path.is_file())
    assert steps.steps == [
        ["hashing boat", "bytes", size, size],
        ["importing boat", "features", 18, 18],
    ]


def test_shards_that_an_ended_import_has_left_do_not_stay(source, root):
    write_dataset(source, "boat", simple_sets())
    imported(source, root)
    whole = tree(root)
    root.feature_record(ENCODER, "boat").unlink()
    shard = root.shard(ENCODER, "boat", "train", 0, 1)
    stored = read_shard(shard)
    other = root.shard(ENCODER, "boat", "train", 1, 2)  # as a version with smaller shards would
    write_shard(other, stored, replace(stored.info, index=1, count=2))
    imported(source, root)
    assert tree(root) == whole


def test_the_benchmark_finds_every_value_equal(tmp_path):
    script = Path(__file__).resolve().parents[3] / "scripts" / "bench" / "published.py"
    options = ["--samples", "400", "--dim", "16", "--folder", str(tmp_path), "--json"]
    done = subprocess.run(
        [program("python"), script, *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["values"], found["different"]) == (400 * 16, 0)
    assert (found["labels"], found["wrong labels"]) == (200 + 8 * 120 + 80, 0)
    assert found["malicious value refused"] and found["archive unchanged"]
    assert list(tmp_path.iterdir()) == []


def test_the_command_imports_lists_and_answers_in_json(source, tmp_path):
    write_dataset(source, "boat", simple_sets())
    write_dataset(source, "boat", simple_sets(), extractor="vit")
    write_dataset(source, "yelp", simple_sets(), extractor="gpt2")
    archive = tar_of(source, tmp_path / "stream_feats.tar")
    command = [program("autods"), "import-features", str(archive), "--root", str(tmp_path / "root")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "imported boat",
        "left out yelp: the archive has it by gpt2 only",
        "Extractors in the archive, with numbers of datasets: clip (1), gpt2 (1), vit (1)",
        f"Encoder: {ENCODER}",
    ]
    told = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert json.loads(told.stdout)["kept"] == ["boat"]
    (source / "boat" / "metadata.pickle").unlink()
    write_dataset(source, "rock", simple_sets())
    command[command.index(str(archive))] = str(source)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "imported rock" in done.stdout
    assert "got no metadata.pickle; nothing of 'boat' was imported" in done.stderr
    assert "1 of 2 datasets were refused: boat" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--pad-to", "9"], "--pad-to is not for published archives"),
        (["--encoder", "../evil"], "encoder name '../evil'"),
        (["--extractor", "dino"], "expected features of extractor 'dino', got those of clip"),
        (["--dataset", "boot"], "unknown dataset of the archive 'boot'"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(source, tmp_path, options, named):
    write_dataset(source, "boat", simple_sets())
    command = [program("autods"), "import-features", str(source), "--root", str(tmp_path / "root")]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert (done.returncode, named in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / "root").exists()


def test_a_folder_of_npz_files_still_wants_the_name_of_its_encoder(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=np.ones((2, 2)))
    command = [
        program("autods"),
        "import-features",
        str(tmp_path),
        "--root",
        str(tmp_path / "root"),
    ]
    for options, named in (([], "expected --encoder NAME"), (["--extractor", "clip"], "published")):
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
        assert (done.returncode, named in done.stderr) == (2, True), done.stderr


def test_a_disk_without_room_ends_the_import_and_leaves_whole_datasets_only(source, tmp_path):
    """A limit on the size of files stands for the full disk."""
    for number, size in enumerate((10, 4000)):
        write_dataset(source, f"d{number}", simple_sets(train=size), dim=128)
    root = DataRoot.open(tmp_path / "root")
    command = " ".join(
        [*map(repr, AUTODS), "import-features", str(source), "--root", str(root.path)]
    )
    limited = ["bash", "-c", f"ulimit -f 400; trap '' XFSZ; {command}"]
    done = subprocess.run(
        limited, capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr and "'ulimit -f' shows it" in done.stderr
    assert [path.parent.name for path in root.path.rglob("record.json")] == ["d0"]
    assert imported(source, root).kept == ["d0"]


def test_errors_are_of_one_family_and_name_the_source(source, root):
    with pytest.raises(UsageError, match=r"expected <dataset>/feats/<extractor>/train/data\.mdb"):
        import_published(source, root)
    with pytest.raises(UsageError, match="dev fraction"):
        import_published(source, root, dev_fraction=1.0)
    write_dataset(source, "a/boat", simple_sets())
    write_dataset(source, "b/boat", simple_sets())
    with pytest.raises(AutodsError, match="of the same dataset: expected each once"):
        import_published(source, root)
    write_dataset(source / "c", "Cars", simple_sets())
    write_dataset(source / "c", "cars", simple_sets())
    with pytest.raises(UsageError, match="expected folders with different names of datasets"):
        import_published(source / "c", root)


def test_a_database_written_in_several_transactions_is_read_too(source, root):
    sets = simple_sets()
    write_dataset(source, "boat", sets)
    folder = source / "boat" / "feats" / "clip" / "train"
    with lmdb.open(str(folder), map_size=1 << 28) as environment:
        for path, _ in sets["none"]["train"][:4]:
            with environment.begin(write=True) as writer:
                writer.put(path.encode(), pickle.dumps(np.full(8, 7, np.float32)))
    imported(source, root)
    assert_exact(source / "boat", sets, open_features(root, ENCODER, "boat"))
    (folder / "lock.mdb").unlink()
    write_database(folder.with_name("extra"), vectors_of(["a"], 8))  # a split nobody asks for
    assert imported(source, root).kept == ["boat"]
