"""Class names as text embeddings: prompts, files beside the features, zero-shot."""

import subprocess
import sys
from dataclasses import replace
from unittest.mock import patch

import h5py
import numpy as np
import open_clip
import pytest
from encode_tools import add_model, make_dataset, many
from notes import Notes
from open_clip.zero_shot_classifier import build_zero_shot_classifier
from shard_tools import shard_info

from autods.checks.features import verify_features
from autods.core.root import DataRoot
from autods.encode.class_names import embed_classes
from autods.encode.encoders.open_clip import OpenClipEncoder, load_encoder
from autods.encode.extract import extract_dataset
from autods.errors import (
    EncoderError,
    FeatureMismatch,
    FeaturesMissing,
    IndexMissing,
    StoreError,
    UnknownName,
    UsageError,
)
from autods.features.class_names import load_text, read_texts, write_texts
from autods.features.sets import seal_features
from autods.features.shards import ShardData, read_shard, write_shard
from autods.features.templates import SHIPPED, Templates, find_templates, readable_names
from autods.interop.imports.from_files import import_files
from autods.streams.open import open_stream

TEXT = {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1}
MODEL = "tiny-test-clip"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> OpenClipEncoder:
    add_model(tmp_path_factory.mktemp("config"), MODEL, text_cfg=TEXT)
    return load_encoder(MODEL, random_weights=0)


def store(root: DataRoot, encoder: str, features: np.ndarray, labels: np.ndarray, **info) -> None:
    """Write one train shard of the dataset ``pets`` with two label sets."""
    n = len(features)
    described = shard_info(
        n,
        {"kind": ["Great_Dane", "Manx", "Poodle"], "fur": ["long", "short"]},
        encoder=info.pop("provenance", {"model": "any"}),
        samples_sha256="",
        hashed="features",
    )
    data = ShardData(
        features=features.astype(np.float16),
        labels={"kind": labels.astype(np.int32), "fur": (labels % 2).astype(np.int32)},
        sample=np.arange(n, dtype=np.int64),
        content_hash=np.arange(n, dtype=np.uint64),
    )
    path = root.shard(encoder, "pets", "train", 0, 1)
    write_shard(path, data, replace(described, **info))
    seal_features(root, encoder, "pets")


def zero_shot_accuracy(embeddings: np.ndarray, features: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of features [n, d] that are nearest to their class [C, d], by cosine."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return float(np.mean((features / lengths @ embeddings.T).argmax(axis=1) == labels))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["Great_Dane", "cat"], ["Great Dane", "cat"]),
        (["001.Black_footed_Albatross", "002.Crow"], ["Black footed Albatross", "Crow"]),
        (["1_normal", "2_cataract", "2_glaucoma"], ["normal", "cataract", "glaucoma"]),
        (["01_TUMOR", "02_STROMA"], ["TUMOR", "STROMA"]),
        (
            ["5_o_Clock_Shadow", "not 5_o_Clock_Shadow"],
            ["5 o Clock Shadow", "not 5 o Clock Shadow"],
        ),
        (["737-200", "747-100", "A300B4"], ["737-200", "747-100", "A300B4"]),
        (["2011", "2012"], ["2011", "2012"]),
        (["0", "1"], ["0", "1"]),
        (["1.a", "2.a"], ["1.a", "2.a"]),  # without the numbers they would be one class
        (["3001 brick 2x4", "3003 brick 2x2"], ["brick 2x4", "brick 2x2"]),
        (["AnnualCrop", "SeaLake", "origamiYFCC"], ["Annual Crop", "Sea Lake", "origami YFCC"]),
        (["McDonnell Douglas", "T-Shirt"], ["McDonnell Douglas", "T-Shirt"]),
        (["Apple___Apple_scab", " x ", "_"], ["Apple Apple scab", "x", "_"]),
        (["\u0430", "\u0431"], ["\u0430", "\u0431"]),
        ([], []),
    ],
)
def test_class_names_are_made_readable(names, expected):
    assert readable_names(names) == expected


def test_shipped_templates_are_distinct_sentences_with_one_place_for_the_class():
    for texts in SHIPPED.values():
        assert len(set(texts)) == len(texts)
        assert all(text.count("{}") == 1 for text in texts)
    assert 8 <= len(SHIPPED["default-v1"]) <= 20
    assert SHIPPED["plain"] == ("a photo of a {}.",)


def test_the_published_name_of_a_list_always_stands_for_the_same_templates():
    """Change a list only under a new name: files and results refer to this one."""
    found = {name: find_templates(name).sha256[:16] for name in SHIPPED}
    assert found == {"default-v1": "c04a33844306cd54", "plain": "3849a0dee9e53fa0"}


