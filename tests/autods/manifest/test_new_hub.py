"""`autods new --hf` against a loopback Hub: from its Parquet files to an index of images."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from servers.hosts import Hub
from servers.web import Storage, running

from autods.containers import MemberReader
from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.errors import LayoutError, RulesNotAccepted, UnknownName, Unreachable, UsageError
from autods.fetch import fetch_dataset
from autods.index.samples import index_dataset, load_samples
from autods.manifest.catalogue import Catalogue
from autods.manifest.new.hub import manifest_from_hub

NAME, REVISION, COPY = "ann/cats", "c" * 40, "d" * 40
NAMES = ["tabby", "siamese"]


def picture(value: int, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 4, 3), value, np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def parquet(start: int, count: int, label: object = "names", kind: str = "PNG") -> bytes:
    """Return a file as `datasets` writes it; its images show their number."""
    numbers = range(start, start + count)
    images = [{"bytes": picture(k, kind), "path": None} for k in numbers]
    features: dict[str, object] = {"image": {"_type": "Image"}}
    labels: list[object] = [k % 2 for k in numbers]
    if label == "names":
        features["label"] = {"names": NAMES, "_type": "ClassLabel"}
    elif label == "text":
        labels = [NAMES[k % 2] for k in numbers]
    elif isinstance(label, list):
        labels, features["label"] = label, {"names": NAMES, "_type": "ClassLabel"}
    table = pa.table({"image": images, "label": labels})
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(metadata), buffer, row_group_size=3)
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_RESOURCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with running(Storage()) as storage, running(Hub(storage)) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url(""))
        yield server
        assert set(storage.sent("Authorization")) <= {None}


def offer(hub: Hub, files: dict[str, bytes]) -> None:
    hub.repositories[NAME] = {"main": files, REVISION: files}


def learned(tmp_path: Path, identifier: str = NAME) -> dict[str, list[tuple[int, str]]]:
    """Fetch and index what a manifest describes: split to the value and class of each image."""
    target, _ = manifest_from_hub("cats", identifier, tmp_path / "manifests")
    manifest = Catalogue([target.parent]).dataset("cats")
    root = DataRoot(tmp_path / "root")
    fetch_dataset(manifest, root, Silent())
    index_dataset(manifest, root, Silent())
    index = load_samples(root, "cats", manifest)
    reader, found = MemberReader(root, "cats"), {}
    for row, (split, label) in enumerate(zip(index.splits(), index.labels(), strict=True)):
        with Image.open(io.BytesIO(reader.read(*index.locate(row)))) as image:
            value = int(np.asarray(image)[0, 0, 0])
        found.setdefault(split, []).append((value, index.classes["class"][label]))
    reader.close()
    return {split: sorted(pairs) for split, pairs in found.items()}


def expected(start: int, count: int) -> list[tuple[int, str]]:
    return [(k, NAMES[k % 2]) for k in range(start, start + count)]


@pytest.mark.parametrize("label", ["names", "text"])
def test_parquet_files_of_a_dataset_become_samples_with_labels_and_splits(tmp_path, hub, label):
    files = {
        "README.md": b"x",
        "data/train-00000-of-00002.parquet": parquet(0, 8, label),
        "data/train-00001-of-00002.parquet": parquet(8, 5, label),
        "data/validation-00000-of-00001.parquet": parquet(20, 4, label),
        "data/test-00000-of-00001.parquet": parquet(30, 6, label),
    }
    offer(hub, files)
    assert learned(tmp_path) == {
        "train": expected(0, 13), "dev": expected(20, 4), "test": expected(30, 6),
    }  # fmt: skip
    manifest = Catalogue([tmp_path / "manifests"]).dataset("cats")
    assert manifest.files[0].mirrors[0].url.startswith(f"{NAME}@{REVISION}:data/train-00000")
    assert manifest.licence == "cc0-1.0"


def test_validation_is_the_test_split_where_there_is_no_other(tmp_path, hub):
    offer(hub, {"train.parquet": parquet(0, 20), "validation.parquet": parquet(20, 4)})
    found = learned(tmp_path)
    assert found["test"] == expected(20, 4) and len(found["train"] + found["dev"]) == 20


def test_a_dataset_of_one_part_is_divided_and_rows_without_label_are_left_out(tmp_path, hub):
    offer(hub, {"data/train.parquet": parquet(0, 20, [k % 2 if k < 15 else -1 for k in range(20)])})
    found = learned(tmp_path)
    assert (
        sorted(pair for pairs in found.values() for pair in pairs) == expected(0, 15)
        and len(found["test"]) == 3
    )


def test_other_files_are_taken_from_the_copy_that_the_hub_makes(tmp_path, hub):
    offer(hub, {"train.zip": b"zip"})
    copy = {"default/train/0000.parquet": parquet(0, 9), "default/test/0000.parquet": parquet(9, 3)}
    hub.repositories[NAME] |= {"refs/convert/parquet": copy, COPY: copy}
    assert learned(tmp_path)["test"] == expected(9, 3)
    manifest = Catalogue([tmp_path / "manifests"]).dataset("cats")
    assert {entry.mirrors[0].url.split("@")[1][:40] for entry in manifest.files} == {COPY}


def test_a_configuration_is_named_where_there_are_several(tmp_path, hub):
    files = {f"{c}/{s}-0.parquet": parquet(k, 6) for c, k in (("big", 0), ("small", 50))
             for s in ("train", "test")}  # fmt: skip
    offer(hub, files)
    with pytest.raises(
        UsageError, match=r"several configurations.*--hf ann/cats:big; known: big, s"
    ):
        manifest_from_hub("cats", NAME, tmp_path)
    with pytest.raises(UnknownName, match="did you mean small"):
        manifest_from_hub("cats", f"{NAME}:smal", tmp_path)
    assert learned(tmp_path, f"{NAME}:small")["test"] == expected(50, 6)


def test_jpeg_bytes_are_kept_as_they_are(tmp_path, hub):
    offer(hub, {"train.parquet": parquet(0, 4, kind="JPEG"), "test.parquet": parquet(4, 2)})
    target, told = manifest_from_hub("cats", NAME, tmp_path / "manifests")
    assert told[0].startswith("2 files of train, test, 2 classes, ")
    manifest = Catalogue([target.parent]).dataset("cats")
    root = DataRoot(tmp_path / "root")
    fetch_dataset(manifest, root, Silent())
    index_dataset(manifest, root, Silent())
    index = load_samples(root, "cats", manifest)
    place = next(row for row in range(len(index)) if index.locate(row)[1].endswith("0000002.jpg"))
    assert MemberReader(root, "cats").read(*index.locate(place)) == picture(2, "JPEG")


def test_what_the_hub_refuses_is_one_clear_message(tmp_path, hub, monkeypatch):
    with pytest.raises(UsageError, match="no such dataset, or shows it to no stranger"):
        manifest_from_hub("cats", "ann/dogs", tmp_path)
    with pytest.raises(UsageError, match="expected owner/dataset or"):
        manifest_from_hub("cats", "cats", tmp_path)
    offer(hub, {"train.zip": b"zip"})
    with pytest.raises(LayoutError, match="expected Parquet files called train"):
        manifest_from_hub("cats", NAME, tmp_path)
    hub.gated[NAME] = {"Bearer hf_secret"}
    with pytest.raises(RulesNotAccepted, match="Ask for access"):
        manifest_from_hub("cats", NAME, tmp_path)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(Unreachable, match=r"did not answer for ann/cats.*nothing was written"):
        manifest_from_hub("cats", NAME, tmp_path)
    assert not list(tmp_path.glob("*.yaml"))


def test_tables_without_images_or_labels_are_told_with_their_columns(tmp_path, hub):
    def table(**columns: list[object]) -> bytes:
        buffer = io.BytesIO()
        pq.write_table(pa.table(columns), buffer)
        return buffer.getvalue()

    offer(hub, {"train.parquet": table(text=["a"], label=[0])})
    with pytest.raises(LayoutError, match=r"expected a column of images, got text, label"):
        manifest_from_hub("cats", NAME, tmp_path)
    offer(hub, {"train.parquet": table(image=[b"a"], price=[0])})
    with pytest.raises(LayoutError, match=r"column of labels \(a ClassLabel\), got image, price"):
        manifest_from_hub("cats", NAME, tmp_path)


@pytest.mark.parametrize("features", [
    "text", ["image"], {"label": "text"}, {"label": {"_type": "ClassLabel"}},
    {"label": {"_type": "ClassLabel", "names": [["a"], 2, None]}},
])  # fmt: skip
def test_a_description_that_is_none_is_as_good_as_missing(tmp_path, hub, features):
    buffer = io.BytesIO()
    table = pa.table({"image": [picture(1)] * 2, "label": ["a", "b"]})
    table = table.replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )
    pq.write_table(table, buffer)
    offer(hub, {"train.parquet": buffer.getvalue()})
    _, told = manifest_from_hub("cats", NAME, tmp_path)
    assert told[0].startswith("1 file of train, ")


def test_a_row_without_bytes_is_told_with_its_number(tmp_path, hub):
    buffer = io.BytesIO()
    images = [{"bytes": picture(1), "path": None}, {"bytes": None, "path": "a.png"}]
    pq.write_table(pa.table({"image": images, "label": ["a", "b"]}), buffer)
    offer(hub, {"train.parquet": buffer.getvalue()})
    with pytest.raises(LayoutError, match=r"train-00000.parquet: row 1: expected the bytes"):
        learned(tmp_path)
