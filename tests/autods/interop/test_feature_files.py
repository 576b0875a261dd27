"""Features of one's own as npy and CSV, Parquet and safetensors: what is read, what is refused."""

import json
import subprocess
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file
from warm import program

from autods.core.root import DataRoot
from autods.errors import ContainerError, LayoutError, UsageError
from autods.features.sets import StoredFeatures, open_features
from autods.interop.imports import from_files
from autods.interop.imports.from_files import import_files
from autods.interop.imports.npy import open_npy

N, D = 60, 5
X = np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)
NAMES = ["ant", "bee", "cat"]
Y = np.arange(N) % 3
SPLIT = np.array(["train", "train", "train", "val", "test"])[np.arange(N) % 5]
CODES = np.array([0, 0, 0, 1, 2])[np.arange(N) % 5]


def npy(place: Path, x: np.ndarray = X, lines: list[str] | None = None) -> Path:
    folder = place / "bugs"
    folder.mkdir(parents=True)
    np.save(folder / "features.npy", x)
    if lines is None:
        lines = [f"{i};{NAMES[Y[i]]};{SPLIT[i]}" for i in reversed(range(N))]
    (folder / "labels.csv").write_text("\n".join(["row;label;split", *lines]), "utf-8-sig")
    return folder


def columns(x: np.ndarray = X, **changes: object) -> dict[str, object]:
    named = {"label": [NAMES[k] for k in Y], "split": SPLIT.tolist()}
    made: dict[str, object] = {"features": list(x), **named, **changes}
    return {key: value for key, value in made.items() if value is not None}


def parquet(place: Path, table: dict[str, object] | pa.Table | None = None) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    path = place / "bugs.parquet"
    rows = table if isinstance(table, pa.Table) else pa.table(table or columns())
    pq.write_table(rows, path, row_group_size=17)
    return path


def numbered_columns(place: Path) -> Path:
    return parquet(place, {f"f{k}": X[:, k] for k in range(D)} | columns(features=None))


def fixed_size_lists(place: Path) -> Path:
    lists = pa.FixedSizeListArray.from_arrays(pa.array(X.ravel()), D)
    return parquet(place, pa.table(columns(features=lists)))


def parts(place: Path) -> Path:
    folder = place / "bugs"
    for name in ("train", "val", "test"):
        table = pa.table(columns(split=None)).filter(pa.array(name == SPLIT))
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, folder / f"{name}-00000-of-00001.parquet")
    return folder


def tensors(place: Path, metadata: bool | str = True, **changes: torch.Tensor) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    made = {
        "features": torch.tensor(X),
        "labels": torch.tensor(Y),
        "split": torch.tensor(CODES, dtype=torch.uint8),
        **changes,
    }
    path = place / "bugs.safetensors"
    names = json.dumps(NAMES) if metadata is True else metadata
    save_file(made, path, metadata={"class_names": names} if names else None)
    return path


def sidecar(place: Path) -> Path:
    path = tensors(place, metadata=False)
    path.with_suffix(".json").write_text(json.dumps({"class_names": NAMES}))
    return path


def imported(tmp_path: Path, source: Path, **options: object) -> StoredFeatures:
    root = DataRoot(tmp_path / "root")
    import_files(source, root, "my.own", **options)  # type: ignore[arg-type]
    return open_features(root, "my.own", "bugs")


@pytest.mark.parametrize(
    "make", [npy, parquet, numbered_columns, fixed_size_lists, parts, tensors, sidecar]
)
def test_every_format_gives_each_row_its_label_split_and_features(tmp_path, make):
    stored = imported(tmp_path, make(tmp_path / "in"))
    assert list(stored.info.class_names["class"]) == NAMES
    for split, name in (("train", "train"), ("dev", "val"), ("test", "test")):
        rows = stored.rows(split)
        expected = np.flatnonzero(name == SPLIT)
        np.testing.assert_array_equal(stored.labels("class")[rows], Y[expected])
        np.testing.assert_array_equal(stored.take(rows), X[expected].astype(np.float16))


def test_a_folder_of_several_formats_gives_a_set_for_each_and_keeps_them(tmp_path):
    npy(tmp_path / "in").rename(tmp_path / "in" / "one")
    parquet(tmp_path / "in").rename(tmp_path / "in" / "two.parquet")
    sidecar(tmp_path / "in").rename(tmp_path / "in" / "three.safetensors")
    (tmp_path / "in" / "bugs.json").rename(tmp_path / "in" / "three.json")
    root = DataRoot(tmp_path / "root")
    assert import_files(tmp_path / "in", root, "m.o").imported == ["one", "three", "two"]
    assert import_files(tmp_path / "in", root, "m.o").kept == ["one", "three", "two"]
    (tmp_path / "in" / "two.parquet").rename(tmp_path / "in" / "one.parquet")
    with pytest.raises(UsageError, match=r"one and one.parquet .* would both become 'one'"):
        import_files(tmp_path / "in", root, "m.o")


