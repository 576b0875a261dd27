"""Tasks and streams show the images behind their features, as notebooks do."""

import io

import pytest
from encode_tools import make_dataset, many, tiny_encoder
from feature_tools import write_set
from PIL import Image

from autods.core.root import DataRoot
from autods.encode.extract import extract_dataset
from autods.errors import ImagesMissing
from autods.features.sets import open_features
from autods.manifest.stream import StreamItem, StreamSpec
from autods.streams.open import open_stream
from autods.streams.synthetic import synthetic_stream


@pytest.fixture
def stream(tmp_path):
    """A stream of extracted pets and imported toys, of which there are no images."""
    root = DataRoot(tmp_path / "root")
    manifest = make_dataset(root, many(40))
    encoder = tiny_encoder(tmp_path)
    extract_dataset(manifest, root, encoder)
    x = [[1.0] * encoder.dim, [2.0] + [1.0] * (encoder.dim - 1)] * 2
    provenance = dict(open_features(root, encoder.name, manifest.name).info.encoder)
    splits = {split: (x, [0, 1, 0, 1]) for split in ("train", "test")}
    write_set(root, "toys", splits, encoder=encoder.name, provenance=provenance)
    names = [manifest.name, "toys"]
    spec = StreamSpec(name="two", datasets=[StreamItem(dataset=name) for name in names])
    return open_stream(spec, root, encoder.name)


def test_a_task_has_a_row_for_each_class(stream):
    task = stream.tasks[0]
    sheet = task.preview(per_row=3)
    assert [row.name for row in sheet.rows] == task.class_names
    assert all(1 <= len(row.shots) <= 3 for row in sheet.rows)
    assert sum(row.counts["train"] for row in sheet.rows) == len(task.train)
    with Image.open(io.BytesIO(sheet._repr_png_())) as picture:
        assert picture.format == "PNG"


def test_a_stream_has_a_row_for_each_task_and_says_why_images_are_missing(stream):
    sheet = stream.preview()
    assert len(sheet.rows) == 2
    assert any(not isinstance(shot.image, str) for shot in sheet.rows[0].shots)
    (reason,) = (shot.image for shot in sheet.rows[1].shots)
    assert "were imported" in reason
    assert sheet.rows[1].counts == {"train": 4, "dev": 0, "test": 4}


def test_generated_tasks_have_no_images():
    stream = synthetic_stream(tasks=2, scale=0.01)
    with pytest.raises(ImagesMissing):
        stream.tasks[0].preview()
    assert len(stream.preview().rows) == 2
