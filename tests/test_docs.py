"""Pages of docs/ that are made from the manifests say what the manifests say."""

import subprocess
import sys
from pathlib import Path

import yaml

from autods.catalogue import Catalogue

REPOSITORY = Path(__file__).resolve().parent.parent
PAGE = REPOSITORY / "docs" / "datasets.md"


def test_the_page_of_datasets_is_what_the_script_writes(tmp_path):
    program = "import dataset_tables; print(dataset_tables.page(), end='')"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY / "scripts",
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    )
    assert done.stdout == PAGE.read_text(encoding="utf-8")


def test_stream71_is_the_published_shape_in_the_published_order():
    shape = REPOSITORY / "manifests" / "shapes" / "stream71.yaml"
    published = yaml.safe_load(shape.read_text(encoding="utf-8"))["datasets"]
    catalogue = Catalogue()
    stream = [item.dataset for item in catalogue.stream("stream71").datasets]
    assert stream == [entry["name"] for entry in published]
    for entry in published:
        expected = catalogue.dataset(entry["name"]).expected
        for key, known in (
            ("classes", expected.classes),
            ("train", expected.published_train),
            ("test", expected.published_test),
        ):
            if known is not None:
                assert entry[key] == known, (entry["name"], key)
