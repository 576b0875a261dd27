"""Fetch and index a tiny archive of every shipped dataset and compare the complete index."""

import io
from collections import defaultdict

import numpy as np
import pytest
from fixtures import FIXTURES, Fixture
from fixtures.tools import MADE
from layout_tools import published_by
from PIL import Image

from autods.containers import MemberReader
from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.fetch import fetch_dataset
from autods.index.samples import SampleIndex, index_dataset, load_samples, verify_index
from autods.manifest.catalogue import Catalogue


def test_every_shipped_dataset_has_a_fixture():
    assert sorted(FIXTURES) == Catalogue().datasets()


@pytest.mark.parametrize("name", sorted(FIXTURES))
def test_the_published_layout_gives_the_whole_index(name, tmp_path):
    fixture = FIXTURES[name](tmp_path / "published")
    manifest = published_by(fixture, Catalogue().dataset(name))
    root = DataRoot(tmp_path / "root")
    fetch_dataset(manifest, root, Silent())
    index_dataset(manifest, root, Silent())
    assert verify_index(manifest, root) == []
    index = load_samples(root, name, manifest)
    assert index.classes == fixture.classes
    assert_samples(index, fixture)
    assert_splits(index, fixture)
    assert_groups(index, fixture)
    assert_pictures(index, fixture, root)


def assert_samples(index: SampleIndex, fixture: Fixture) -> None:
    """Ids, paths and the label name of every task are those of the fixture."""
    wanted = {row.path: row.labels for row in fixture.index}
    assert len(wanted) == len(fixture.index), "the fixture names a path twice"
    paths = index.table["path"].to_pylist()
    assert paths == sorted(wanted)
    assert index.table["sample"].to_pylist() == list(range(len(wanted)))
    found: dict[str, dict[str, str]] = {path: {} for path in paths}
    for task, names in index.classes.items():
        for path, label in zip(paths, index.labels(task).tolist(), strict=True):
            if label != -1:
                found[path][task] = names[label]
    assert found == wanted


def assert_splits(index: SampleIndex, fixture: Fixture) -> None:
    """Official splits are exact; of a random one every class is in train and in test."""
    wanted = {row.path: row.split for row in fixture.index}
    found = dict(zip(index.table["path"].to_pylist(), index.splits().tolist(), strict=True))
    drawn = {path: split for path, split in found.items() if wanted[path] == "random"}
    official = {path: split for path, split in found.items() if path not in drawn}
    has_dev = "dev" in wanted.values()
    assert {
        path: "train" if not has_dev and split == "dev" else split
        for path, split in official.items()
    } == {path: wanted[path] for path in official}
    assert set(drawn.values()) <= {"train", "dev", "test"}
    of_class: dict[str, set[str]] = defaultdict(set)
    number: dict[str, int] = defaultdict(int)
    for row in fixture.index:
        if row.path in drawn and not fixture.groups:
            label = row.labels.get(index.default_task, "")
            of_class[label].add("test" if drawn[row.path] == "test" else "train")
            number[label] += 1
    for label, splits in of_class.items():
        assert splits == {"train", "test"} or number[label] == 1, label


def assert_groups(index: SampleIndex, fixture: Fixture) -> None:
    """No group is in train and in test; both splits have samples."""
    splits = index.splits()
    assert {"train", "test"} <= set(splits.tolist())
    parts: dict[str, set[str]] = defaultdict(set)
    for path, split in zip(index.table["path"].to_pylist(), splits, strict=True):
        if path in fixture.groups and split:
            parts[fixture.groups[path]].add(split)
    assert all(len(part) == 1 for part in parts.values()), parts


def assert_pictures(index: SampleIndex, fixture: Fixture, root: DataRoot) -> None:
    """All samples but the broken ones can be decoded; marked pixels are where they belong."""
    reader = MemberReader(root, index.dataset)
    marked = dict(fixture.pixels)
    for sample, path in enumerate(index.table["path"].to_pylist()):
        data = reader.read(*index.locate(sample))
        if path in fixture.broken:
            with pytest.raises(OSError), Image.open(io.BytesIO(data)) as image:
                image.load()
            continue
        with Image.open(io.BytesIO(data)) as image:
            pixels = np.asarray(image)
        for (row, column), value in marked.pop(path, {}).items():
            assert np.array_equal(pixels[row, column], value), f"{path}, {row}, {column}"
    reader.close()
    assert not marked


def is_of(data: bytes, path: str) -> bool:
    """Tell whether a picture was made for this path, where it was made for a whole path."""
    names = MADE.get(data)  # none for images that lie in arrays
    return not names or any(path.endswith(f"/{name}") or "/" not in name for name in names)
