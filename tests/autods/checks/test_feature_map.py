"""Maps of features: principal components, points that say what they are, UMAP if there."""

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from feature_tools import features_of_index, write_set
from flawed import make_flawed, write_manifest
from PIL import Image

from autods.checks.feature_map import map_features
from autods.checks.map_page import look, write_map
from autods.checks.near import Joined
from autods.cli.feature_map import draw_map
from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.errors import UnknownName, UsageError
from autods.index.samples import index_dataset, load_samples

CLASSES = ("ash", "<b>beech</b>", "cedar")


def trees(root: DataRoot, name: str = "trees", n: int = 30, encoder: str = "tiny.a", seed: int = 0):
    rng = np.random.default_rng(seed)
    parts = {}
    for split, size in (("train", n), ("test", n // 2)):
        y = np.arange(size) % 3
        parts[split] = (np.eye(6)[y] + 0.2 * rng.normal(size=(size, 6)), y)
    return write_set(root, name, parts, classes=CLASSES, encoder=encoder)


def test_the_components_are_those_of_a_singular_value_decomposition(tmp_path):
    stored = trees(DataRoot(tmp_path))
    found = map_features([stored], "trees")
    x = Joined([stored]).units(found.rows).astype(np.float64)
    x -= x.mean(axis=0)
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    assert np.allclose(np.abs(found.xy), np.abs(u[:, :2] * s[:2]), atol=1e-4)
    assert found.explained == pytest.approx((s[:2] ** 2).sum() / (s**2).sum())
    assert found.group.tolist() == stored.labels("class").tolist()


def test_few_points_are_drawn_from_all_groups_alike(tmp_path):
    found = map_features([trees(DataRoot(tmp_path), n=300)], "trees", points=30)
    assert np.bincount(found.group).tolist() == [10, 10, 10]
    assert found.total == 450


def test_datasets_of_a_stream_are_the_groups_unless_classes_are_asked_for(tmp_path):
    root = DataRoot(tmp_path)
    sets = [trees(root), trees(root, "woods", seed=1)]
    assert map_features(sets, "both").groups == ["trees", "woods"]
    groups = map_features(sets, "both", by="class").groups
    assert groups[0] == "trees: ash"
    assert len(groups) == 6


def test_groups_that_are_told_differ_in_colour_or_shape():
    assert len({look(number) for number in range(40)}) == 40


def test_the_page_names_every_point_and_shows_images(tmp_path):
    root, manifest = make_flawed(tmp_path)
    index_dataset(manifest, root, Silent())
    index = load_samples(root, "pets")
    stored = features_of_index(root, "pets", np.random.default_rng(0).normal(size=(len(index), 5)))
    page = write_map(tmp_path / "a.html", root, [stored], map_features([stored], "pets"))
    text = page.read_text("utf-8")
    assert "pets.zip/train/cat/001.png</title>" in text
    assert text.count("<use href") == 35 + 3
    assert text.count("data-p=") == 33
    assert text.count("data:image/jpeg") == 1
    assert "http" not in text.replace("http://www.w3.org", "")


def test_names_are_escaped_and_imported_features_have_no_images(tmp_path):
    stored = trees(DataRoot(tmp_path))
    page = write_map(
        tmp_path / "a.html", DataRoot(tmp_path), [stored], map_features([stored], "trees")
    )
    text = page.read_text("utf-8")
    assert "<b>beech" not in text
    assert "&lt;b&gt;beech" in text
    assert "trees sample 3" in text
    assert "data:image/jpeg" not in text


def test_the_command_writes_a_page_and_a_picture(tmp_path, monkeypatch, capsys):
    root = DataRoot(tmp_path / "root")
    trees(root)
    monkeypatch.chdir(tmp_path)
    draw_map("trees", root=root.path)
    told = capsys.readouterr()
    assert told.out == "Page: trees-map.html\nPicture: trees-map.png\n"
    assert told.err == f"Next: autods probe trees --encoder tiny.a --root {root.path}\n"
    with Image.open("trees-map.png") as picture:
        assert picture.size == (1230, 740)
        assert len(picture.getcolors(10**6)) > 10


@pytest.mark.parametrize(("encoder", "random"), [("tiny.random-0", True), ("tiny.a", False)])
def test_a_map_of_an_encoder_that_was_never_trained_says_so(tmp_path, capsys, encoder, random):
    root = DataRoot(tmp_path / "root")
    trees(root, encoder=encoder)
    page = tmp_path / "a.html"
    draw_map("trees", root=root.path, out=[page])
    assert ("weights are random" in capsys.readouterr().out) == random
    assert ("weights are random" in page.read_text("utf-8")) == random


def test_a_stream_is_drawn_from_the_datasets_that_have_features(tmp_path, capsys):
    root = DataRoot(tmp_path / "root")
    trees(root)
    folder = tmp_path / "manifests" / "streams"
    folder.mkdir(parents=True)
    write_manifest(make_flawed(tmp_path / "x")[1], tmp_path / "manifests")
    (folder / "mine.yaml").write_text("name: mine\ndatasets: [{dataset: trees}, {dataset: pets}]\n")
    target = tmp_path / "a.html"
    draw_map("mine", root=root.path, manifests=[tmp_path / "manifests"], out=[target])
    assert "1 of 2 datasets have no features by tiny.a." in capsys.readouterr().out


def test_umap_places_the_points_where_it_is_installed(tmp_path, monkeypatch):
    asked = {}

    class Umap:
        def __init__(self, **options):
            asked.update(options)

        def fit_transform(self, x):
            return x[:, :2] * 3

    stored = trees(DataRoot(tmp_path))
    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Umap))
    monkeypatch.setattr("autods.checks.feature_map.require", lambda *_: None)
    found = map_features([stored], "trees", method="umap", seed=4)
    assert asked["random_state"] == 4
    assert found.explained is None
    page = write_map(tmp_path / "a.html", DataRoot(tmp_path), [stored], found)
    assert "<p>UMAP of the features" in page.read_text("utf-8")


