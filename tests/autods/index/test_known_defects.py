"""The Simpsons archive holds what the original got wrong; the index shows it right.

The whole tree a second time inside itself, an official test set that was never used, and
characters that it lacks, which shifted the numbers of those behind them.
"""

from collections import Counter
from fnmatch import fnmatch

import numpy as np
import pytest
from archives import open_file
from fixtures import FIXTURES
from layout_tools import published_by

from autods.containers import MemberReader
from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.encode.decode import content_hash
from autods.fetch import fetch_dataset
from autods.index.samples import index_dataset, load_samples
from autods.manifest.catalogue import Catalogue

ZIP = "the-simpsons-characters-dataset.zip"


@pytest.fixture(scope="module")
def simpsons(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simpsons")
    manifest = published_by(FIXTURES["simpsons"](folder), Catalogue().dataset("simpsons"))
    root = DataRoot(folder / "root")
    fetch_dataset(manifest, root, Silent())
    index_dataset(manifest, root, Silent())
    return root, manifest, load_samples(root, "simpsons", manifest)


def test_the_second_copy_of_the_tree_is_not_read(simpsons):
    root, manifest, index = simpsons
    container = open_file(root, manifest, ZIP)
    names = [member.name for member in container.members()]
    container.close()
    by_original = [n for n in names if fnmatch(n, "*simpsons_dataset/*/*.jpg")]
    assert len(by_original) == 16, "the original's search finds every image twice"
    reader = MemberReader(root, "simpsons")
    hashes = Counter(content_hash(reader.read(*index.locate(i))) for i in range(len(index)))
    reader.close()
    assert len(index) == 8 + 5
    assert set(hashes.values()) == {1}


def test_the_official_test_set_is_the_test_split(simpsons):
    _, _, index = simpsons
    paths = np.array(index.table["path"].to_pylist())
    assert sorted(paths[index.rows("test")]) == sorted(p for p in paths if "testset" in p)


def test_a_class_that_one_split_lacks_does_not_shift_the_numbers_of_others(simpsons):
    _, _, index = simpsons
    names, labels = index.classes["class"], index.labels()
    train, test = (set(labels[index.splits() == split]) for split in ("train", "test"))
    assert [names[n] for n in sorted(train - test)] == ["lionel_hutz"]
    paths = index.table["path"].to_pylist()
    of_bob = {int(label) for path, label in zip(paths, labels, strict=True) if "bob" in path}
    assert of_bob == {names.index("sideshow_bob")} == {3}
    per_split = sorted({names[n] for n in test})  # how the original numbered its val split
    assert per_split.index("sideshow_bob") == 2
