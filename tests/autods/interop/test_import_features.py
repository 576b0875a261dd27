"""Import of features that were made elsewhere."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from warm import program

from autods.checks.features import verify_features
from autods.cli.features import import_features
from autods.core.root import DataRoot
from autods.errors import (
    AutodsError,
    ContainerError,
    DatasetsFailed,
    FeatureMismatch,
    LayoutError,
    UsageError,
)
from autods.features.sets import open_features
from autods.features.shards import write_shard
from autods.index.splits import hold_out
from autods.interop.imports.from_files import import_files

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "features"
ENCODER = "mobilenetv2.imagenet"


def arrays(n: int = 40, d: int = 6, classes: int = 4, seed: int = 0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {
        "x_train": generator.normal(size=(n, d)).astype(np.float16),
        "y_train": (np.arange(n) % classes).astype(np.int32),
        "x_val": generator.normal(size=(n // 2, d)).astype(np.float16),
        "y_val": (np.arange(n // 2) % classes).astype(np.int32),
        "class_names": np.array([f"class {i}" for i in range(classes)]),
    }


def save(folder: Path, name: str, **changes: np.ndarray | None) -> Path:
    folder.mkdir(exist_ok=True)
    kept = {k: v for k, v in {**arrays(), **changes}.items() if v is not None}
    np.savez(folder / f"{name}.npz", **kept)
    return folder


def tree(root: DataRoot) -> dict[str, bytes]:
    cache = (".lock", "-unchanged.json")  # the latter has times
    files = [p for p in root.path.rglob("*") if p.is_file() and not p.name.endswith(cache)]
    return {str(path.relative_to(root.path)): path.read_bytes() for path in files}


@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=12),
    fraction=st.floats(0, 0.95),
    seed=st.integers(0, 2**32),
)
def test_hold_out_is_stratified_and_leaves_a_sample_of_each_class(sizes, fraction, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)) * 3, sizes))
    held = hold_out(labels, fraction, seed)
    assert np.array_equal(held, hold_out(labels, fraction, seed))
    for number, size in enumerate(sizes):
        count = int(held[labels == number * 3].sum())
        assert count <= size - 1
        assert min(size - 1, np.floor(size * fraction)) <= count <= np.ceil(size * fraction)


def test_hold_out_takes_the_fraction_as_a_whole_even_of_small_classes():
    labels = np.repeat(np.arange(100), 4)
    held = hold_out(labels, 0.1, seed=0)
    assert held.sum() == 40
    assert not np.array_equal(held, hold_out(labels, 0.1, seed=1))


def test_an_imported_file_keeps_every_sample_with_its_label(tmp_path):
    root = DataRoot.open(tmp_path / "root")
    outcome = import_files(save(tmp_path / "in", "Birds"), root, ENCODER)
    assert outcome.imported == ["birds"] and outcome.kept == []
    stored = open_features(root, ENCODER, "birds")
    source = arrays()
    learning = np.sort(np.concatenate([stored.rows("train"), stored.rows("dev")]))
    assert len(stored.rows("dev")) == 4
    sample = np.concatenate([shard.sample for shard in stored.shards])
    order = np.argsort(sample[learning])
    assert np.array_equal(stored.take(learning)[order], source["x_train"])
    assert np.array_equal(stored.labels("class")[learning][order], source["y_train"])
    assert np.array_equal(stored.take(stored.rows("test")), source["x_val"])
    assert stored.info.hashed == "features"
    assert verify_features(root) == []


def test_a_second_import_changes_nothing_and_a_fresh_one_gives_the_same_bytes(tmp_path):
    folder = save(tmp_path / "in", "birds")
    root, other = DataRoot.open(tmp_path / "one"), DataRoot.open(tmp_path / "two")
    import_files(folder, root, ENCODER)
    before = tree(root)
    assert import_files(folder, root, ENCODER).kept == ["birds"]
    import_files(folder, other, ENCODER)
    assert tree(root) == before == tree(other)


def test_an_import_that_was_cut_short_is_completed_to_the_same_bytes(tmp_path):
    folder = save(tmp_path / "in", "birds")
    root = DataRoot.open(tmp_path / "root")
    import_files(folder, root, ENCODER)
    whole = tree(root)
    for name in ("record.json", "test-00000-of-00001.h5"):
        root.features(ENCODER, "birds").joinpath(name).unlink()
    assert import_files(folder, root, ENCODER).imported == ["birds"]
    assert tree(root) == whole


def test_changed_files_and_settings_are_a_mismatch_that_keeps_what_stands(tmp_path):
    folder = save(tmp_path / "in", "birds")
    root = DataRoot.open(tmp_path / "root")
    import_files(folder, root, ENCODER)
    before = tree(root)
    with pytest.raises(FeatureMismatch, match="seed was 0, now 1"):
        import_files(folder, root, ENCODER, seed=1)
    save(folder, "birds", **arrays(seed=5))
    with pytest.raises(FeatureMismatch, match="made of sha256"):
        import_files(folder, root, ENCODER)
    assert tree(root) == before


def test_shards_of_an_unfinished_extraction_are_not_overwritten(tmp_path):
    folder = save(tmp_path / "in", "birds")
    root, other = DataRoot.open(tmp_path / "root"), DataRoot.open(tmp_path / "other")
    import_files(folder, other, ENCODER, seed=1)
    stored = open_features(other, ENCODER, "birds").shards
    for name, changes in [
        ("train-00000-of-00001.h5", {"hashed": "image", "origin": {}}),
        ("train-00000-of-00007.h5", {"hashed": "image", "origin": {}, "count": 7}),
        ("train-00000-of-00001.h5", {}),  # of an import with another seed
    ]:
        path = root.features(ENCODER, "birds") / name
        write_shard(path, stored[0], replace(stored[0].info, **changes))
        before = tree(root)
        with pytest.raises(FeatureMismatch, match=f"{name}.*Move that folder away"):
            import_files(folder, root, ENCODER)
        assert tree(root) == before
        path.unlink()


def test_narrow_features_are_padded_only_when_asked(tmp_path):
    folder = save(tmp_path / "in", "a")
    save(folder, "b", **arrays(d=4))
    with pytest.raises(DatasetsFailed, match=r"b: .*expected 6 dimensions.*got 4.*--pad-to 6"):
        import_files(folder, DataRoot.open(tmp_path / "one"), ENCODER)
    root = DataRoot.open(tmp_path / "two")
    import_files(folder, root, ENCODER, pad_to=6)
    stored = open_features(root, ENCODER, "b")
    assert stored.dim == 6 and stored.info.origin["width"] == 4
    assert not stored.take(stored.rows("test"))[:, 4:].any()
    with pytest.raises(FeatureMismatch, match="--pad-to 6"):
        import_files(folder, root, ENCODER, pad_to=8)
    save(folder, "c", **arrays(d=7))
    with pytest.raises(DatasetsFailed, match=r"c\.npz: expected 6 dimensions.*got 7"):
        import_files(folder, root, ENCODER, pad_to=6)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"x_train": None}, "x_train: expected this array"),
        ({"x_val": None, "y_val": None}, "x_test: expected this array"),
        ({"class_names": None, "y_train": 2 * np.arange(40) % 8}, r"without gaps \(5 never occurs"),
        ({"y_train": np.arange(40)}, "y_train: expected labels from 0 to 3, got 4"),
        ({"y_train": np.zeros(39, int)}, r"y_train: expected integers \(40,\), got .*39"),
        ({"y_train": np.zeros(40)}, "y_train: expected integers"),
        ({"x_val": np.zeros((20, 5), np.float16)}, "expected 6 columns as x_train, got 5"),
        ({"x_val": np.zeros(20)}, r"x_val: expected floating point \[n, d\]"),
        ({"x_train": np.full((40, 6), np.nan)}, "x_train: expected finite values"),
        ({"x_train": np.full((40, 6), 1e6)}, "x_train: expected finite values"),
        ({"class_names": np.arange(4)}, "class_names: expected text"),
        ({"class_names": np.array(list("abca"))}, "class_names: expected distinct.*'a' twice"),
    ],
)
def test_a_wrong_file_is_named_with_key_and_what_came(tmp_path, changes, named):
    root = DataRoot.open(tmp_path / "root")
    with pytest.raises(LayoutError, match=rf"birds\.npz: .*{named}"):
        import_files(save(tmp_path / "in", "birds", **changes), root, ENCODER)
    assert not list(root.path.rglob("*.h5"))


def test_without_class_names_the_numbers_of_the_labels_name_the_classes(tmp_path):
    root = DataRoot.open(tmp_path / "root")
    import_files(save(tmp_path / "in", "birds", class_names=None), root, ENCODER)
    names = open_features(root, ENCODER, "birds").info.class_names
    assert list(names["class"]) == ["0", "1", "2", "3"]


def test_a_file_of_no_known_format_is_told_which_there_are(tmp_path):
    table = tmp_path / "mine.csv"
    table.write_text("label,f0\na,0.5\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"expected NAME\.npz, .* got another kind of file"):
        import_features(table, encoder="my.own", root=tmp_path)


def test_pickled_objects_and_damaged_files_are_refused_without_running_them(tmp_path):
    folder = save(tmp_path / "in", "birds", class_names=np.array(["a", "b"], dtype=object))
    root = DataRoot.open(tmp_path / "root")
    with pytest.raises(ContainerError, match="no Python objects"):
        import_files(folder, root, ENCODER)
    whole = save(tmp_path / "in", "birds").joinpath("birds.npz").read_bytes()
    for bad in (b"", b"text", whole[:200], whole[:100] + b"\0\0\0\0" + whole[104:]):
        folder.joinpath("birds.npz").write_bytes(bad)
        with pytest.raises(AutodsError):
            import_files(folder, root, ENCODER)


def test_names_that_cannot_stand_are_refused(tmp_path):
    root = DataRoot.open(tmp_path / "root")
    with pytest.raises(UsageError, match="found none"):
        import_files(tmp_path, root, ENCODER)
    with pytest.raises(UsageError, match="encoder name"):
        import_files(save(tmp_path / "in", "birds"), root, "../evil")
    for wrong in ({"dev_fraction": 1.0}, {"seed": -1}):
        with pytest.raises(UsageError, match="seed from 0 on"):
            import_files(tmp_path / "in", root, ENCODER, **wrong)
    with pytest.raises(UsageError, match="cannot name a feature set"):
        import_files(save(tmp_path / "two", "my birds"), root, ENCODER)
    if sys.platform == "linux":
        with pytest.raises(UsageError, match="would both become 'birds'"):
            import_files(save(tmp_path / "in", "BIRDS"), root, ENCODER)


def test_val_becomes_the_development_part_when_there_is_a_test_part_too(tmp_path):
    extra = {"x_test": np.ones((3, 6), np.float16), "y_test": np.zeros(3, np.int64)}
    root = DataRoot.open(tmp_path / "root")
    import_files(save(tmp_path / "in", "birds", **extra), root, ENCODER)
    stored = open_features(root, ENCODER, "birds")
    assert [len(stored.rows(split)) for split in ("train", "dev", "test")] == [40, 20, 3]


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared real features are not here")
def test_real_features_are_imported_whole(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("flowers17", "clip_animehero2"):
        shutil.copy(SHARED / f"{name}.npz", folder)
    root = DataRoot.open(tmp_path / "root")
    import_files(folder, root, ENCODER, pad_to=1280)
    stored = open_features(root, ENCODER, "flowers17")
    assert [len(stored.rows(s)) for s in ("train", "dev", "test")] == [976, 108, 272]
    assert open_features(root, ENCODER, "clip_animehero2").dim == 1280
    assert verify_features(root, ENCODER) == []


def test_a_test_part_without_rows_is_refused_and_named(tmp_path):
    x, y = np.ones((4, 3), np.float16), np.arange(4, dtype=np.int32) % 2
    names = np.array(["a", "b"])
    folder = tmp_path / "npz"
    folder.mkdir()
    np.savez(folder / "a.npz", x_train=x, y_train=y, x_val=x[:0], y_val=y[:0], class_names=names)
    with pytest.raises(LayoutError, match=r"a\.npz.*x_val.*at least one row"):
        import_files(folder, DataRoot.open(tmp_path / "root"), "m.t")
    assert not list((tmp_path / "root").rglob("*.h5"))


BAD = {
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:300]),
    "not a zip": lambda path: path.write_bytes(b"features"),
    "empty": lambda path: path.write_bytes(b""),
    "without labels": lambda path: np.savez(path, x_train=arrays()["x_train"]),
    "of another width": lambda path: np.savez(path, **arrays(d=9)),
}


@pytest.mark.parametrize("bad", [["a"], ["c"], ["a", "b"], ["a", "c", "e"]], ids="-".join)
@pytest.mark.parametrize("how", BAD.values(), ids=BAD)
def test_bad_files_do_not_stop_the_others_and_are_listed_at_the_end(tmp_path, bad, how):
    root = DataRoot.open(tmp_path / "root")
    for name in "abcdef":
        save(tmp_path / "in", name)
    import_files(tmp_path / "in" / "f.npz", root, ENCODER)
    for name in bad:
        how(tmp_path / "in" / f"{name}.npz")
    told: list[str] = []
    with pytest.raises(DatasetsFailed) as caught:
        import_files(tmp_path / "in", root, ENCODER, failed=lambda name, error: told.append(name))
    assert list(caught.value.failures) == bad == told
    assert caught.value.outcomes.imported == [name for name in "abcde" if name not in bad]
    assert caught.value.outcomes.kept == ["f"]
    for name in bad:
        save(tmp_path / "in", name)
    assert import_files(tmp_path / "in", root, ENCODER).imported == bad


def test_the_command_ends_with_status_1_and_the_names_of_bad_files(tmp_path):
    for name in ("good", "bad", "worse"):
        save(tmp_path / "in", name)
    for name in ("bad", "worse"):
        (tmp_path / "in" / f"{name}.npz").write_bytes(b"x")
    command = ["import-features", str(tmp_path / "in"), "--encoder", ENCODER, "--root"]
    done = subprocess.run(
        [program("autods"), *command, str(tmp_path / "root")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and done.stdout == "imported good\n"
    assert "2 of 3 files were refused: bad, worse; the others are imported" in done.stderr
