"""Extraction of datasets whose tasks have images of their own."""

import pytest
from archives import make_folder, manifest_of, placed
from encode_tools import drawn, tiny_encoder

from autods.checks.features import verify_features
from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.encode.extract import extract_dataset
from autods.errors import FeatureMismatch, UsageError
from autods.features.sets import open_features
from autods.index.samples import index_dataset
from autods.manifest.schema import Manifest, StreamItem, StreamSpec
from autods.streams.open import open_stream


def domains(root: DataRoot, folder) -> Manifest:
    """Index twelve images of each of two domains; each domain is a task."""
    content = {
        f"{domain}/class{i % 2}/{i:02d}.png": drawn(i + 20 * (domain == "art"))
        for domain in ("art", "photo")
        for i in range(12)
    }
    part = {"family": "class-folders", "files": ["images"]}
    layout = {
        "family": "combined",
        "parts": [
            {**part, "pattern": f"{domain}/{{class}}/*", "labels": {domain: "{class}"}}
            for domain in ("art", "photo")
        ],
    }
    sources = {"images": make_folder(folder / "images", content)}
    tasks = {"art": {}, "photo": {}}
    manifest = manifest_of(sources, layout, tasks=tasks, default_task="photo")
    manifest = placed(root, manifest, sources)
    index_dataset(manifest, root, Silent())
    return manifest


def test_only_images_of_the_default_task_are_extracted_unless_all_are_asked_for(tmp_path):
    root = DataRoot(tmp_path / "root")
    manifest = domains(root, tmp_path)
    encoder = tiny_encoder(tmp_path)
    assert extract_dataset(manifest, root, encoder).images == 12
    assert verify_features(root) == []
    with pytest.raises(FeatureMismatch, match="belongs to another extraction"):
        extract_dataset(manifest, root, encoder, all_tasks=True)
    other = tiny_encoder(tmp_path, seed=1)
    assert extract_dataset(manifest, root, other, all_tasks=True).images == 24
    assert verify_features(root) == []
    stored = open_features(root, other.name, manifest.name)
    assert [(stored.labels(task) >= 0).sum() for task in ("art", "photo")] == [12, 12]


def test_a_stream_of_a_task_that_was_not_extracted_says_how_to_get_it(tmp_path):
    root = DataRoot(tmp_path / "root")
    manifest = domains(root, tmp_path)
    encoder = tiny_encoder(tmp_path)
    extract_dataset(manifest, root, encoder)
    items = [StreamItem(dataset=manifest.name, task=task) for task in ("art", "photo")]
    spec = StreamSpec(name="domains", title="Domains", datasets=items)
    with pytest.raises(UsageError, match="extract them with --all-tasks"):
        open_stream(spec, root=root, encoder=encoder.name)
    whole = tiny_encoder(tmp_path, seed=1)
    extract_dataset(manifest, root, whole, all_tasks=True)
    stream = open_stream(spec, root=root, encoder=whole.name)
    assert [task.name for task in stream.tasks] == ["things/art", "things"]
    assert all(len(task.train) and len(task.test) for task in stream.tasks)
