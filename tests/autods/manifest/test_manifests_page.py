"""docs/manifests.md: its examples load and read tiny archives, and no key is left out."""

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from archives import REPOSITORY, make_folder, make_zip, placed

from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.index.samples import index_dataset, load_samples
from autods.layouts import FAMILIES
from autods.manifest.catalogue import load
from autods.manifest.schema import Manifest, StreamSpec
from autods.manifest.sources import FORMS

PAGE = (REPOSITORY / "docs" / "manifests.md").read_text(encoding="utf-8")

Files = Mapping[str, bytes | Mapping[str, bytes]]  # of a dataset: content, or members of a zip


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def zipped(members: Mapping[str, bytes], folder: Path) -> bytes:
    return make_zip(folder / "inner.zip", members).read_bytes()


def numbered(pattern: str, count: int) -> dict[str, bytes]:
    return {pattern.format(i): pattern.format(i).encode() for i in range(count)}


def parquet_rows(start: int, count: int, folder: Path) -> bytes:
    numbers = range(start, start + count)
    images = [{"bytes": b"%d" % k, "path": None} for k in numbers]
    pq.write_table(pa.table({"image": images, "label": [k % 2 for k in numbers]}), folder / "rows")
    return (folder / "rows").read_bytes()


def leaves() -> dict[str, bytes]:
    files = {f"data/img/p{i // 2}_v{i % 2}.png": b"%d" % i for i in range(12)}
    for split, numbers in (("train", range(7)), ("val", range(8, 10)), ("test", (7, 10, 11))):
        lines = [f"img/p{i // 2}_v{i % 2}.png {i % 3}\n" for i in numbers]
        files[f"lists/{split}.txt"] = "".join(lines).encode()
    gardens = "".join(f"p{i},{'north' if i % 2 else 'south'}\n" for i in range(6))
    files["plants.csv"] = f"plant,garden\n{gardens}".encode()
    files["classes.txt"] = b"0 oak\n1 elm\n2 silver birch\n"
    return files


def archives(section: str, folder: Path) -> Files:
    """Return tiny files of the layout that a section's example describes."""
    if section == "Manifests":
        members = numbered("pets/train/cat/{}.jpg", 10) | numbered("pets/train/dog/{}.jpg", 10)
        return {"pets.zip": {**members, "pets/test/dog/0.jpg": b"x", "pets/README.jpg": b"y"}}
    if section == "class-folders":
        members = numbered("photos/3 oak/plant{}_side.JPG", 4)
        members |= numbered("photos/12 silver birch/plant1{}_side.jpg", 4)
        members |= {"photos/3 oak/broken1_.jpg": b"b", "photos/3 oak/plant0_top.png": b"p"}
        return {"leaves.zip": {**members, "test.txt": b"3 oak/plant0_side.JPG\n"}}
    if section == "nested-archives":
        inner = {
            f"parts/{split}.zip": zipped({f"{c}/{split}{c}.png": b"x" for c in "ab"}, folder)
            for split in ("train", "test")
        }
        return {"rooms.zip": {**inner, "other.zip": zipped({"a/1.png": b"x"}, folder)}}
    if section == "csv-table":
        rows = "".join(f"i{i},{'nevus' if i % 2 else 'melanoma'},p{i // 4}\n" for i in range(16))
        members = {"labels.csv": f"image_id,diagnosis,patient\n{rows}".encode()}
        return {"skin.zip": members | numbered("images/i{}.png", 16)}
    if section == "list-files":
        return {"leaves.zip": leaves()}
    if section == "arrays":
        return {
            f"{axis}_{split}.npy": npy(
                np.arange(n) % 2 if axis == "y" else np.zeros((n, 4, 5, 3), np.uint8)
            )
            for split, n in (("train", 8), ("test", 4))
            for axis in "xy"
        }
    if section == "parquet":
        parts = {"train-00000.parquet": (0, 8), "test-00001.parquet": (8, 4)}
        return {name: parquet_rows(*rows, folder) for name, rows in parts.items()}
    if section == "numbered":
        members = {f"jpg/image_{i:04d}.jpg": b"%d" % i for i in range(1, 7)}
        return {"flowers.zip": {**members, "train.txt": b"1\n2\n4\n5\n", "test.txt": b"3\n6\n"}}
    assert section == "combined"
    return {
        "train.zip": {"cat/1.png": b"1", "dog/2.png": b"2"},
        "test.zip": {"3.png": b"3", "4.png": b"4"},
        "test.csv": b"name,label\n3.png,dog\n4.png,cat\n",
    }