def test_templates_can_come_from_a_file(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("a {} here.\n\n  {braces} and {}  \n", "utf-8")
    found = find_templates(str(path))
    assert found.texts == ("a {} here.", "{braces} and {}")
    assert found.name == f"file-{found.sha256[:8]}"
    assert found.prompts("cat") == ["a cat here.", "{braces} and cat"]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"a {}\nno place\n", "2: expected"), (b"{} {}", "1: expected"), (b"\n", "got none")],
)
def test_a_wrong_line_of_templates_is_named(tmp_path, content, message):
    path = tmp_path / "mine.txt"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        find_templates(str(path))


def test_unknown_templates_are_answered_with_the_known_ones(tmp_path):
    with pytest.raises(UnknownName, match="default-v1"):
        find_templates("default")
    (tmp_path / "binary").write_bytes(b"\xff\xfe{}")
    with pytest.raises(UsageError, match="UTF-8"):
        find_templates(str(tmp_path / "binary"))


def test_embeddings_are_those_of_the_zero_shot_classifier_of_open_clip(root, encoder):
    store(root, encoder.name, np.ones((3, 16)), np.arange(3), provenance=encoder.provenance)
    outcome = embed_classes("pets", root, encoder, find_templates("default-v1"))
    assert (outcome.action, outcome.classes) == ("embedded", {"kind": 3, "fur": 2})
    for task, names in {"kind": ["Great Dane", "Manx", "Poodle"], "fur": ["long", "short"]}.items():
        found, classes = load_text(root, encoder.name, "pets", task)
        expected = build_zero_shot_classifier(
            encoder.model, open_clip.get_tokenizer(MODEL), names, SHIPPED["default-v1"]
        ).T.numpy()
        assert found.dtype == np.float32 and np.abs(found - expected).max() < 1e-3
        assert list(classes) == list(
            read_shard(next(root.features(encoder.name, "pets").glob("*.h5"))).info.class_names[
                task
            ]
        )
    assert verify_features(root) == []


def test_names_that_the_manifest_makes_readable_are_embedded_and_published_ones_kept(root, encoder):
    store(root, encoder.name, np.ones((3, 16)), np.arange(3), provenance=encoder.provenance)
    readable = {"kind": {"Manx": "tailless cat"}}
    embed_classes("pets", root, encoder, find_templates("plain"), readable=readable)
    texts = read_texts(root.text(encoder.name, "pets", "plain"))
    assert texts.names["kind"] == ["Great Dane", "tailless cat", "Poodle"]
    found, classes = load_text(root, encoder.name, "pets", "kind", "plain")
    assert list(classes) == ["Great_Dane", "Manx", "Poodle"]
    expected = encoder.encode_text(["a photo of a tailless cat."])[0]
    assert np.abs(found[1] - expected / np.linalg.norm(expected)).max() < 1e-3
    again = embed_classes("pets", root, encoder, find_templates("plain"), readable=readable)
    assert again.action == "kept"
    with pytest.raises(FeatureMismatch, match="expected names in prompts of kind Great Dane, Manx"):
        embed_classes("pets", root, encoder, find_templates("plain"))


def test_features_near_their_class_names_are_recognised_without_training(root, encoder):
    labels = np.arange(30) % 3
    store(root, "near", np.ones((30, 16)), labels)
    embed_classes("pets", root, encoder, find_templates("plain"), beside="near")
    embeddings, names = load_text(root, "near", "pets", templates="plain")
    noise = np.random.default_rng(0).normal(scale=1e-3, size=(30, 16))
    assert zero_shot_accuracy(embeddings, embeddings[labels] + noise, labels) == 1.0
    assert zero_shot_accuracy(embeddings[::-1], embeddings[labels] + noise, labels) < 0.5
    assert names == ["Great_Dane", "Manx", "Poodle"]


def test_class_names_come_from_the_index_before_anything_is_extracted(root, encoder):
    manifest = make_dataset(root, many(30))
    embed_classes("drawn", root, encoder, find_templates("plain"))
    embeddings, names = load_text(root, encoder.name, "drawn", templates="plain")
    assert names == [f"class{i}" for i in range(4)] and embeddings.shape == (4, 16)
    assert verify_features(root) == []
    outcome = extract_dataset(manifest, root, encoder, batch_size=8)  # the file is in nobody's way
    assert outcome.images == 30
    assert embed_classes("drawn", root, encoder, find_templates("plain")).action == "kept"
    stream = open_stream("drawn", root, encoder.name, scenario="class-il")
    assert stream.tasks[0].class_names == names
    assert verify_features(root) == []


