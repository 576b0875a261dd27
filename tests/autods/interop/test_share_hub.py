"""Published features go to a loopback Hugging Face Hub, and come from there."""

from pathlib import Path

import pytest
from interop_tools import ENCODER, make_root
from servers.hosts import WritableHub
from servers.web import Storage, running

from autods.core.files import hash_tree
from autods.core.progress import Board, Silent
from autods.core.root import DataRoot
from autods.errors import CredentialsMissing, LinkGone, Unreachable, UsageError
from autods.interop.shared.hub import parse_target, push
from autods.interop.shared.install import fetch_sets, plan_sets
from autods.interop.shared.locate import locate
from autods.interop.shared.publish import publish
from autods.manifest.catalogue import Catalogue

NAME = "ann/features"
NAMES = ["birds", "cats", "frogs"]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hub that takes uploads of one token, by its protocol for large files."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # another protocol, not ours to try
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with running(Storage()) as storage, running(WritableHub(storage)) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url(""))
        yield server


@pytest.fixture
def public(tmp_path) -> Path:
    """A published folder of three datasets."""
    root, folder = make_root(tmp_path), tmp_path / "public"
    publish(NAMES, root, ENCODER, folder, catalogue=Catalogue(), progress=Silent())
    return folder


def test_a_pushed_folder_is_fetched_from_the_hub_with_the_same_bytes(hub, public, tmp_path):
    assert push(public, NAME) == hub.url(f"/datasets/{NAME}")
    files = hub.repositories[NAME]["main"]
    assert not [path for path in files if path.endswith((".lock", ".tmp"))]
    assert files["README.md"] == (public / "README.md").read_bytes()
    far = DataRoot(tmp_path / "far")
    for where in (f"hf:{NAME}", f"hf:{NAME}@main:features/{ENCODER}.yaml"):
        located = locate(where)
        assert located.base == f"{NAME}@{'0' * 40}:"
    report = fetch_sets(located, plan_sets(located, far, NAMES, Catalogue()), far, Board())
    assert [row.state for row in report.in_order()] == ["done"] * 3
    for name in NAMES:
        assert hash_tree(far.features(ENCODER, name)) == hash_tree(public / ENCODER / name)


def test_an_upload_that_broke_off_is_continued(hub, public):
    hub.broken = 2
    with pytest.raises(Unreachable, match="is whole and was not changed"):
        push(public, NAME)
    assert hub.repositories[NAME]["main"] == {}
    before = hub.uploads
    push(public, NAME)
    assert 0 < hub.uploads - before < len(list(public.rglob("*.h5")))
    again = hub.uploads
    push(public, NAME)
    assert hub.uploads == again


def test_pushing_less_than_the_repository_holds_is_refused(hub, public, tmp_path):
    push(public, NAME)
    fewer = tmp_path / "fewer"
    root = DataRoot(tmp_path / "root")
    publish(["birds"], root, ENCODER, fewer, catalogue=Catalogue(), progress=Silent())
    before = dict(hub.repositories[NAME]["main"])
    with pytest.raises(UsageError, match=r"has cats, frogs, which .* lacks"):
        push(fewer, NAME)
    assert hub.repositories[NAME]["main"] == before


def test_a_token_that_must_not_write_is_told(hub, public, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    with pytest.raises(CredentialsMissing, match="the right to do this"):
        push(public, NAME)
    assert NAME not in hub.repositories


def test_a_repository_without_features_or_with_several_is_told(hub, public):
    with pytest.raises(LinkGone, match="no dataset repository ann/nothing"):
        locate("hf:ann/nothing")
    push(public, NAME)
    with pytest.raises(LinkGone, match="no revision v9"):
        locate(f"hf:{NAME}@v9")
    with pytest.raises(UsageError, match=f"expected features/x.yaml, found features/{ENCODER}"):
        locate(f"hf:{NAME}:features/x.yaml")
    files = hub.repositories[NAME]["main"]
    files["features/b.yaml"] = b"x"
    with pytest.raises(
        UsageError, match=r"expected one features manifest, found features/b\.yaml, features"
    ):
        locate(f"hf:{NAME}")


@pytest.mark.parametrize("wrong", ["ann/features", "hf:ann", "hf:a/b/c", "hf:", "hf:a b/c"])
def test_a_target_of_another_form_is_refused(wrong):
    with pytest.raises(UsageError, match="expected hf:OWNER/REPOSITORY"):
        parse_target(wrong)
