"""What features add to an audit: the table, JSON, Markdown and the page with thumbnails."""

import json
import re
import sys

import numpy as np
import pytest
from feature_tools import features_of_index, write_set
from flawed import make_flawed, write_manifest

from autods.checks.audit_features import audit_features
from autods.checks.audit_scan import Scanner
from autods.cli.audit import audit
from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.errors import FeaturesMissing, UnknownName, UsageError
from autods.index.samples import index_dataset

ENCODER = "tiny.a"


@pytest.fixture
def pets(tmp_path):
    """Images whose features are of their class, but for one wrong label and one near-duplicate."""
    root, manifest = make_flawed(tmp_path)
    index_dataset(manifest, root, Silent())
    from autods.index.samples import load_samples

    index = load_samples(root, "pets")
    labels, rng = index.labels(), np.random.default_rng(0)
    x = np.eye(8)[labels] * 4 + 0.4 * rng.normal(size=(len(index), 8))
    paths = index.table["path"].to_pylist()
    wrong = paths.index("pets.zip/train/cat/005.png")
    x[wrong] = 4 * np.eye(8)[1] + 0.2 * rng.normal(size=8)
    copy = paths.index("pets.zip/test/cat/000.png")
    x[copy] = x[paths.index("pets.zip/train/cat/006.png")] + 0.001
    features_of_index(root, "pets", x)
    return root, write_manifest(manifest, tmp_path / "manifests")


def audited(pets, capsys, **options) -> str:
    root, manifests = pets
    audit(root=root.path, manifests=[manifests], workers=1, **options)
    return capsys.readouterr().out


def test_pairs_across_splits_and_wrong_labels_are_named_with_their_paths(pets):
    root, _ = pets
    found = audit_features(root, ENCODER, ["pets"], Silent(), 0.999)["datasets"]["pets"]
    (pair,) = found["near"]["examples"]
    assert pair["cosine"] > 0.999
    assert sorted(image["path"] for image in pair["images"]) == [
        "pets.zip/test/cat/000.png", "pets.zip/train/cat/006.png"
    ]  # fmt: skip
    assert found["near"]["across"]["train in test"] == 1
    assert found["labels"]["list"][0]["path"] == "pets.zip/train/cat/005.png"
    assert found["labels"]["list"][0]["likely"] == "dog"


def test_the_table_counts_them_and_says_what_the_columns_mean(pets, capsys):
    text = audited(pets, capsys, encoder=ENCODER, threshold=0.999)
    assert re.search(r"^pets +\d+ +2 +1 +0 +\d+ +\d\d\.\d%$", text, re.M)
    assert "near test" in text
    assert "--report FILE.html shows these images." in text


def test_without_an_encoder_the_next_step_names_one(pets, capsys):
    assert f"--encoder {ENCODER} also finds near-duplicates" in audited(pets, capsys)


def test_json_has_both_kinds_of_findings(pets, capsys):
    found = json.loads(audited(pets, capsys, encoder=ENCODER, threshold=0.999, json=True))
    assert found["datasets"][0]["dataset"] == "pets"
    assert found["features"]["datasets"]["pets"]["near"]["images"] == 2


def test_markdown_names_the_pairs_and_the_labels(pets, capsys, tmp_path):
    target = tmp_path / "audit.md"
    audited(pets, capsys, encoder=ENCODER, threshold=0.999, report=target)
    text = target.read_text("utf-8")
    assert "`pets.zip/train/cat/006.png` (cat, train)" in text
    assert re.search(r"`pets.zip/train/cat/005.png` \(cat, train\): .*; dog: ", text)


def test_the_page_shows_thumbnails_and_escapes_what_it_shows(pets, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["autods", "audit", "<script>alert(1)</script>"])
    target = tmp_path / "audit.html"
    audited(pets, capsys, encoder=ENCODER, threshold=0.999, report=target)
    page = target.read_text("utf-8")
    assert page.count('src="data:image/jpeg;base64,') >= 2 + 1 + 2 * 4
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "http" not in page
    assert "looks like <b>dog</b>" in page
    assert "image file is truncated" in page