def test_imported_features_get_class_names_too(root, encoder, tmp_path):
    arrays = {
        "x_train": np.ones((6, 16), np.float16),
        "y_train": np.arange(6) % 2,
        "x_val": np.ones((2, 16), np.float16),
        "y_val": np.arange(2),
        "class_names": np.array(["001.cat", "002.dog"]),
    }
    (tmp_path / "in").mkdir()
    np.savez(tmp_path / "in" / "pets.npz", **arrays)
    import_files(tmp_path / "in", root, "clip.elsewhere")
    lines = Notes()
    embed_classes(
        "pets", root, encoder, find_templates("plain"), beside="clip.elsewhere", progress=lines
    )
    assert load_text(root, "clip.elsewhere", "pets", "class", "plain")[1] == ["001.cat", "002.dog"]
    assert read_texts(root.text("clip.elsewhere", "pets", "plain")).names == {
        "class": ["cat", "dog"]
    }
    assert any("do not say which weights made them" in note for note in lines.lines)
    again = import_files(tmp_path / "in", root, "clip.elsewhere")
    assert again.kept == ["pets"]
    assert verify_features(root) == []


def test_a_second_run_keeps_the_file_and_a_fresh_one_gives_the_same_bytes(root, encoder, tmp_path):
    other = DataRoot.open(tmp_path / "other")
    for place in (root, other):
        store(place, encoder.name, np.ones((3, 16)), np.arange(3))
        embed_classes("pets", place, encoder, find_templates("plain"))
    before = root.text(encoder.name, "pets", "plain").read_bytes()
    assert embed_classes("pets", root, encoder, find_templates("plain")).action == "kept"
    assert root.text(encoder.name, "pets", "plain").read_bytes() == before
    assert other.text(encoder.name, "pets", "plain").read_bytes() == before


def test_every_name_is_embedded_once_and_names_that_read_alike_are_told(root, encoder):
    seen: list[str] = []

    class Counting:
        name, dim, provenance = encoder.name, encoder.dim, encoder.provenance

        @staticmethod
        def encode_text(texts):
            seen.extend(texts)
            return encoder.encode_text(texts)

    classes = {"kind": ["a_b", "a b", "c"], "fur": ["c", "a_b"]}
    store(root, encoder.name, np.ones((3, 16)), np.arange(3), class_names=classes)
    outcome = embed_classes("pets", root, Counting(), find_templates("plain"))
    assert sorted(seen) == ["a photo of a a b.", "a photo of a c."]
    assert outcome.alike == ["kind: a b"]
    kind, fur = (load_text(root, encoder.name, "pets", t, "plain")[0] for t in ("kind", "fur"))
    assert np.array_equal(kind[[0, 1, 2]], fur[[1, 1, 0]])


def test_more_names_than_are_encoded_at_once_keep_their_order(root, encoder):
    names = [f"thing number {i}" for i in range(40)]
    store(
        root,
        encoder.name,
        np.ones((3, 16)),
        np.arange(3),
        class_names={"kind": names, "fur": ["x", "y"]},
    )
    templates = find_templates("default-v1")
    embed_classes("pets", root, encoder, templates)
    found, _ = load_text(root, encoder.name, "pets", "kind")
    for i in (0, 31, 32, 39):
        alone = encoder.encode_text(templates.prompts(names[i]))
        mean = (alone / np.linalg.norm(alone, axis=1, keepdims=True)).mean(axis=0)
        assert np.abs(found[i] - mean / np.linalg.norm(mean)).max() < 1e-3


def test_features_of_other_weights_or_width_are_refused_with_both_hashes(root, encoder):
    theirs = {**encoder.provenance, "weights_sha256": "ab" * 32}
    store(root, encoder.name, np.ones((3, 16)), np.arange(3), provenance=theirs)
    with pytest.raises(FeatureMismatch) as caught:
        embed_classes("pets", root, encoder, find_templates("plain"))
    assert "ab" * 32 in str(caught.value)
    assert encoder.provenance["weights_sha256"] in str(caught.value)
    store(root, "wide", np.ones((3, 17)), np.arange(3))
    with pytest.raises(FeatureMismatch, match=r"expected .* 16 dimensions, got .* 17"):
        embed_classes("pets", root, encoder, find_templates("plain"), beside="wide")
    assert root.texts() == []


def test_a_file_of_other_weights_templates_or_classes_is_kept_and_refused(root, encoder, tmp_path):
    store(root, encoder.name, np.ones((3, 16)), np.arange(3))
    embed_classes("pets", root, encoder, find_templates("plain"))
    path = root.text(encoder.name, "pets", "plain")
    before = path.read_bytes()
    with pytest.raises(FeatureMismatch, match="sha256 of the templates"):
        embed_classes("pets", root, encoder, Templates("plain", ("a {}.",)))
    other = load_encoder(MODEL, random_weights=1)
    with pytest.raises(FeatureMismatch, match=other.provenance["weights_sha256"]):
        embed_classes("pets", root, other, find_templates("plain"), beside=encoder.name)
    classes = {"kind": ["Manx", "Great_Dane", "Poodle"], "fur": ["long", "short"]}
    store(root, encoder.name, np.ones((3, 16)), np.arange(3), class_names=classes)
    with pytest.raises(FeatureMismatch, match="class names are not those"):
        embed_classes("pets", root, encoder, find_templates("plain"))
    with pytest.raises(FeatureMismatch, match="class names are not those"):
        load_text(root, encoder.name, "pets", templates="plain")
    assert path.read_bytes() == before
    assert any("class names are not those" in problem for problem in verify_features(root))