@pytest.mark.skipif(importlib.util.find_spec("umap") is not None, reason="umap is installed")
def test_umap_that_is_absent_names_its_extra(tmp_path):
    with pytest.raises(UsageError, match=r"autods-bmc\[umap\]"):
        map_features([trees(DataRoot(tmp_path))], "trees", method="umap")


@pytest.mark.parametrize(
    ("name", "options", "error", "text"),
    [
        ("treez", {}, UnknownName, "did you mean trees"),
        ("trees", {"encoder": "tiny.c"}, UnknownName, "did you mean tiny"),
        ("trees", {}, UsageError, "by one encoder, got tiny.a, tiny.b"),
        ("flowers", {}, UsageError, "run autods extract flowers"),
        ("trees", {"encoder": "tiny.a", "method": "tsne"}, UnknownName, "known: pca, umap"),
        ("trees", {"encoder": "tiny.a", "by": "split"}, UnknownName, "known: class, dataset"),
        ("trees", {"encoder": "tiny.a", "out": [Path("a.svg")]}, UsageError, ".html or .png"),
        ("few", {}, UsageError, "expected three or more"),
    ],
)
def test_wrong_requests_are_refused(tmp_path, name, options, error, text):
    root = DataRoot(tmp_path)
    trees(root)
    trees(root, encoder="tiny.b")
    write_set(root, "few", {"train": (np.ones((4, 3)), [0, 1, -1, -1])}, encoder="tiny.d")
    with pytest.raises(error, match=text):
        draw_map(name, root=tmp_path, **options)


def test_equal_features_are_drawn_in_one_place(tmp_path):
    stored = write_set(DataRoot(tmp_path), "same", {"train": (np.ones((6, 3)), [0, 1] * 3)})
    found = map_features([stored], "same")
    assert np.isfinite(found.xy).all()
    assert write_map(tmp_path / "a.png", DataRoot(tmp_path), [stored], found).is_file()
