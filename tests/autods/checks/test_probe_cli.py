"""`autods probe` from features, and from a bare folder of images."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from encode_tools import add_model, drawn
from feature_tools import features_of_index, write_set
from PIL import Image

from autods.cli.probe import probe
from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.errors import EncoderError, LayoutError, UnknownName, UsageError
from autods.index.samples import index_dataset, load_samples
from autods.manifest.catalogue import Catalogue

CLASSES = ("ash", "beech & oak", "<b>cedar")


@pytest.fixture
def folder(tmp_path) -> Path:
    """Images of three classes that differ in colour."""
    for k, name in enumerate(CLASSES):
        for i in range(12):
            target = tmp_path / "My Trees" / name / f"{i}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            tint = np.full((24, 24, 3), 40, np.uint8)
            tint[..., k] = 150 + 5 * i
            Image.fromarray(tint).save(target)
    return tmp_path / "My Trees"


def features(root: DataRoot, name: str = "pets", encoder: str = "tiny.a", kinds: int = 3) -> None:
    rng = np.random.default_rng(0)
    parts = {}
    for split, n in (("train", 30), ("dev", 9), ("test", 12)):
        y = np.arange(n) % kinds
        parts[split] = (np.eye(8)[y] + 0.3 * rng.normal(size=(n, 8)), y)
    write_set(root, name, parts, classes=CLASSES, encoder=encoder)


def test_features_that_are_here_are_probed_without_options(tmp_path, capsys):
    features(DataRoot(tmp_path))
    probe("pets", root=tmp_path)
    out = capsys.readouterr().out
    assert "Probe of pets by tiny.a" in out
    assert "12 test images of 3 classes; learned from 39 of train and dev" in out
    assert "--report FILE.html shows the images that are confused." in out


def test_several_encoders_are_compared(tmp_path, capsys):
    for encoder in ("tiny.a", "tiny.b"):
        features(DataRoot(tmp_path), encoder=encoder)
    probe("pets", root=tmp_path, json=True)
    found = json.loads(capsys.readouterr().out)
    assert [one["encoder"] for one in found] == ["tiny.a", "tiny.b"]
    assert set(found[0]["probes"]) == {"kNN", "LDA", "linear"}
    assert np.array(found[0]["confusion"]).sum() == 12


def test_a_bare_folder_is_indexed_extracted_and_probed(tmp_path, folder, capsys):
    root, page = tmp_path / "root", tmp_path / "probe.html"
    options = {"model": add_model(tmp_path), "random_weights": 0, "device": "cpu"}
    probe(str(folder), root=root, report=page, **options)
    out, err = capsys.readouterr()
    assert "Probe of my-trees by tiny-test-vit.random-0" in out
    assert "36 images in 3 classes" in err
    assert "`autods fetch`" not in err  # it was fetched; there is nothing to decide
    text = page.read_text("utf-8")
    assert "&lt;b&gt;cedar" in text
    assert "<b>cedar" not in text
    probe(str(folder), root=root)  # what is there is kept
    assert "Extracting" not in capsys.readouterr().err
    probe("my-trees", root=root)


def test_a_folder_without_a_root_leaves_nothing_behind(tmp_path, folder, capsys, monkeypatch):
    monkeypatch.setenv("AUTODS_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", None)
    probe(str(folder), model=add_model(tmp_path), random_weights=0, device="cpu")
    assert "--root FOLDER keeps them" in capsys.readouterr().err
    assert not (tmp_path / "root").exists()
    assert not list((tmp_path / "temporary").glob("autods-probe-*"))


def test_a_folder_that_changed_is_not_taken_for_what_was_probed(tmp_path, folder):
    root = tmp_path / "root"
    options = {"model": add_model(tmp_path), "random_weights": 0, "device": "cpu"}
    probe(str(folder), root=root, **options)
    (folder / "ash" / "more.png").write_bytes(drawn(1))
    with pytest.raises(UsageError, match="its images changed"):
        probe(str(folder), root=root, **options)


def test_the_page_shows_confused_images(tmp_path, folder, capsys, monkeypatch):
    root, page = DataRoot(tmp_path / "root"), tmp_path / "probe.html"
    options = {"model": add_model(tmp_path), "random_weights": 0, "device": "cpu"}
    probe(str(folder), root=root.path, **options)
    rng = np.random.default_rng(0)
    index_dataset(Catalogue([], root).dataset("my-trees"), root, Silent())
    count = len(load_samples(root, "my-trees"))
    features_of_index(root, "my-trees", rng.normal(size=(count, 6)), encoder="noise.a")
    monkeypatch.setattr(sys, "argv", ["/bin/autods", "probe", "my-trees"])
    probe("my-trees", encoder="noise.a", root=root.path, report=page)
    text = page.read_text("utf-8")
    assert 1 <= text.count("data:image/jpeg") <= 7
    assert "taken for" in text
    assert "<script" not in text
    assert "http" not in text


@pytest.mark.parametrize(
    ("what", "options", "error", "text"),
    [
        ("petz", {}, UnknownName, "did you mean pets"),
        ("no/where", {}, UsageError, "expected the name of a dataset or a folder"),
        ("pets", {"encoder": "tiny.b"}, UnknownName, "did you mean tiny.a"),
        ("pets", {"model": "ViT-B-32"}, UnknownName, "ncoders that have some: tiny.a. Nothing"),
        ("flowers", {"encoder": "tiny.file-12ab"}, UsageError, "--pretrained FILE"),
        ("pets", {"encoder": "tiny.a", "model": "ViT-B-32"}, UsageError, "got both"),
        ("pets", {"random_weights": 3}, UsageError, "go with --model"),
        ("one", {}, UsageError, "has one class only"),
        ("pets", {"report": Path("/")}, UsageError, "expected a place for a file"),
    ],
)
def test_wrong_requests_are_refused_with_the_reason(tmp_path, what, options, error, text):
    root = DataRoot(tmp_path)
    features(root)
    features(root, "one", kinds=1)
    with pytest.raises(error, match=text):
        probe(what, root=tmp_path, **options)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"encoder": "ViT-B-23.openai"}, UnknownName, "did you mean ViT-B-32"),
        ({"model": "ViT-B-23"}, UnknownName, "did you mean ViT-B-32"),
        ({"model": "timm:test_efficient"}, UnknownName, "did you mean test_efficientnet"),
        ({"model": "ViT-B-32", "pretrained": "laion2b"}, UnknownName, "laion2b_s34b_b79k"),
        ({"model": "ViT-B-32", "pretrained": "no.pt"}, EncoderError, "no.pt does not exist"),
        ({"encoder": "ViT-B-32.random-x"}, UnknownName, "expected a seed after 'random-', got 'x'"),
        ({}, EncoderError, "could not be downloaded .*no network"),
        ({"model": "timm:test_efficientnet"}, EncoderError, "could not be had .*no network"),
    ],
)
def test_a_folder_is_not_touched_if_the_encoder_cannot_be_had(
    tmp_path, folder, monkeypatch, options, error, text
):
    def out_of_reach(*_: object) -> None:
        raise ConnectionError("no network")

    for library in ("checkpoints", "timm"):
        monkeypatch.setattr(f"autods.encode.encoders.{library}.cached_file", lambda *_: None)
        monkeypatch.setattr(f"autods.encode.encoders.{library}.resolve", out_of_reach)
    with pytest.raises(error, match=text):
        probe(str(folder), root=tmp_path / "root", **options)
    assert not (tmp_path / "root").exists()


def test_quiet_leaves_the_answer_alone(tmp_path, folder, capsys):
    options = {"model": add_model(tmp_path), "random_weights": 0, "device": "cpu"}
    probe(str(folder), root=tmp_path / "root", **options, quiet=True)
    out, err = capsys.readouterr()
    assert out.startswith("Probe of my-trees")
    assert err == ""


def test_a_folder_without_class_folders_is_refused(tmp_path):
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "a.png").write_bytes(drawn(0))
    with pytest.raises(LayoutError):
        probe(str(tmp_path / "flat"), root=tmp_path / "root")
    (tmp_path / "empty").mkdir()
    with pytest.raises(LayoutError, match="image"):
        probe(str(tmp_path / "empty"), root=tmp_path / "root")


def test_a_deep_folder_is_read_as_the_error_says(tmp_path, folder, capsys):
    (folder / "ash").rename(folder / "moved")
    for k, image in enumerate(sorted((folder / "moved").iterdir())):
        kind = folder / "ash" / ("black" if k % 2 else "white")
        kind.mkdir(parents=True, exist_ok=True)
        image.rename(kind / image.name)
    (folder / "moved").rmdir()
    with pytest.raises(LayoutError, match=r"folders of folders below ash;.* --classes first"):
        probe(str(folder), root=tmp_path / "root")
    root, model = tmp_path / "root", add_model(tmp_path)
    probe(str(folder), root=root, model=model, random_weights=0, device="cpu", classes="first")
    out, err = capsys.readouterr()
    assert "36 images in 3 classes" in err
    assert "The encoder's weights are random" in " ".join(out.split())
    with pytest.raises(UsageError, match=r"is read as it was then; .* --classes last"):
        probe(str(folder), root=root, classes="last")
    with pytest.raises(UsageError, match="go with a folder, and 'my-trees' is a dataset"):
        probe("my-trees", root=root, classes="first")
