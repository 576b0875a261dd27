"""Pictures of what a run got wrong, from images under a data root."""

import base64
import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from archives import folders_layout, make_zip, manifest_of, placed
from encode_tools import tiny_encoder
from PIL import Image
from small import small_config

from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.encode.extract import extract_dataset
from autods.index.samples import index_dataset
from autods.streams.open import open_stream
from bmc.report import build_report, mistakes
from bmc.report.finished import Run, read_run
from bmc.report.mistakes import MOST, SIDE, Gallery
from bmc.runs import run


def plain(number: int) -> bytes:
    """An image of one colour, which no other has."""
    out = io.BytesIO()
    colour = (37 * number % 256, 91 * number % 256, 53 * number % 256)
    Image.new("RGB", (150, 120), colour).save(out, "PNG")
    return out.getvalue()


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> tuple[DataRoot, Path]:
    """A data root with the images of five classes, and a run on two tasks of them."""
    folder = tmp_path_factory.mktemp("images")
    files = {
        f"{'test' if i % 3 == 0 else 'train'}/class{i % 5}/{i:03d}.png": plain(i) for i in range(90)
    }
    root, source = DataRoot.open(folder / "root"), make_zip(folder / "images.zip", files)
    layout = folders_layout(source.name, "{split}/{class}/*", split="{split}")
    manifest = manifest_of({source.name: source}, layout, splits={"clean": {"rule": "official"}})
    manifest = placed(root, manifest, {source.name: source})
    index_dataset(manifest, root, Silent())
    encoder = tiny_encoder(folder)
    extract_dataset(manifest, root, encoder, batch_size=8)
    stream = open_stream("things", root, encoder.name, classes_per_task=2, order=1)
    return root, run.run(stream, "ncm", small_config("ncm"), folder / "run")


def picture(address: str) -> Image.Image:
    head, _, content = address.partition(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(content)))


def test_each_picture_is_that_of_a_sample_with_that_class_and_that_answer(measured):
    root, folder = measured
    known = read_run(folder)
    found = Gallery(root.path).of(known)
    names = [name for task in known.tasks for name in task.class_names]
    pairs = Counter(
        (names[label], names[answer])
        for said in known.answers().values()
        for answer, label in zip(said.answer, said.label, strict=True)
        if answer != label
    )
    assert 0 < len(found) == min(MOST, len(pairs))
    assert [pairs[m.label, m.answer] for m in found] == sorted(pairs.values(), reverse=True)[
        : len(found)
    ]
    stream = open_stream("things", root, known.encoder, classes_per_task=2, order=1)
    of_class: dict[str, list[Image.Image]] = {}
    for task in stream.tasks:
        images = task.images("test")
        for i in range(len(images)):
            name = task.class_names[images.targets[i] - task.class_offset]
            of_class.setdefault(name, []).append(images.decode(i))
    for mistake in found:
        shown = picture(mistake.picture)
        assert max(shown.size) <= SIDE
        near = [
            np.abs(np.asarray(image.resize(shown.size), float) - np.asarray(shown, float)).mean()
            for image in of_class[mistake.label]
        ]
        assert min(near) < 3


def test_the_page_shows_them_and_says_what_each_was_taken_for(measured, tmp_path):
    root, folder = measured
    page = build_report([folder], tmp_path / "report.html", root=root.path)
    text = page.read_text(encoding="utf-8")
    assert text.count('<img src="data:image/jpeg') == len(Gallery(root.path).of(read_run(folder)))
    assert "Test samples that NCM got wrong" in text
    assert "No pictures" not in text
    bare = build_report([folder], tmp_path / "bare.html", root=tmp_path).read_text(encoding="utf-8")
    assert text.count('<img src="data') > bare.count('<img src="data') == 0
    assert "No pictures of wrong answers: " in bare
    assert text.count("taken for <b>") == text.count('<img src="data')


def test_runs_on_the_same_images_open_them_once_and_share_the_room_of_a_page(measured, monkeypatch):
    root, folder = measured
    opened = []
    monkeypatch.setattr(
        mistakes, "_images", lambda *a, of=mistakes._images: opened.append(1) or of(*a)
    )
    known = read_run(folder)
    gallery = Gallery(root.path)
    first = gallery.of(known)
    assert gallery.of(known, most=2) == first[:2]
    assert len(opened) == 1
    monkeypatch.setattr(mistakes, "FULL", sum(len(m.picture) for m in first[:3]) - 100)
    assert Gallery(root.path).of(known) == first[:3]


@pytest.mark.parametrize("changes", [
    {"provenance": {"encoder_name": "other.encoder", "features": {}}},
    {"provenance": {"encoder_name": "tiny.random", "features": {"things": "0" * 64}}},
    {"provenance": {}}, {"stream": "synthetic", "provenance": {"parameters": {}}},
])  # fmt: skip
def test_a_run_on_other_features_has_no_pictures(measured, changes):
    root, folder = measured
    known = read_run(folder)
    if "encoder_name" in changes.get("provenance", {}) and changes["provenance"]["features"]:
        changes["provenance"]["encoder_name"] = known.encoder
    gallery = Gallery(root.path)
    assert gallery.of(known.model_copy(update=changes)) == []
    assert gallery.why


def test_a_root_without_the_images_has_no_pictures(measured, tmp_path):
    known = read_run(measured[1])
    assert Gallery(tmp_path).of(known) == []
    nameless = [task.model_copy(update={"class_names": []}) for task in known.tasks]
    assert isinstance(known, Run)
    assert Gallery(measured[0].path).of(known.model_copy(update={"tasks": nameless})) == []