def test_without_splits_a_stratified_fifth_is_for_test_and_that_is_told(tmp_path):
    source = parquet(tmp_path, columns(split=None))
    root = DataRoot(tmp_path / "root")
    outcome = import_files(source, root, "m.o", dev_fraction=0.25)
    assert outcome.notes == ("bugs.parquet: it has no splits; a stratified fifth became test.",)
    stored = open_features(root, "m.o", "bugs")
    assert [len(stored.rows(split)) for split in ("train", "dev", "test")] == [36, 12, 12]
    np.testing.assert_array_equal(np.bincount(stored.labels("class")[stored.rows("test")]), [4] * 3)


def test_float64_and_classes_without_samples_are_told(tmp_path):
    source = tensors(tmp_path, metadata=False, features=torch.tensor(X, dtype=torch.float64))
    source.with_suffix(".json").write_text(json.dumps([*NAMES, "dog"]))
    outcome = import_files(source, DataRoot(tmp_path / "root"), "m.o")
    assert outcome.notes == (
        "bugs.safetensors: float64 was rounded to float16.",
        "bugs.safetensors: 1 of 4 classes have no sample: 'dog'.",
    )


def test_bfloat16_and_names_of_the_hub_are_understood(tmp_path):
    rounded = torch.tensor(X).bfloat16()
    stored = imported(tmp_path, tensors(tmp_path / "in", features=rounded))
    np.testing.assert_array_equal(
        stored.take(stored.rows("test")), rounded.half().numpy()[CODES == 2]
    )
    features = {"label": {"names": ["z", "y", "x"], "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    table = pa.table(columns(label=Y)).replace_schema_metadata(metadata)
    root = DataRoot(tmp_path / "other")
    import_files(parquet(tmp_path, table), root, "m.o")
    assert list(open_features(root, "m.o", "bugs").info.class_names["class"]) == ["z", "y", "x"]


def test_columns_that_could_be_the_labels_too_are_told(tmp_path):
    table = columns(y=Y)
    root = DataRoot(tmp_path / "root")
    outcome = import_files(parquet(tmp_path / "in", table), root, "m.o")
    assert "labels are those of column 'label', not of 'y'" in outcome.notes[0]


def with_row(value: float, row: int = 17) -> np.ndarray:
    changed = X.copy()
    changed[row, 2] = value
    return changed


def lines(**changes: str) -> list[str]:
    made = [f"{i};{NAMES[Y[i]]};{SPLIT[i]}" for i in range(N)]
    for line, text in changes.items():
        made[int(line[1:])] = text
    return made


def short_list() -> list[np.ndarray]:
    return [*X[:30], X[30][:4], *X[31:]]


WRONG: dict[str, tuple[Callable[[Path], Path], str]] = {
    "npy nan": (lambda p: npy(p, with_row(np.nan)), r"features.npy: row 17: .*got nan in column 2"),
    "npy inf": (lambda p: npy(p, with_row(np.inf)), r"row 17: expected finite .*got inf"),
    "npy large": (lambda p: npy(p, with_row(1e6)), r"within \+-65504, .*got 1000000.0 in column 2"),
    "npy integers": (lambda p: npy(p, X.astype(int)), r"type: expected floating point, got int64"),
    "npy flat": (lambda p: npy(p, X[0]), r"shape: expected \[n, d\], got \(5,\)"),
    "npy short": (lambda p: npy(p, X[:50]), r"line \d+: row: expected a number from 0 to 49"),
    "npy twice": (lambda p: npy(p, lines=lines(_5="3;ant;train")),
                  r"line 7: row: expected each row once, got 3, as in line 5"),
    "npy missing": (lambda p: npy(p, lines=lines()[:-1]), r"60 rows .*got none for row 59"),
    "npy no label": (lambda p: npy(p, lines=lines(_4="4;;train")), r"line 6: expected a label"),
    "npy split": (lambda p: npy(p, lines=lines(_4="4;ant;tets")),
                  r"line 6: unknown split 'tets'; did you mean test"),
    "npy cells": (lambda p: npy(p, lines=lines(_4="4;ant")), r"line 6: expected 3 cells .*, got 2"),
    "npy gap": (lambda p: npy(p, lines=[f"{i};{N + i};{SPLIT[i]}" for i in range(N)][:-1]),
                r"got none for row 59"),
    "parquet null": (lambda p: parquet(p, columns(features=[*X[:40], None, *X[41:]])),
                     r"features: row 40: expected features, got null"),
    "parquet nan": (lambda p: parquet(p, columns(list(with_row(np.nan)))), r"row 17: .*got nan"),
    "parquet length": (lambda p: parquet(p, columns(short_list())),
                       r"row 30: expected 5 numbers as in the first row, got 4"),
    "parquet no label": (lambda p: parquet(p, columns(label=None)), r"a column .label. or"),
    "parquet label null": (lambda p: parquet(p, columns(label=[None, *["a"] * (N - 1)])),
                           r"label: row 0: expected a value, got null"),
    "parquet no features": (lambda p: parquet(p, columns(features=None)),
                            r"features: one column of lists of floats, or numbered columns"),
    "parquet gap": (lambda p: parquet(p, {"f0": X[:, 0], "f2": X[:, 1], **columns(features=None)}),
                    r"expected 'f1' after 'f0', got 'f2'"),
    "parquet label gap": (lambda p: parquet(p, columns(label=Y * 2)),
                          r"row 1: expected labels without gaps \(1 never occurs\) or class names"),
    "parquet far label": (lambda p: parquet(p, columns(label=Y * 10**6)),
                          r"row 2: expected labels from 0 without gaps below 60, got 2000000"),
    "parquet number twice": (
        lambda p: parquet(p, {"f1": X[:, 0], "f01": X[:, 1], **columns(features=None)}),
        r"expected each number once, as 'f1', got 'f01'"),
    "parquet nested label": (lambda p: parquet(p, columns(label=[{"a": 1}] * N)),
                             r"label: expected texts or whole numbers, got struct"),
    "tensors deep names": (lambda p: tensors(p, "[" * 100_000),
                           r"class_names: expected JSON, got its values lie too deep"),
    "tensors missing": (lambda p: tensors(p, labels=torch.zeros(7)), r"expected integers \(60,\)"),
    "tensors split": (lambda p: tensors(p, split=torch.tensor(CODES + 1)),
                      r"split: row 4: expected 0 \(train\), 1 \(dev\), 2 \(test\), got 3"),
    "tensors label": (lambda p: tensors(p, labels=torch.tensor(Y + 1)),
                      r"labels: row 2: expected a label from 0 to 2, got 3"),
    "tensors inf": (lambda p: tensors(p, features=torch.tensor(with_row(-np.inf, 3))),
                    r"features: row 3: .*got -inf"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_told_with_the_row(tmp_path, case):
    make, told = WRONG[case]
    with pytest.raises(LayoutError, match=told):
        imported(tmp_path, make(tmp_path / "in"))
    assert not list((tmp_path / "root").rglob("*.h5"))


@pytest.mark.parametrize("make", [npy, parquet, tensors])
def test_damaged_files_are_one_message(tmp_path, make):
    source = make(tmp_path / "in")
    file = source / "features.npy" if source.is_dir() else source
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(ContainerError, match=r"cannot be read as .*not imported"):
        imported(tmp_path, source)


def test_large_features_come_in_several_shards_with_every_row_once(tmp_path, monkeypatch):
    whole = imported(tmp_path / "whole", parquet(tmp_path))
    monkeypatch.setattr(from_files, "SHARD_ROWS", 7)
    cut = imported(tmp_path / "cut", parquet(tmp_path))
    assert len(whole.shards) == 3 and len(cut.shards) == 6 + 2 + 2
    for split in ("train", "dev", "test"):
        np.testing.assert_array_equal(whole.take(whole.rows(split)), cut.take(cut.rows(split)))


def test_reading_a_large_file_takes_memory_for_a_part_only(tmp_path, monkeypatch):
    rows, width = 60_000, 128  # 31 MB as float32, 15 MB as float16
    folder = tmp_path / "in" / "bugs"
    folder.mkdir(parents=True)
    made = np.lib.format.open_memmap(folder / "features.npy", "w+", np.float32, (rows, width))
    made[:] = 1
    made.flush()
    text = "\n".join(["label", *(f"{i % 3}" for i in range(rows))])
    (folder / "labels.csv").write_text(text)
    monkeypatch.setattr(from_files, "SHARD_ROWS", 4096)
    table = open_npy(folder)
    tracemalloc.start()
    with from_files._rounded(folder, table, tmp_path) as features:
        assert features.shape == (rows, width) and features[-1, -1] == 1
        _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 12_000_000  # a block of 8192 rows and what is computed of it


def test_the_command_imports_a_file_and_tells_what_it_decided(tmp_path):
    command = [program("autods"), "import-features"]
    source = parquet(tmp_path, columns(split=None))
    root = ["--root", str(tmp_path / "root")]
    done = subprocess.run(
        [*command, str(source), "--encoder", "my.own", *root], text=True, capture_output=True,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "imported bugs\n")
    assert "note: bugs.parquet: it has no splits" in done.stderr
    refused = subprocess.run(
        [*command, str(source), *root], text=True, capture_output=True, check=False
    )
    assert refused.returncode == 2 and "expected --encoder NAME" in refused.stderr