# Section to counts (train, dev, test, unused) under clean, and the classes of each task.
READ = {
    "Manifests": ((18, 2, 1, 0), {"class": ["cat", "dog"]}),
    "class-folders": ((6, 1, 1, 0), {"species": ["oak", "silver birch"]}),
    "nested-archives": ((2, 0, 2, 0), {"class": ["a", "b"]}),
    "csv-table": (None, {"class": ["nevus", "melanoma"], "malignant": ["no", "yes"]}),
    # the plant of image 7 has an image in test, so its other one, 6, is left out of train
    "list-files": (
        (6, 2, 3, 1),
        {"species": ["oak", "elm", "silver birch"], "garden": ["north", "south"]},
    ),
    "arrays": ((7, 1, 4, 0), {"class": ["cat", "dog"]}),
    "parquet": ((7, 1, 4, 0), {"class": ["cat", "dog"]}),
    "numbered": ((4, 0, 2, 0), {"class": ["daffodil", "snowdrop"]}),
    "combined": ((2, 0, 2, 0), {"class": ["cat", "dog"]}),
}


def examples() -> list[tuple[str, dict[str, Any]]]:
    """Return the heading above each YAML example, and the example."""
    found, heading = [], ""
    for line in re.finditer(
        r"^#{1,3} ([^\n]+)$|^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL
    ):
        heading = line[1] or heading
        if line[2] is not None:
            found.append((heading, yaml.safe_load(line[2])))
    return found


def test_the_first_example_is_a_whole_manifest(tmp_path):
    heading, content = examples()[0]
    path = tmp_path / "pets.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    assert heading == "Manifests"
    assert load(path, Manifest).name == "pets"


@pytest.mark.parametrize("section", READ)
def test_the_example_of_a_family_reads_an_archive_of_its_layout(tmp_path, section):
    (example,) = [content for heading, content in examples() if heading == section]
    sources = {}
    for name, content in archives(section, tmp_path).items():
        if isinstance(content, bytes):
            sources[name] = make_folder(tmp_path / "source", {name: content}) / name
        else:
            sources[name] = make_zip(tmp_path / "source" / name, content)
    (_, first), *_ = examples()
    files = [{**first["files"][0], "name": name} for name in sources]
    manifest = Manifest.model_validate({**first, **example, "files": files})
    root = DataRoot(tmp_path / "root")
    summary = index_dataset(placed(root, manifest, sources), root, Silent())
    counts, classes = READ[section]
    found = summary.counts["clean"]
    if counts is None:  # drawn by groups of four: the numbers are the draw's
        assert (sum(found.values()), found["test"], found["unused"]) == (16, 4, 0)
    else:
        assert tuple(found[s] for s in ("train", "dev", "test", "unused")) == counts
    assert summary.classes == {task: len(names) for task, names in classes.items()}
    assert dict(load_samples(root, manifest.name).classes) == classes


def test_examples_of_single_keys_are_valid_too():
    singles = [(h, c) for h, c in examples() if h not in READ and h != "Streams"]
    assert {heading for heading, _ in singles} == {"splits", "expected"}
    for _, content in singles:
        Manifest.model_validate({**examples()[0][1], **content})


def test_the_stream_is_a_valid_stream():
    ((_, content),) = [pair for pair in examples() if pair[0] == "Streams"]
    assert [item.dataset for item in StreamSpec.model_validate(content).datasets] == [
        "leaves",
        "pets",
    ]


def test_every_family_has_a_section_with_an_example():
    assert set(FAMILIES.names()) == READ.keys() - {"Manifests"}


def test_every_key_and_every_kind_of_source_is_described():
    schemas = [Manifest.model_json_schema(by_alias=True), StreamSpec.model_json_schema()]
    parts = [part for schema in schemas for part in (schema, *schema["$defs"].values())]
    keys = {key for part in parts for key in part["properties"]}
    described = set(re.findall(r"`([^`\n]+)`", PAGE))
    assert {*keys, *FORMS, "git", "file"} - described == set()