def test_a_page_that_is_full_says_how_many_thumbnails_it_leaves_out(
    pets, capsys, tmp_path, monkeypatch
):
    monkeypatch.setattr("autods.pages.thumbnails.Album.__init__.__defaults__", (1, 112))
    target = tmp_path / "audit.html"
    audited(pets, capsys, encoder=ENCODER, threshold=0.999, report=target)
    page = target.read_text("utf-8")
    assert page.count("data:image/jpeg") == 1
    assert "thumbnails are left out: the page is full" in page


def test_pixels_are_read_in_the_pass_that_audits_or_in_one_of_their_own(
    request, capsys, monkeypatch, tmp_path
):
    monkeypatch.setattr("flawed.picture.__defaults__", ("RGB", (19, 18)))  # not too small to judge
    pets, scans, scan = request.getfixturevalue("pets"), [], Scanner.scan
    monkeypatch.setattr(Scanner, "scan", lambda *of: scans.append(of) or scan(*of))

    def compared(**options):
        options |= {"encoder": ENCODER, "threshold": 0.999}
        found = json.loads(audited(pets, capsys, json=True, **options))["features"]["pixels"]
        return found.pop("alike"), found

    (pair,), counts = compared(report=tmp_path / "audit.html")
    assert counts == {"images": 32, "added": 4, "crowded": 0, "apart": 1}
    assert pair["pixels"] < 0.6 < 0.999 < pair["cosine"]
    assert "1 pair of near features but other pixels" in (tmp_path / "audit.html").read_text()
    assert len(scans) == 1
    assert compared() == ([pair], counts)  # the audit is kept
    assert len(scans) == 2
    assert compared(fast=True)[1]["images"] == 0
    assert len(scans) == 2
    pets[0].archive("pets", "pets.zip").unlink()
    audit(root=pets[0].path, manifests=[pets[1]], workers=1, encoder=ENCODER)
    said = capsys.readouterr()
    assert "Pixels were not compared: no images are at hand" in " ".join(said.out.split())
    assert "pets: only its features are compared" in said.err


def test_imported_features_are_audited_without_images(tmp_path, capsys):
    root, x = DataRoot(tmp_path / "root"), np.random.default_rng(0).normal(size=(12, 4))
    x[1] = x[0] + 0.001
    write_set(root, "toys", {"train": (x, [0, 1] * 6)})
    write_set(root, "games", {"train": (x[:6] + 0.001, [0, 1] * 3)})
    target = tmp_path / "audit.html"
    audit(root=root.path, encoder=ENCODER, threshold=0.999, report=target)
    out = capsys.readouterr().out
    assert "Datasets that share near-duplicates (1 pairs of datasets)" in out
    assert "are not indexed under this root" in target.read_text("utf-8")


def test_globs_and_exclude_choose_the_datasets(tmp_path, capsys):
    root, x = DataRoot(tmp_path / "root"), np.random.default_rng(0).normal(size=(6, 4))
    for name in ("toys", "games", "more"):
        write_set(root, name, {"train": (x, [0, 1] * 3)})
    audit(
        root=root.path, encoder=ENCODER, names=["t*", "m*", "games"], exclude=["games"], json=True
    )
    assert set(json.loads(capsys.readouterr().out)["features"]["datasets"]) == {"toys", "more"}


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"encoder": "tiny.b"}, UnknownName, "did you mean tiny.a"),
        ({"encoder": ENCODER, "threshold": 1.5}, UsageError, "expected a cosine"),
        ({"threshold": 0.9}, UsageError, "--threshold goes with --encoder"),
        ({"names": ["pets"], "stream": "split-cifar100"}, UsageError, "several of these"),
        ({"encoder": ENCODER, "stream": "split-cifar100"}, UsageError, "no dataset of stream"),
        ({"names": ["cifar10"], "encoder": ENCODER}, FeaturesMissing, "autods extract cifar10"),
    ],
)
def test_wrong_requests_are_refused_with_the_reason(pets, capsys, options, error, text):
    with pytest.raises(error, match=text):
        audited(pets, capsys, **options)
