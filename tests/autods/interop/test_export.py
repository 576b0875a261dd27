"""Export of feature sets: Hugging Face datasets, Parquet, npz; shards opened directly."""

import json
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, load_dataset, load_from_disk
from encode_tools import make_dataset, many, tiny_encoder
from shard_tools import shard_info

from autods.cli.app import main
from autods.core.files import hash_tree, locked
from autods.core.root import DataRoot
from autods.core.splits import SPLITS
from autods.encode.extract import extract_dataset
from autods.errors import Busy, FeaturesMissing, UnknownName, UsageError
from autods.features.sets import StoredFeatures, open_features, seal_features
from autods.features.shards import ShardData, write_shard
from autods.interop import export, export_formats
from autods.interop.export import export_features
from autods.interop.imports.from_files import import_files
from autods.streams.open import open_stream

ENCODER = "tiny.a"
SIZES = {"train": 40, "dev": 6, "test": 12}
NAMES = {"kind": ["cat", "dog", "Prairie dog"], "fur": ["long", "short"]}


def write_set(
    root: DataRoot, name: str = "pets", shards: int = 2, d: int = 5, **sizes: int
) -> StoredFeatures:
    """Write features of two label sets; sample 5 of train is a copy of sample 3 of test."""
    generator, first = np.random.default_rng(len(name)), 0
    for split, n in {**SIZES, **sizes}.items():
        rows = np.array_split(np.arange(n), shards)
        for index, part in enumerate(rows):
            kind = (np.arange(n) % 3).astype(np.int32)
            fur = np.where(np.arange(n) % 4 == 0, -1, np.arange(n) % 2).astype(np.int32)
            hashes = first + np.arange(n, dtype=np.uint64)
            if split == "test" and n:
                hashes[3] = 5
            info = shard_info(
                int(part[-1]) + 1 if len(part) else 0,
                NAMES,
                dataset=name,
                split=split,
                encoder={"model": "tiny", "precision": "fp32"},
                samples_sha256="",
                start=int(part[0]) if len(part) else 0,
                index=index,
                count=shards,
                hashed="features",
            )
            data = ShardData(
                features=generator.normal(size=(len(part), d)).astype(np.float16),
                labels={"kind": kind[part], "fur": fur[part]},
                sample=(first + part).astype(np.int64),
                content_hash=hashes[part].astype(np.uint64),
                splits={"paper": np.full(len(part), 1 + (split == "test") * 2, np.uint8)},
            )
            write_shard(root.shard(ENCODER, name, split, index, shards), data, info)
        first += n
    return seal_features(root, ENCODER, name)


