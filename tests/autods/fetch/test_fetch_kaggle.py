"""Fetching from a loopback Kaggle: tokens, rules, versions, and a storage host behind it."""

import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from notes import Notes
from servers.hosts import Kaggle
from servers.web import Storage, running

import autods
from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.errors import (
    ChecksumMismatch,
    CredentialsMissing,
    FetchError,
    LinkGone,
    RulesNotAccepted,
    UsageError,
)
from autods.fetch import fetch_dataset
from autods.fetch.sources import base, kaggle
from autods.fetch.versions import at_version, wanted_versions
from autods.manifest.catalogue import Catalogue
from autods.manifest.schema import FileEntry, Manifest, Mirror

CONTENT = b"PK\x03\x04" + hashlib.shake_128(b"kaggle").digest(300_000)
BASIC = "Basic YW5uOnNlY3JldA=="  # ann:secret
VARIABLES = ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_CONFIG_DIR")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a home without credentials."""
    for name in (*VARIABLES, "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def site(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kaggle]:
    with running(Kaggle(storage)) as server:
        server.datasets["ann/cats"] = {"1": CONTENT, "3": CONTENT}
        server.competitions["cat-contest"] = CONTENT
        monkeypatch.setenv("KAGGLE_API_ENDPOINT", server.url(""))
        yield server


def toy(url: str, kind: str = "kaggle", **more: list[int]) -> Manifest:
    mirror = Mirror.model_validate({"kind": kind, "url": url, **more})
    checksum = "md5:" + hashlib.md5(CONTENT).hexdigest()
    entry = FileEntry(name="a.zip", checksum=checksum, mirrors=[mirror])
    return Manifest.model_construct(name="toy", files=[entry])


def contest() -> Manifest:
    return toy("cat-contest", "kaggle-competition")


def fetched(root: DataRoot, manifest: Manifest) -> bytes:
    fetch_dataset(manifest, root, Silent())
    return root.archive("toy", "a.zip").read_bytes()


def key_file(folder: Path, mode: int = 0o600) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "kaggle.json"
    path.write_text(json.dumps({"username": "ann", "key": "secret"}))
    path.chmod(mode)
    return path


def test_a_dataset_comes_at_its_pinned_version(root, site):
    assert fetched(root, toy("ann/cats@3")) == CONTENT
    assert [path for path, *_ in site.log] == [
        "/api/v1/datasets/download/ann/cats?datasetVersionNumber=3"
    ]
    recorded = json.loads(root.record("toy").read_text())["files"]["a.zip"]
    assert (recorded["kind"], recorded["url"]) == ("kaggle", "ann/cats@3")


@pytest.mark.parametrize(
    ("url", "versions", "told", "ask"),
    [
        ("ann/cats", [1, 2, 3], "a newer version is served; versions known: 1, 2, 3", "(1, 2, 3)"),
        (
            "ann/cats",
            [],
            "a newer version is served; its versions: https://www.kaggle.com/datasets/ann/cats/",
            "(https://www.kaggle.com/datasets/ann/cats/versions)",
        ),
        ("ann/cats@2", [], "version 2 is not, or not as packed today, what the manifest", "ann/"),
    ],
)
def test_a_wrong_archive_is_told_as_another_version(root, site, url, versions, told, ask):
    site.datasets["ann/cats"] = {"1": CONTENT, "2": CONTENT + b"!", "3": CONTENT + b"?"}
    with pytest.raises(ChecksumMismatch) as caught:
        fetched(root, toy(url, versions=versions))
    assert told in caught.value.message
    assert "--kaggle-version" in caught.value.next_step
    assert ask in caught.value.next_step


def test_a_version_that_the_user_asks_for_replaces_that_of_the_manifest(root, site):
    site.datasets["ann/cats"] = {"1": CONTENT, "2": CONTENT + b"!"}
    assert wanted_versions(["1"], ["toy"]) == wanted_versions(["toy=1"], ["toy", "b"])
    assert fetched(root, at_version(toy("ann/cats@2"), 1)) == CONTENT
    with pytest.raises(UsageError, match="does not come from a Kaggle dataset"):
        at_version(contest(), 1)


def test_the_function_fetch_asks_for_a_version_too(root, site):
    site.datasets["ann/cats"] = {"1": CONTENT, "2": CONTENT + b"!"}
    whole = Catalogue().dataset("rice").model_copy(update=dict(toy("ann/cats@2")))
    shelf: Any = SimpleNamespace(dataset=lambda name: whole, remember=lambda *_: None)
    for asked in (1, {"toy": 1}):
        autods.fetch("toy", root, kaggle_version=asked, catalogue=shelf, quiet=True)
        assert root.archive("toy", "a.zip").read_bytes() == CONTENT
    for refused in (0, True, {"b": 1}):
        with pytest.raises(UsageError, match="nothing was fetched"):
            autods.fetch("toy", root, kaggle_version=refused, catalogue=shelf, quiet=True)


@pytest.mark.parametrize(
    ("value", "names", "message"),
    [
        ("1", ["a", "b"], "expected NAME=N, or N with one dataset"),
        ("a=new", ["a"], "expected NAME=N"),
        ("a=0", ["a"], "expected NAME=N"),
        ("c=1", ["a"], "'c' is not among the datasets"),
    ],
)
def test_a_version_that_cannot_be_understood_is_refused(value, names, message):
    with pytest.raises(UsageError, match=message):
        wanted_versions([value], names)


def test_an_open_dataset_needs_no_token(root, site):
    assert fetched(root, toy("ann/cats")) == CONTENT
    assert site.sent("Authorization") == [None]


def test_a_competition_comes_with_a_token(root, site, monkeypatch):
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_secret")
    assert fetched(root, contest()) == CONTENT
    assert [path for path, *_ in site.log] == ["/api/v1/competitions/data/download-all/cat-contest"]
    assert site.sent("Authorization") == ["Bearer KGAT_secret"]


@pytest.mark.parametrize("tenth", range(1, 10))
def test_a_drop_is_continued_though_every_signed_address_is_another_one(root, site, storage, tenth):
    storage.drops = [len(CONTENT) * tenth // 10, None]
    assert fetched(root, toy("ann/cats")) == CONTENT
    assert storage.ranges_asked() == [None, f"bytes={len(CONTENT) * tenth // 10}-"]
    assert storage.log[1][2] == '"one"'
    assert len({path for path, *_ in storage.log}) == 2


def test_an_archive_that_kaggle_packed_anew_in_between_is_not_glued(root, site, storage):
    part = root.archive("toy", "a.zip.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(b"PK\x03\x04 another" * 100)
    base.Seen("ann/cats", '"old"', 400_000).save(part)
    assert fetched(root, toy("ann/cats")) == CONTENT
    assert storage.log[0][1:] == ("bytes=1200-", '"old"')


def test_credentials_are_found_in_their_order(home, tmp_path, monkeypatch):
    def found() -> tuple[str, str]:
        credentials = kaggle.credentials()
        assert credentials is not None
        return credentials.source, credentials.authorization

    assert kaggle.credentials() is None
    general = key_file(home / ".config" / "kaggle")
    assert found() == (str(general), BASIC)
    own = key_file(home / ".kaggle")
    assert found() == (str(own), BASIC)
    token = home / ".kaggle" / "access_token"
    token.write_text("KGAT_secret\n")
    assert found() == (str(token), "Bearer KGAT_secret")
    chosen = key_file(tmp_path / "chosen")
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "chosen"))
    assert found() == (str(chosen), BASIC)
    monkeypatch.setenv("KAGGLE_USERNAME", "ann")
    assert found() == (str(chosen), BASIC)
    monkeypatch.setenv("KAGGLE_KEY", "secret")
    assert found() == ("KAGGLE_USERNAME and KAGGLE_KEY", BASIC)
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_secret")
    assert found() == ("KAGGLE_API_TOKEN", "Bearer KGAT_secret")


def test_a_key_file_that_others_can_read_is_only_a_note(root, site, home):
    path = key_file(home / ".kaggle", 0o644)
    notes = Notes()
    fetch_dataset(contest(), root, notes)
    assert any(f"chmod 600 {path}" in line for line in notes.lines)
    assert site.sent("Authorization") == [BASIC]


def test_a_damaged_key_file_is_named(root, site, home):
    path = key_file(home / ".kaggle")
    path.write_text('{"username": "ann"')
    with pytest.raises(CredentialsMissing, match=r"kaggle\.json cannot be read as JSON") as caught:
        fetch_dataset(contest(), root, Silent())
    assert str(path) in caught.value.next_step
    assert site.log == []


def test_without_a_token_a_competition_is_not_even_asked_for(root, site):
    with pytest.raises(CredentialsMissing, match="no Kaggle token was found") as caught:
        fetch_dataset(contest(), root, Silent())
    assert caught.value.cause == "needs credentials"
    assert "https://www.kaggle.com/settings" in caught.value.next_step
    assert "~/.kaggle/kaggle.json" in caught.value.next_step
    assert caught.value.next_step in str(caught.value)
    assert site.log == []


def test_a_dataset_for_members_without_a_token_needs_credentials(root, site):
    site.closed.add("ann/cats")
    with pytest.raises(CredentialsMissing, match="none was found"):
        fetch_dataset(toy("ann/cats"), root, Silent())


def test_a_token_that_kaggle_does_not_take_is_named_by_its_place(root, site, monkeypatch):
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_expired")
    with pytest.raises(CredentialsMissing, match="not take the token of KAGGLE_API_TOKEN"):
        fetch_dataset(contest(), root, Silent())


@pytest.mark.parametrize(
    ("manifest", "name", "page"),
    [
        (contest(), "cat-contest", "https://www.kaggle.com/competitions/cat-contest/rules"),
        (toy("ann/cats@1"), "ann/cats", "https://www.kaggle.com/datasets/ann/cats"),
    ],
)
def test_unaccepted_rules_are_told_with_their_page(root, site, home, manifest, name, page):
    key_file(home / ".kaggle")
    site.unaccepted.add(name)
    with pytest.raises(RulesNotAccepted) as caught:
        fetch_dataset(manifest, root, Silent())
    assert caught.value.cause == "needs acceptance"
    assert caught.value.url == page
    assert page in caught.value.next_step


@pytest.mark.parametrize(
    ("url", "words"), [("ann/dogs", "the dataset any more"), ("ann/cats@9", "version 9 of")]
)
def test_a_dataset_and_a_version_that_are_gone_are_told_apart(root, site, url, words):
    with pytest.raises(LinkGone, match=words):
        fetch_dataset(toy(url), root, Silent())


def test_a_refusal_of_the_storage_host_is_not_taken_for_kaggles(root, site, storage, monkeypatch):
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_secret")
    storage.scripted = [(403, {})]
    with pytest.raises(FetchError, match="403 Forbidden") as caught:
        fetch_dataset(contest(), root, Silent())
    assert type(caught.value) is FetchError


@pytest.mark.parametrize("token", ["KGAT_secret\nsecret", "KGAT_secr\xe9t"])
def test_a_token_that_no_request_can_hold_is_not_repeated(root, site, monkeypatch, token):
    monkeypatch.setenv("KAGGLE_API_TOKEN", token)
    with pytest.raises(CredentialsMissing, match="not one line of plain characters") as caught:
        fetch_dataset(contest(), root, Silent())
    assert "KGAT" not in str(caught.value)
    assert site.log == []


@pytest.mark.parametrize("state", ["good", "bad", "unaccepted", "gone", "dropped", "away"])
def test_a_token_appears_nowhere(root, site, storage, home, monkeypatch, caplog, capfd, state):
    caplog.set_level(logging.DEBUG)
    key_file(home / ".kaggle")
    if state == "bad":
        site.accepted = set()
    elif state == "unaccepted":
        site.unaccepted.add("cat-contest")
    elif state == "gone":
        del site.competitions["cat-contest"]
    elif state == "dropped":
        storage.drops = [0] * 9
    elif state == "away":
        monkeypatch.setenv("KAGGLE_API_ENDPOINT", "http://no-such-host.invalid")
    notes, told = Notes(), ""
    try:
        fetch_dataset(contest(), root, notes)
    except FetchError as error:
        told = f"{error} {error!r} {error.next_step} {error.url}"
    assert (told == "") == (state == "good")
    outputs = capfd.readouterr()
    files = [path.read_bytes() for path in root.path.rglob("*") if path.is_file()]
    texts = [told, *notes.lines, caplog.text, outputs.out, outputs.err, repr(kaggle.credentials())]
    for secret in ("secret", BASIC.removeprefix("Basic ")):
        assert not any(secret in text for text in texts)
        assert not any(secret.encode() in content for content in files)