def test_an_encoder_without_a_text_side_is_refused(root):
    store(root, "any", np.ones((3, 96)), np.arange(3))
    resnet = load_encoder("timm:test_resnet", random_weights=0)
    with pytest.raises(EncoderError, match=r"'timm-test_resnet.*has no text side"):
        embed_classes("pets", root, resnet, find_templates("plain"))


def test_embeddings_that_are_not_finite_are_refused(root, encoder):
    class Broken:
        name, dim, provenance = encoder.name, encoder.dim, encoder.provenance

        @staticmethod
        def encode_text(texts):
            return np.zeros((len(texts), 16), np.float32)  # no direction

    store(root, encoder.name, np.ones((3, 16)), np.arange(3))
    with pytest.raises(EncoderError, match="not finite"):
        embed_classes("pets", root, Broken(), find_templates("plain"))
    assert root.texts() == []


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e-7])
def test_embeddings_that_float16_does_not_hold_are_neither_written_nor_read(root, encoder, value):
    store(root, encoder.name, np.ones((3, encoder.dim)), np.arange(3))
    embed_classes("pets", root, encoder, find_templates("plain"))
    (path,) = root.texts()
    texts = read_texts(path)
    rows = {task: embeddings.copy() for task, embeddings in texts.embeddings.items()}
    rows[texts.default_task][1] = 0
    rows[texts.default_task][1, 2] = value
    wrong = replace(texts, embeddings=rows)
    with pytest.raises(ValueError, match=r"row 1: .* in column 2"):
        write_texts(path, wrong)
    with patch("autods.features.class_names._unfit", lambda rows: None):
        write_texts(path, wrong)
    with pytest.raises(StoreError, match=r"row 1: .* in column 2"):
        read_texts(path)


def test_what_is_missing_is_answered_with_the_command_that_makes_it(root, encoder):
    with pytest.raises(IndexMissing):
        embed_classes("pets", root, encoder, find_templates("plain"))
    with pytest.raises(FeaturesMissing, match="autods embed-classes pets --templates plain"):
        load_text(root, encoder.name, "pets", templates="plain")
    store(root, encoder.name, np.ones((3, 16)), np.arange(3))
    embed_classes("pets", root, encoder, find_templates("plain"))
    with pytest.raises(UnknownName, match="kind"):
        load_text(root, encoder.name, "pets", "kinds", "plain")


def test_verification_finds_each_kind_of_damage(root, encoder):
    store(root, encoder.name, np.ones((3, 16)), np.arange(3))
    embed_classes("pets", root, encoder, find_templates("plain"))
    path = root.text(encoder.name, "pets", "plain")
    whole = read_texts(path)
    ones = {task: np.ones_like(rows) for task, rows in whole.embeddings.items()}
    damage = {
        "not of length 1": {"embeddings": ones},
        "2 rows for its classes": {
            "embeddings": {**whole.embeddings, "kind": whole.embeddings["kind"][:2]}
        },
        "8 dimensions": {
            "embeddings": {
                t: np.eye(3, 8, dtype=np.float16)[: len(r)] for t, r in whole.embeddings.items()
            }
        },
        "it says it is cars": {"dataset": "cars"},
        "do not have the hash": {"templates": ["a {}"]},
    }
    for expected, change in damage.items():
        write_texts(path, replace(whole, **change))
        problems = verify_features(root)
        assert problems and all(expected in problem for problem in problems)
    write_texts(path, whole)
    assert verify_features(root) == []
    path.write_bytes(path.read_bytes()[:500])
    assert "cannot be read as embedded class names" in verify_features(root)[0]
    with pytest.raises(StoreError, match="Delete this file"):
        load_text(root, encoder.name, "pets", templates="plain")


def test_a_file_of_another_version_says_so(root, encoder):
    store(root, encoder.name, np.ones((3, 16)), np.arange(3))
    embed_classes("pets", root, encoder, find_templates("plain"))
    path = root.text(encoder.name, "pets", "plain")
    with h5py.File(path, "r+") as file:
        file.attrs["format"] = 2
    with pytest.raises(StoreError, match="format version 2, expected 1"):
        read_texts(path)


def test_loading_embeddings_does_not_import_torch():
    modules = "autods.features.class_names, autods.checks.features"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