def expected(
    root: DataRoot, protocol: str = "clean", task: str = "kind"
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the features and labels that a stream gives, per split."""
    from autods.manifest.schema import StreamItem, StreamSpec

    spec = StreamSpec(name="x", title="x", datasets=[StreamItem(dataset="pets", task=task)])
    (opened,) = open_stream(spec, root, ENCODER, protocol=protocol, normalize="none").tasks
    return {s: (getattr(opened, s).features, getattr(opened, s).labels) for s in SPLITS}


def read_export(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """Read back what was exported, of any kind: split to features, labels and samples."""
    if path.suffix == ".npz":
        with np.load(path) as file:
            return {
                split: {
                    "features": file[f"x_{name}"],
                    "label": file[f"y_{name}"],
                    "sample": file[f"sample_{name}"],
                }
                for split, name in export_formats.NPZ_NAMES.items()
                if f"x_{name}" in file
            }
    if (path / "dataset_dict.json").exists():
        found = load_from_disk(str(path)).with_format("numpy")
        return {
            split: {key: part[key] for key in part.column_names} for split, part in found.items()
        }
    tables = {file.stem: pq.read_table(file) for file in path.glob("*.parquet")}
    return {
        split: {
            "features": np.stack(table["features"].to_numpy()),
            "label": table["label"].to_numpy(),
            "sample": table["sample"].to_numpy(),
        }
        for split, table in tables.items()
    }


@pytest.mark.parametrize("kind", ["hf", "npz", "parquet"])
@pytest.mark.parametrize("protocol", ["clean", "paper"])
def test_every_kind_holds_the_rows_of_the_stream_in_their_order(root, tmp_path, kind, protocol):
    stored = write_set(root)
    outcome = export_features("pets", root, ENCODER, kind, tmp_path / "out", protocol=protocol)
    assert outcome.action == "written"
    assert outcome.removed == (
        {"in_test": 1, "contradictory": 0, "repeated": 0} if protocol == "clean" else {}
    )
    found, wanted = read_export(outcome.path), expected(root, protocol)
    assert set(found) == {split for split in SPLITS if len(wanted[split][1])}
    for split, columns in found.items():
        features, labels = wanted[split]
        assert np.array_equal(columns["features"], features)
        assert np.array_equal(columns["label"], labels)
        assert outcome.counts[split] == len(labels)
        rows = np.concatenate([shard.sample for shard in stored.shards])
        again = stored.take(np.searchsorted(rows, columns["sample"]))
        assert np.array_equal(again, features)


def test_blocks_smaller_than_the_shards_change_nothing(root, tmp_path, monkeypatch):
    write_set(root)
    for kind in ("hf", "npz", "parquet"):
        whole = read_export(
            export_features("pets", root, ENCODER, kind, tmp_path / kind / "a").path
        )
        monkeypatch.setattr("autods.interop.export_source.BLOCK", 7)
        parts = read_export(
            export_features("pets", root, ENCODER, kind, tmp_path / kind / "b").path
        )
        monkeypatch.undo()
        for split, columns in whole.items():
            for key, values in columns.items():
                assert np.array_equal(values, parts[split][key])


def test_a_dataset_dict_names_its_classes_and_says_where_it_comes_from(root, tmp_path):
    write_set(root)
    path = export_features("pets", root, ENCODER, "hf", tmp_path).path
    loaded = load_from_disk(str(path))
    assert sorted(loaded) == ["dev", "test", "train"]
    train = loaded["train"]
    assert train.features["label"] == ClassLabel(names=NAMES["kind"])
    assert train.features["features"].length == 5
    assert train.features["features"].feature.dtype == "float16"
    assert train.features["label"].int2str(2) == "Prairie dog"
    described = json.loads(train.info.description)
    assert described["encoder_name"] == ENCODER and described["protocol"] == "clean"
    assert described == json.loads((path / "autods.json").read_text("utf-8"))
    names = ["autods.json", "dataset_dict.json", "dev", "test", "train"]
    assert sorted(p.name for p in path.iterdir()) == names
    batch = train.with_format("torch")[:4]
    assert batch["features"].shape == (4, 5)


def test_parquet_carries_class_names_and_opens_in_datasets_with_them(root, tmp_path):
    write_set(root)
    path = export_features("pets", root, ENCODER, "parquet", tmp_path / "out").path
    schema = pq.read_schema(path / "train.parquet")
    assert schema.field("features").type == pa.list_(pa.float32(), 5)
    assert json.loads(schema.metadata[b"class_names"]) == NAMES["kind"]
    assert json.loads(schema.metadata[b"autods"])["dataset"] == "pets"
    files = {split: str(path / f"{split}.parquet") for split in SPLITS}
    loaded = load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "cache"))
    assert loaded["test"].features["label"].names == NAMES["kind"]
    assert loaded["test"].num_rows == 12


def test_the_type_of_the_features_can_be_chosen_and_keeps_the_values(root, tmp_path):
    write_set(root)
    path = export_features("pets", root, ENCODER, "parquet", tmp_path, dtype="float16").path
    assert pq.read_schema(path / "dev.parquet").field("features").type == pa.list_(pa.float16(), 5)
    path = export_features("pets", root, ENCODER, "npz", tmp_path, dtype="float32").path
    found = read_export(path)["train"]["features"]
    assert found.dtype == np.float32 and np.array_equal(found, expected(root)["train"][0])


def test_another_label_set_leaves_out_what_it_does_not_label(root, tmp_path):
    write_set(root)
    outcome = export_features("pets", root, ENCODER, "npz", tmp_path, task="fur")
    assert outcome.path.name == "pets-fur.npz"
    found, wanted = read_export(outcome.path), expected(root, task="fur")
    for split in SPLITS:
        assert np.array_equal(found[split]["features"], wanted[split][0])
        assert np.array_equal(found[split]["label"], wanted[split][1])
    assert outcome.counts["test"] == 9
    with np.load(outcome.path) as file:
        assert list(file["class_names"]) == NAMES["fur"]


@pytest.mark.parametrize("dev", [6, 0])
def test_what_was_exported_as_npz_is_imported_as_it_was(root, tmp_path, dev):
    write_set(root, dev=dev)
    export_features("pets", root, ENCODER, "npz", tmp_path / "out")
    other = DataRoot.open(tmp_path / "other")
    import_files(tmp_path / "out", other, ENCODER, dev_fraction=0.0)
    found, wanted = open_features(other, ENCODER, "pets"), expected(root)
    for split in SPLITS:
        rows = found.rows(split)
        assert np.array_equal(found.take(rows), wanted[split][0])
        assert np.array_equal(found.labels("class")[rows], wanted[split][1])
    assert found.info.class_names == {"class": NAMES["kind"]}


def test_an_import_goes_out_and_in_again_unchanged(root, tmp_path):
    generator = np.random.default_rng(0)
    arrays = {
        "x_train": generator.normal(size=(50, 4)).astype(np.float16),
        "y_train": np.arange(50) % 5,
        "x_test": generator.normal(size=(20, 4)).astype(np.float16),
        "y_test": np.arange(20) % 5,
        "class_names": np.array([f"class {i}" for i in range(5)]),
    }
    (tmp_path / "in").mkdir()
    np.savez(tmp_path / "in" / "shapes.npz", **arrays)
    import_files(tmp_path / "in", root, ENCODER)
    export_features("shapes", root, ENCODER, "npz", tmp_path / "out")
    other = DataRoot.open(tmp_path / "other")
    import_files(tmp_path / "out", other, ENCODER)
    one, two = (open_features(place, ENCODER, "shapes") for place in (root, other))
    for split in SPLITS:
        assert len(one.rows(split)) > 0
        assert np.array_equal(one.take(one.rows(split)), two.take(two.rows(split)))


def test_extracted_features_are_exported_as_they_are_stored(root, tmp_path):
    encoder = tiny_encoder(tmp_path)
    manifest = make_dataset(root, many(60))
    extract_dataset(manifest, root, encoder, batch_size=8, shard_size=20)
    outcome = export_features("drawn", root, encoder.name, "hf", tmp_path / "out")
    assert sum(outcome.counts.values()) == 60
    stored = open_features(root, encoder.name, "drawn")
    train = load_from_disk(str(outcome.path))["train"].with_format("numpy")
    assert np.array_equal(train["features"][:], stored.take(stored.rows("train")))
    assert train.features["label"].names == [f"class{i}" for i in range(4)]


@pytest.mark.parametrize("kind", ["npz", "parquet"])
def test_equal_exports_have_equal_bytes(root, tmp_path, kind):
    write_set(root)
    for folder in ("a", "b"):
        export_features("pets", root, ENCODER, kind, tmp_path / folder)
        (tmp_path / folder / ".autods-export.lock").unlink(missing_ok=True)
    assert hash_tree(tmp_path / "a") == hash_tree(tmp_path / "b")


@pytest.mark.parametrize("kind", ["hf", "npz", "parquet"])
def test_the_same_export_is_kept_and_another_is_refused_until_told(root, tmp_path, kind):
    write_set(root)
    first = export_features("pets", root, ENCODER, kind, tmp_path)
    before = first.path.stat().st_mtime_ns
    assert export_features("pets", root, ENCODER, kind, tmp_path).action == "kept"
    with pytest.raises(UsageError, match=r"holds another export: pets.*protocol clean.*--overwr"):
        export_features("pets", root, ENCODER, kind, tmp_path, protocol="paper")
    assert first.path.stat().st_mtime_ns == before
    outcome = export_features(
        "pets", root, ENCODER, kind, tmp_path, protocol="paper", overwrite=True
    )
    assert outcome.action == "replaced"
    assert len(read_export(outcome.path)["train"]["label"]) == 46
    assert [p.name for p in tmp_path.glob(".pets*")] == []


def test_one_kind_does_not_take_the_place_of_another(root, tmp_path):
    write_set(root)
    export_features("pets", root, ENCODER, "hf", tmp_path)
    with pytest.raises(UsageError, match="as hf float16"):
        export_features("pets", root, ENCODER, "parquet", tmp_path, dtype="float16")


def test_what_is_no_export_is_never_replaced(root, tmp_path):
    write_set(root)
    (tmp_path / "pets").mkdir()
    (tmp_path / "pets" / "photo.jpg").write_bytes(b"mine")
    np.savez(tmp_path / "pets.npz", x_train=np.ones(3))
    for kind in ("hf", "parquet", "npz"):
        with pytest.raises(UsageError, match="is not an export by autods"):
            export_features("pets", root, ENCODER, kind, tmp_path, overwrite=True)
    assert (tmp_path / "pets" / "photo.jpg").read_bytes() == b"mine"
    with np.load(tmp_path / "pets.npz") as file:
        assert file.files == ["x_train"]


@pytest.mark.parametrize("kind", ["hf", "npz", "parquet"])
def test_an_export_that_fails_half_way_leaves_nothing_new(root, tmp_path, kind, monkeypatch):
    write_set(root)
    export_features("pets", root, ENCODER, kind, tmp_path, protocol="paper")
    before = read_export(next(tmp_path.glob("pets*")))

    def fail_in_test(self, split):
        if split == "test":
            raise OSError(28, "No space left on device")
        yield from blocks(self, split)

    blocks = export.ExportSource.blocks
    monkeypatch.setattr(export.ExportSource, "blocks", fail_in_test)
    with pytest.raises(OSError, match="No space left"):
        export_features("pets", root, ENCODER, kind, tmp_path, overwrite=True)
    after = read_export(next(tmp_path.glob("pets*")))
    assert np.array_equal(before["train"]["features"], after["train"]["features"])
    assert [p.name for p in tmp_path.glob(".pets*")] == []


def test_what_a_killed_export_left_is_tidied_up(root, tmp_path):
    write_set(root)
    out = tmp_path / "out"
    path = export_features("pets", root, ENCODER, "parquet", out).path
    before = hash_tree(path)
    # Killed while it wrote, and killed between moving the old aside and the new in place.
    (out / ".pets.tmp").mkdir()
    (out / ".pets.tmp" / "train.parquet").write_bytes(b"half")
    path.rename(out / ".pets.old")
    assert export_features("pets", root, ENCODER, "parquet", out).action == "kept"
    assert hash_tree(path) == before
    # Killed before the old was removed.
    (out / ".pets.old").mkdir()
    outcome = export_features(
        "pets", root, ENCODER, "parquet", out, protocol="paper", overwrite=True
    )
    assert outcome.action == "replaced"
    assert [p.name for p in out.glob(".pets*")] == []


def test_two_exports_into_one_folder_do_not_meet(root, tmp_path, monkeypatch):
    write_set(root)
    monkeypatch.setattr(export, "PATIENCE", 0.01)
    with locked(tmp_path / ".autods-export"), pytest.raises(Busy, match="process"):
        export_features("pets", root, ENCODER, "npz", tmp_path)


@pytest.mark.parametrize("kind", ["hf", "npz", "parquet"])
def test_memory_does_not_grow_with_the_dataset(root, tmp_path, kind, monkeypatch):
    n, d = 60_000, 256
    write_set(root, train=n, d=d)
    monkeypatch.setattr("autods.interop.export_source.BLOCK", 1024)
    pool = pa.default_memory_pool()
    before = pool.bytes_allocated()
    reset = pool.max_memory()
    tracemalloc.start()
    try:
        export_features("pets", root, ENCODER, kind, tmp_path / "out")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < n * d  # half of the features, two bytes each
    assert max(0, pool.max_memory() - max(reset, before)) < n * d


def test_wrong_requests_say_what_is_known(root, tmp_path):
    write_set(root)
    for options, message in [
        ({"kind": "csv"}, "hf"),
        ({"protocol": "cleen"}, "clean"),
        ({"task": "kinds"}, "kind"),
        ({"dtype": "float64"}, "float32"),
        ({"encoder": "tiny.b"}, r"tiny\.a"),
    ]:
        chosen = {"kind": "npz", "encoder": ENCODER, **options}
        kind, encoder = chosen.pop("kind"), chosen.pop("encoder")
        with pytest.raises(UnknownName, match=message):
            export_features("pets", root, encoder, kind, tmp_path, **chosen)
    with pytest.raises(FeaturesMissing, match="cars"):
        export_features("cars", root, ENCODER, "npz", tmp_path)
    write_set(root, "untested", test=0)
    with pytest.raises(UsageError, match="no sample in its test split"):
        export_features("untested", root, ENCODER, "npz", tmp_path)
    assert list(tmp_path.glob("*.npz")) == []


def test_shards_open_directly_in_hugging_face_datasets(root, tmp_path):
    stored = write_set(root)
    folder = root.features(ENCODER, "pets")
    files = {split: f"{folder}/{split}-*.h5" for split in SPLITS}
    loaded = load_dataset("hdf5", data_files=files, cache_dir=str(tmp_path / "cache"))
    train = loaded["train"].with_format("numpy")
    columns = {"features", "label", "labels", "sample", "content_hash", "splits"}
    assert set(train.column_names) == columns
    rows = stored.rows("train")
    assert np.array_equal(train["features"][:], stored.take(rows))
    assert np.array_equal(train["label"][:], stored.labels("kind")[rows])
    assert train.features["features"].length == 5
    assert train[7]["labels"]["fur"] == stored.labels("fur")[rows[7]]
    assert train[7]["content_hash"] == stored.content_hash[rows[7]]


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Run the command line here; return exit code, output and errors."""
    before, sys.argv = sys.argv, ["autods", *arguments]
    try:
        with pytest.raises(SystemExit) as caught:
            main()
    finally:
        sys.argv = before
    captured = capsys.readouterr()
    return int(caught.value.code or 0), captured.out, captured.err


def test_the_command_exports_what_is_named_and_goes_on_after_a_failure(root, tmp_path, capsys):
    write_set(root, "pets")
    write_set(root, "birds")
    place = ["--encoder", ENCODER, "--root", str(root.path), "--out", str(tmp_path / "out")]
    code, out, _ = run(["export", "pets", *place, "--to", "parquet", "--json"], capsys)
    (row,) = json.loads(out)
    assert code == 0 and row["action"] == "written" and row["train"] == 39
    assert row["left out"] == 1
    code, out, err = run(["export", "cars", "birds", *place, "--to", "npz"], capsys)
    assert code == 1 and "cars" in err and (tmp_path / "out" / "birds.npz").is_file()
    code, out, _ = run(["export", "--stream", "all", *place, "--to", "npz", "--json"], capsys)
    assert code == 0
    assert {row["dataset"]: row["action"] for row in json.loads(out)} == {
        "birds": "kept",
        "pets": "written",
    }


def test_the_command_exports_every_label_set_of_a_stream(root, tmp_path, capsys):
    write_set(root)
    spec = tmp_path / "two.yaml"
    spec.write_text(
        "name: two\ntitle: Two label sets\ndatasets:\n  - pets\n  - dataset: pets\n    task: fur\n"
    )
    place = ["--encoder", ENCODER, "--root", str(root.path), "--out", str(tmp_path / "out")]
    code, _, _ = run(["export", "--stream", str(spec), *place, "--to", "npz"], capsys)
    assert code == 0
    assert sorted(p.name for p in (tmp_path / "out").glob("*.npz")) == ["pets-fur.npz", "pets.npz"]


@pytest.mark.parametrize("what", [["pets"], ["--stream", "all"]])
def test_the_only_encoder_need_not_be_named(root, tmp_path, capsys, what):
    write_set(root, "pets")
    place = ["--root", str(root.path), "--out", str(tmp_path / "out"), "--to", "npz"]
    code, _, _ = run(["export", *what, *place], capsys)
    assert code == 0 and (tmp_path / "out" / "pets.npz").is_file()


def test_wrong_use_of_the_command_ends_with_code_2(root, tmp_path, capsys):
    write_set(root)
    place = ["--encoder", ENCODER, "--root", str(root.path), "--out", str(tmp_path / "out")]
    for arguments in (
        ["export", *place],
        ["export", "pets", "--stream", "all", *place],
        ["export", "--stream", "all", "--task", "fur", *place],
        ["export", "pets", *place, "--to", "csv"],
        ["export", "pets"],
    ):
        code, _, err = run(arguments, capsys)
        assert code == 2 and "Traceback" not in err
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").write_text("a file")
    code, _, err = run(["export", "pets", *place], capsys)
    assert code == 2 and "expected a folder" in err
    assert (tmp_path / "out").read_text() == "a file"


def test_the_command_embeds_the_class_names_of_features(root, tmp_path, capsys):
    from encode_tools import add_model

    text = {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1}
    model = add_model(tmp_path, "tiny-test-clip", text_cfg=text)
    write_set(root, d=16)
    common = ["embed-classes", "--model", model, "--random-weights", "0", "--root", str(root.path)]
    code, out, _ = run([*common, "--encoder", ENCODER, "--templates", "plain", "--json"], capsys)
    (row,) = json.loads(out)
    assert code == 0 and row["action"] == "embedded" and row["classes"] == 5
    assert root.text(ENCODER, "pets", "plain").is_file()
    code, _, err = run([*common], capsys)
    assert code == 2 and "no dataset has features by encoder 'tiny-test-clip.random-0'" in err
    code, _, err = run([*common, "--encoder", ENCODER, "--templates", "best"], capsys)
    assert code == 2 and "default-v1" in err
