"""A root finds the manifests of its datasets again, and says when they are gone."""

import json
import shutil

import pytest
from many_tools import described, write_manifests

import autods
from autods.cli.catalogue import status
from autods.core.root import DataRoot
from autods.errors import DatasetsFailed, ManifestError, UnknownName
from autods.manifest.catalogue import Catalogue


@pytest.fixture
def own(tmp_path):
    """Two datasets of one's own, whose one file lies beside the manifests."""
    values = {n: described(n, {"a.bin": (n.encode(), "http://127.0.0.1/")}) for n in ("ann", "bob")}
    folder = write_manifests(tmp_path / "manifests", values)
    for name in values:
        text = (folder / f"{name}.yaml").read_text()
        (folder / f"{name}.bin").write_bytes(name.encode())
        text = text.replace("kind: http", "kind: file").replace("http://127.0.0.1/", f"{name}.bin")
        (folder / f"{name}.yaml").write_text(text)
    return folder


def fetched(root: DataRoot, folder, names=("ann",)) -> None:
    autods.fetch(names, root, catalogue=Catalogue([folder]), quiet=True)


def test_a_dataset_is_found_again_without_naming_its_folder(own, root):
    assert not root.manifests().exists()
    fetched(root, own)
    assert Catalogue(root=root).path("ann") == own / "ann.yaml"
    assert "ann" not in Catalogue().datasets()
    autods.fetch("ann", root, quiet=True)
    assert json.loads(root.manifests().read_text())["datasets"] == {"ann": str(own)}


def test_a_folder_in_the_root_moves_with_it(own, root, tmp_path):
    inside = root.path / "own"
    shutil.copytree(own, inside)
    fetched(root, inside)
    assert json.loads(root.manifests().read_text())["datasets"] == {"ann": "own"}
    moved = root.path.rename(tmp_path / "moved")
    assert Catalogue(root=moved).path("ann") == moved / "own" / "ann.yaml"


def test_named_folders_overrule_what_is_remembered(own, root, tmp_path, monkeypatch):
    fetched(root, own)
    other = tmp_path / "other"
    shutil.copytree(own, other)
    assert Catalogue([other], root).path("ann") == other / "ann.yaml"
    monkeypatch.setenv("AUTODS_MANIFESTS", str(other))
    assert Catalogue(root=root).path("ann") == other / "ann.yaml"
    fetched(root, other)
    assert json.loads(root.manifests().read_text())["datasets"] == {"ann": str(other)}


def test_a_folder_that_is_gone_is_told_with_its_datasets_and_nothing_stops(own, root, capsys):
    fetched(root, own, ["ann", "bob"])
    moved = own.rename(own.with_name("moved"))
    assert Catalogue(root=root).gone == {own: ["ann", "bob"]}
    status(root=root.path)
    told = capsys.readouterr()
    assert f"The manifests of ann, bob are gone: this root remembers {own}" in told.err
    assert "ann: no manifest is known; add --manifests FOLDER." in told.out
    with pytest.raises(UnknownName):
        autods.fetch("ann", root, quiet=True)
    fetched(root, moved, ["ann", "bob"])
    status(root=root.path)
    assert "are gone" not in capsys.readouterr().err


def test_a_dataset_that_was_not_fetched_is_not_remembered(own, root):
    (own / "ann.bin").unlink()
    (own / "bob.bin").write_bytes(b"bob")
    with pytest.raises(DatasetsFailed):
        fetched(root, own, ["ann", "bob"])
    assert json.loads(root.manifests().read_text())["datasets"] == {"bob": str(own)}


def test_a_shipped_manifest_is_not_remembered(root, tmp_path):
    folder = root.dataset("flowers")
    folder.mkdir(parents=True)
    (folder / "record.json").write_text("{}")
    Catalogue().remember(root, ["flowers"])
    assert not root.manifests().exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 2, "datasets": {}}', '{"format": 1}'])
def test_a_damaged_record_names_itself_and_the_cure(root, text):
    root.path.mkdir(parents=True)
    root.manifests().write_text(text)
    with pytest.raises(ManifestError, match=r"manifests\.json: expected .* Delete this file"):
        Catalogue(root=root)
