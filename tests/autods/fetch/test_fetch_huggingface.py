"""Fetching from a loopback Hugging Face Hub: revisions, gates, tokens, a storage host."""

import gzip
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers.hosts import Hub
from servers.web import Storage, running

from autods.core.credentials import hub_credentials
from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.errors import CredentialsMissing, FetchError, LinkGone, RulesNotAccepted
from autods.fetch import fetch_dataset
from autods.manifest.schema import FileEntry, Manifest, Mirror

CONTENT = gzip.compress(hashlib.shake_128(b"hub").digest(300_000))
REVISION = "c877bcd43f099cd0196738f714544e355477f3fd"
NAME = "ann/cats"


@pytest.fixture(autouse=True)
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a machine without a token; return where `hf auth login` would put one."""
    from huggingface_hub import constants

    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_RESOURCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    return tmp_path / "token"


@pytest.fixture
def hub(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with running(Hub(storage)) as server:
        files = {"data/all images.tar.gz": CONTENT, "data/train.txt": b"a.png 0\n"}
        server.repositories[NAME] = {"main": files, REVISION: files}
        monkeypatch.setenv("HF_ENDPOINT", server.url(""))
        yield server


def toy(url: str = f"{NAME}@{REVISION}:data/all images.tar.gz") -> Manifest:
    mirrors = [Mirror(kind="huggingface", url=url)]
    checksum = "md5:" + hashlib.md5(CONTENT).hexdigest()
    entry = FileEntry(name="a.tar.gz", checksum=checksum, mirrors=mirrors)
    return Manifest.model_construct(name="toy", files=[entry])


def fetched(root: DataRoot, manifest: Manifest | None = None) -> bytes:
    fetch_dataset(manifest or toy(), root, Silent())
    return root.archive("toy", "a.tar.gz").read_bytes()


def test_a_file_comes_at_its_revision_through_the_storage_host(root, hub, storage):
    assert fetched(root) == CONTENT
    assert [path for path, *_ in hub.log] == [
        f"/datasets/ann/cats/resolve/{REVISION}/data/all%20images.tar.gz"
    ]
    assert len(storage.log) == 1
    recorded = json.loads(root.record("toy").read_text())["files"]["a.tar.gz"]
    assert recorded["url"] == f"{NAME}@{REVISION}:data/all images.tar.gz"


def test_a_small_file_comes_from_the_hub_itself(root, hub, storage):
    hub.plain.add("data/train.txt")
    checksum = "md5:" + hashlib.md5(b"a.png 0\n").hexdigest()
    mirrors = [Mirror(kind="huggingface", url=f"{NAME}@main:data/train.txt")]
    entry = FileEntry(name="train.txt", checksum=checksum, mirrors=mirrors)
    fetch_dataset(Manifest.model_construct(name="toy", files=[entry]), root, Silent())
    assert root.archive("toy", "train.txt").read_bytes() == b"a.png 0\n"
    assert storage.log == []


@pytest.mark.parametrize("tenth", range(1, 10))
def test_a_drop_is_continued_though_every_signed_address_is_another_one(root, hub, storage, tenth):
    storage.drops = [len(CONTENT) * tenth // 10, None]
    assert fetched(root) == CONTENT
    assert storage.ranges_asked() == [None, f"bytes={len(CONTENT) * tenth // 10}-"]


@pytest.mark.parametrize("place", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "file"])
def test_the_token_of_each_usual_place_stays_with_the_hub(root, hub, stranger, monkeypatch, place):
    if place == "file":
        stranger.write_text("hf_secret\n")
    else:
        monkeypatch.setenv(place, "hf_secret")
    hub.gated[NAME] = {"Bearer hf_secret"}
    assert fetched(root) == CONTENT
    assert hub.sent("Authorization") == ["Bearer hf_secret"]
    found = hub_credentials()
    assert found is not None
    assert found.source == (str(stranger) if place == "file" else place)
    assert "hf_secret" not in repr(found)


@pytest.mark.parametrize("token", [None, "hf_other"])
def test_a_gated_set_is_told_with_the_page_where_access_is_given(root, hub, monkeypatch, token):
    hub.gated[NAME] = {"Bearer hf_secret"}
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(RulesNotAccepted) as caught:
        fetch_dataset(toy(), root, Silent())
    assert caught.value.url == hub.url("/datasets/ann/cats")
    assert caught.value.url in caught.value.next_step
    assert ("hf auth login" in caught.value.next_step) == (token is None)


def test_a_private_repository_needs_credentials(root, hub):
    hub.private.add(NAME)
    with pytest.raises(CredentialsMissing, match="private or gone") as caught:
        fetch_dataset(toy(), root, Silent())
    assert "hf auth login" in caught.value.next_step
    assert "HF_TOKEN" in caught.value.next_step


def test_a_token_that_the_hub_does_not_take_is_named_by_its_place_only(root, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    with pytest.raises(CredentialsMissing, match="not take the token of HF_TOKEN") as caught:
        fetch_dataset(toy(), root, Silent())
    assert "hf_expired" not in f"{caught.value} {caught.value.next_step}"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"{NAME}@main:data/none.zip", "has no file data/none.zip"),
        (f"{NAME}@v9:data/train.txt", "revision v9 of ann/cats is gone"),
        ("ann/dogs@main:a.zip", "the Hub has no ann/dogs any more"),
    ],
)
def test_what_is_gone_is_told_exactly(root, hub, monkeypatch, url, words):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with pytest.raises(LinkGone, match=words):
        fetch_dataset(toy(url), root, Silent())


def test_a_closed_repository_is_gone(root, hub):
    hub.disabled.add(NAME)
    with pytest.raises(LinkGone, match="has closed"):
        fetch_dataset(toy(), root, Silent())


def test_a_refusal_of_the_storage_host_is_not_taken_for_the_hubs(root, hub, storage):
    storage.scripted = [(403, {})]
    with pytest.raises(FetchError, match="403 Forbidden") as caught:
        fetch_dataset(toy(), root, Silent())
    assert type(caught.value) is FetchError
