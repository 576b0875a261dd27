"""Folders of manifests that people name: what is missing or there twice is an error."""

from pathlib import Path

import pytest
from archives import REPOSITORY, make_folder

from autods.errors import ManifestError
from autods.interop.published.spec import load_archive
from autods.manifest.catalogue import Catalogue

SHIPPED = REPOSITORY / "manifests" / "datasets" / "textures.yaml"


def folder_of(tmp_path: Path, *names: str) -> Path:
    return make_folder(tmp_path / "m", dict.fromkeys(names, SHIPPED.read_bytes()))


@pytest.mark.parametrize("way", ["option", "variable"])
@pytest.mark.parametrize(
    ("names", "told"),
    [
        (None, "does not exist"),
        ([], "holds no manifest"),
        (["readme.txt", "deep/er/textures.yaml"], "holds no manifest"),
        (["textures.yaml", "datasets/textures.yaml"], "are of one name"),
        (["textures.yaml", "textures.yml"], "are of one name"),
    ],
)
def test_a_named_folder_that_gives_nothing_is_an_error(tmp_path, monkeypatch, names, told, way):
    folder = tmp_path / "nowhere"
    if names is not None:
        (tmp_path / "m").mkdir()
        folder = folder_of(tmp_path, *names)
    if way == "variable":
        monkeypatch.setenv("AUTODS_MANIFESTS", str(folder))
    with pytest.raises(ManifestError, match=told) as caught:
        Catalogue([folder] if way == "option" else [])
    assert "nothing was read" in str(caught.value)


@pytest.mark.parametrize("name", ["textures.yaml", "textures.yml", "datasets/textures.yml"])
def test_manifests_of_both_endings_are_found(tmp_path, name):
    assert Catalogue([folder_of(tmp_path, name)]).path("textures") == tmp_path / "m" / name


def test_a_missing_folder_is_an_error_for_published_features_too(tmp_path):
    with pytest.raises(ManifestError, match="does not exist"):
        load_archive("stream-clip", [tmp_path / "nowhere"])
