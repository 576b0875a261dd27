"""Published feature sets, fetched elsewhere, are the same bytes; what differs is refused."""

import json
import re
import signal
from pathlib import Path

import numpy as np
import pytest
import yaml
from encode_tools import drawn, make_dataset, tiny_encoder
from interop_tools import ENCODER, make_root
from many_tools import autods, begin, until
from servers.web import Server, running

from autods.core.files import hash_file, hash_tree, read_json, write_json
from autods.core.progress import Board, Silent
from autods.core.root import DataRoot
from autods.encode.extract import extract_dataset
from autods.errors import (
    FetchError,
    LinkGone,
    ManifestError,
    UnknownName,
    UsageError,
)
from autods.interop.published.spec import FeatureArchive
from autods.interop.shared import locate as locating
from autods.interop.shared import texts
from autods.interop.shared.install import fetch_sets, plan_sets
from autods.interop.shared.locate import locate
from autods.interop.shared.manifest import SharedFeatures
from autods.interop.shared.publish import publish
from autods.manifest.catalogue import Catalogue, load
from autods.streams.open import open_stream

NAMES = ["birds", "cats", "frogs"]


@pytest.fixture
def source(tmp_path) -> DataRoot:
    """A root with features of three datasets."""
    return make_root(tmp_path)


@pytest.fixture
def public(source, tmp_path) -> Path:
    """The published folder of all of them."""
    folder = tmp_path / "public"
    publish(NAMES, source, ENCODER, folder, catalogue=Catalogue(), progress=Silent())
    return folder


@pytest.fixture
def far(tmp_path) -> DataRoot:
    """A root on another machine."""
    return DataRoot(tmp_path / "far")


def manifest_of(public: Path) -> Path:
    return public / "features" / f"{ENCODER}.yaml"


def edit(public: Path, change) -> Path:
    """Change the features manifest as a stranger might."""
    path = manifest_of(public)
    content = yaml.safe_load(path.read_text())
    change(content)
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def fetch(where: object, root: DataRoot, names=None, mirrors=(), catalogue=None):
    located = locate(str(where))
    plan = plan_sets(located, root, names or located.shared.names(), catalogue or Catalogue())
    return fetch_sets(located, plan, root, Board(), mirrors)


def states(report) -> dict[str, str]:
    return {row.dataset: row.state for row in report.in_order()}


def served(public: Path, server: Server) -> str:
    """Let a server give a published folder; return the address of its manifest."""
    for path in public.rglob("*"):
        if path.is_file():
            server.files[f"/pub/{path.relative_to(public).as_posix()}"] = path.read_bytes()
    return server.url(f"/pub/features/{ENCODER}.yaml")


def test_a_round_trip_gives_the_same_bytes_and_the_same_stream(source, public, far):
    assert states(fetch(public, far)) == dict.fromkeys(NAMES, "done")
    assert hash_sets(far) == hash_sets(source)
    kept = far.path / "published" / ENCODER / "features" / f"{ENCODER}.yaml"
    assert kept.read_bytes() == manifest_of(public).read_bytes()
    assert states(fetch(manifest_of(public), far)) == dict.fromkeys(NAMES, "kept")
    one, two = (open_stream("all", root, ENCODER) for root in (source, far))
    assert one.provenance == two.provenance
    for here, there in zip(one.tasks, two.tasks, strict=True):
        np.testing.assert_array_equal(here.train.features, there.train.features)


def hash_sets(root: DataRoot) -> dict[str, str]:
    return {name: hash_tree(root.features(ENCODER, name)) for name in NAMES}


def extracted(folder: Path):
    """Extract features of drawn images; return their root, manifest and encoder."""
    source, encoder = DataRoot(folder / "source"), tiny_encoder(folder)
    names = [f"{split}/{c}/{i}.png" for split in ("train", "test") for c in "ab" for i in range(6)]
    manifest = make_dataset(source, {name: drawn(k) for k, name in enumerate(names)})
    extract_dataset(manifest, source, encoder)
    return source, manifest, encoder


def test_extracted_features_go_with_their_licence_and_class_names(tmp_path, far):
    source, manifest, encoder = extracted(tmp_path)
    manifest = manifest.model_copy(update={"licence": "CC | BY", "citation": "A. <b>B</b>"})
    catalogue = _Known(manifest)
    public = tmp_path / "public"
    publish([manifest.name], source, encoder.name, public, catalogue=catalogue, progress=Silent())
    readme = (public / "README.md").read_text()
    assert "| CC \\| BY | A. &lt;b>B&lt;/b> |" in readme
    assert not re.search("None|True|False", readme)
    (one,) = load(public / "features" / f"{encoder.name}.yaml", SharedFeatures).datasets
    assert (one.licence, one.fingerprint) == ("CC | BY", manifest.fingerprint())
    assert states(fetch(public, far, catalogue=catalogue)) == {manifest.name: "done"}
    place = far.features(encoder.name, manifest.name)
    assert hash_tree(place) == hash_tree(source.features(encoder.name, manifest.name))


class _Known(Catalogue):
    """Knows one manifest, which lies in no file."""

    def __init__(self, manifest) -> None:
        super().__init__()
        self.manifest = manifest
        self._datasets[manifest.name] = Path(f"{manifest.name}.yaml")

    def dataset(self, name):
        return self.manifest if name == self.manifest.name else super().dataset(name)


def test_features_of_another_manifest_or_index_are_refused_before_the_download(tmp_path, far):
    source, manifest, encoder = extracted(tmp_path)
    public, known = tmp_path / "public", _Known(manifest)
    publish([manifest.name], source, encoder.name, public, catalogue=known, progress=Silent())
    other = manifest.model_copy(update={"tasks": {**manifest.tasks}, "default_task": "other"})
    report = fetch(public, far, catalogue=_Known(other))
    assert "was published from manifest" in report.rows[manifest.name].message
    path = public / "features" / f"{encoder.name}.yaml"
    path.write_text(path.read_text().replace("samples_sha256: ", "samples_sha256: f", 1)[:-1])
    content = yaml.safe_load(path.read_text())
    content["datasets"][0]["samples_sha256"] = "ab" * 32
    path.write_text(yaml.safe_dump(content))
    far.path.mkdir(parents=True, exist_ok=True)
    (source.path / "datasets").rename(far.path / "datasets")  # the same index is here
    report = fetch(public, far, catalogue=known)
    assert "was published from sample index abababababab" in report.rows[manifest.name].message
    assert not (far.path / "features").exists()


def test_publishing_again_keeps_and_adds_and_gives_the_same_bytes(source, tmp_path):
    whole, grown = tmp_path / "whole", tmp_path / "grown"
    known = {"catalogue": Catalogue(), "progress": Silent()}
    publish(NAMES, source, ENCODER, whole, **known)
    publish(NAMES[:1], source, ENCODER, grown, **known)
    (grown / ENCODER / "birds" / "record.json").write_text("damaged since")
    (grown / ENCODER / "cats").mkdir()
    (grown / ENCODER / "cats" / "train-00000-of-00009.h5").write_bytes(b"of former features")
    done = publish(NAMES, source, ENCODER, grown, **known)
    assert (done.copied["birds"], done.kept["birds"]) == (1, 3)
    assert hash_tree(grown) == hash_tree(whole)


def test_a_licence_that_forbids_it_leaves_a_dataset_out_and_names_it(source, tmp_path):
    manifests = tmp_path / "manifests"
    make_manifests(manifests, cats="share_features: false\nlicence: no redistribution\n")
    folder = tmp_path / "public"
    options = ["--root", source.path, "--manifests", manifests, "--to", folder]
    done = autods("publish", "--encoder", ENCODER, *options)
    assert done.returncode == 0, done.stderr
    assert "forbid giving features on: cats (no redistribution)." in done.stdout
    assert sorted(p.name for p in (folder / ENCODER).iterdir()) == ["birds", "frogs"]
    assert load(manifest_of(folder), SharedFeatures).names() == ["birds", "frogs"]
    done = autods("publish", "cats", "--encoder", ENCODER, *options[:-1], tmp_path / "other")
    assert done.returncode == 2
    assert "no dataset is left to publish" in done.stderr
    # an own manifest that permits it takes it in again
    make_manifests(manifests, cats="share_features: true\nlicence: permitted by letter\n")
    assert autods("publish", "--encoder", ENCODER, *options).returncode == 0
    assert load(manifest_of(folder), SharedFeatures).names() == NAMES


def make_manifests(folder: Path, **texts: str) -> None:
    """Write manifests of datasets whose features were imported."""
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        body = {
            "name": name, "title": name, "homepage": None, "citation": None, "access": "open",
            "files": [{"name": "a.zip", "checksum": "md5:" + "0" * 32,
                       "mirrors": [{"kind": "http", "url": "http://127.0.0.1/a.zip"}]}],
            "layout": {"family": "class-folders", "files": ["a.zip"], "pattern": "{class}/*",
                       "labels": {"class": "{class}"}},
            "tasks": {"class": {"classes": None}}, "default_task": "class",
            "splits": {"clean": {"rule": "random", "test_fraction": 0.25}},
        }  # fmt: skip
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(body) + text)


def test_damaged_features_are_not_published_and_do_not_stop_the_others(source, tmp_path):
    shard = source.features(ENCODER, "cats") / "train-00000-of-00001.h5"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    folder = tmp_path / "public"
    done = autods("publish", "--encoder", ENCODER, "--root", source.path, "--to", folder)
    assert done.returncode == 1
    assert "error: cats: " in done.stderr
    assert load(manifest_of(folder), SharedFeatures).names() == ["birds", "frogs"]


def test_two_encoders_share_a_folder_but_not_a_name(source, public, tmp_path):
    root, other = tmp_path / "root", "tiny.b"
    (root / "features" / ENCODER).rename(root / "features" / other)
    known = {"catalogue": Catalogue(), "progress": Silent()}
    before = hash_tree(public)
    done = publish(["birds"], source, other, public, name=ENCODER, **known)
    assert "is of another encoder than the features of 'birds'" in str(done.failed["birds"])
    assert hash_tree(public) == before
    publish(["birds"], source, other, public, **known)
    assert sorted(p.stem for p in (public / "features").glob("*.yaml")) == [ENCODER, other]
    assert f"## {other}" in (public / "README.md").read_text()
    with pytest.raises(UsageError, match="expected one features manifest"):
        locate(str(public))


@pytest.mark.parametrize("wrong", ["../up", "a/b", "", ".", "features", "x."])
def test_a_name_that_leaves_the_folder_is_refused(source, tmp_path, wrong):
    known = {"catalogue": Catalogue(), "progress": Silent()}
    if wrong:
        with pytest.raises(UsageError, match="nothing was published"):
            publish(NAMES, source, ENCODER, tmp_path / "public", name=wrong, **known)
        assert not (tmp_path / "public").exists()
    with pytest.raises(ManifestError):
        path = tmp_path / "features" / "x.yaml"
        path.parent.mkdir()
        content = {"kind": "feature-sets", "name": wrong, "encoder": "a", "provenance": {}}
        path.write_text(yaml.safe_dump({**content, "dim": 3, "datasets": []}))
        locate(str(path))


# what a stranger's manifest says, and how it is refused
def _file(key, value):
    return lambda content: content["datasets"][0]["files"][1].update({key: value})


def _set(key, value):
    return lambda content: content["datasets"][0].update({key: value})


def _all(key, value):
    return lambda content: content.update({key: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_file("name", "../../../evil.h5"), "expected record.json, a shard"),
        (_file("name", "/etc/passwd"), "expected record.json, a shard"),
        (_file("name", "train-00000-of-00001.h5/../x"), "expected record.json, a shard"),
        (_file("name", "text/../../x.h5"), "expected record.json, a shard"),
        (_file("sha256", "12"), "sha256"),
        (_file("size", 0), "size"),
        (_set("dataset", "../cats"), "expected lower-case letters"),
        (_set("fingerprint", "none"), "fingerprint"),
        (_set("files", []), "files"),
        (_all("encoder", "../tiny"), "expected letters, digits"),
        (_all("name", "../tiny"), "expected letters, digits"),
        (_all("kind", "others"), "expected a features manifest"),
        (_all("mirrors", ["http://127.0.0.1/"]), "mirrors"),
        (lambda c: c["datasets"].append(c["datasets"][0]), "expected each once, got 'birds' again"),
        (lambda c: c["datasets"][0]["files"].pop(0), "record.json and at least one shard"),
    ],
)
def test_a_strangers_manifest_is_refused_by_line_and_field(public, far, change, message):
    path = edit(public, change)
    with pytest.raises(ManifestError, match=message):
        fetch(path, far)
    assert not far.path.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_all("provenance", {"model": "other", "imported": True}), "encoder model: the features"),
        (_all("dim", 9), "dim: the features manifest says 9, the shards say 8"),
        (_set("fingerprint", "ab" * 32), "fingerprint: the features manifest says abab"),
        (_set("classes", {"class": 7}), "classes: the features manifest says"),
        (_set("splits", {"train": 1}), "splits: the features manifest says"),
    ],
)
def test_sets_that_are_not_what_the_manifest_states_are_not_installed(public, far, change, message):
    edit(public, change)
    report = fetch(public, far, ["birds"])
    assert report.rows["birds"].state == "failed"
    assert message in report.rows["birds"].message
    assert not far.features(ENCODER, "birds").exists()


def restate(public: Path, name: str, file: str) -> None:
    """State the hash and size that a file of a published set has now."""
    path = public / ENCODER / name / file

    def change(content):
        (one,) = [one for one in content["datasets"] if one["dataset"] == name]
        (entry,) = [entry for entry in one["files"] if entry["name"] == file]
        entry.update(size=path.stat().st_size, sha256=hash_file(path, "sha256"))

    edit(public, change)


def test_a_foreign_shard_with_the_right_hash_is_found_out(public, far):
    shard = "train-00000-of-00001.h5"
    for name, body in [
        ("birds", (public / ENCODER / "cats" / shard).read_bytes()),
        ("cats", b"\x89HDF\r\n\x1a\n" + b"\0" * 5000),
        ("frogs", b"not HDF5 at all"),
    ]:
        (public / ENCODER / name / shard).write_bytes(body)
        restate(public, name, shard)
    report = fetch(public, far)
    assert states(report) == dict.fromkeys(NAMES, "failed")
    assert all("nothing was installed" in row.message for row in report.in_order())
    assert not any(far.features(ENCODER, name).exists() for name in NAMES)


def test_a_missing_or_altered_file_stops_its_set_alone(source, public, far):
    shard = "test-00000-of-00001.h5"
    (public / ENCODER / "birds" / shard).unlink()
    altered = public / ENCODER / "cats" / shard
    altered.write_bytes(altered.read_bytes()[:-1] + b"0")
    report = fetch(public, far)
    assert states(report) == {"birds": "gone", "cats": "corrupt", "frogs": "done"}
    for name in ("birds", "cats"):  # files of features are no archives to import
        assert report.rows[name].next_step.startswith("Tell those who published them")
    assert not far.features(ENCODER, "birds").exists()
    assert not far.features(ENCODER, "cats").exists()
    # the publisher mends it, and the same command goes on with what has arrived
    publish(NAMES, source, ENCODER, public, catalogue=Catalogue(), progress=Silent())
    report = fetch(public, far)
    assert states(report) == {"birds": "done", "cats": "done", "frogs": "kept"}
    assert report.rows["birds"].fetched == (public / ENCODER / "birds" / shard).stat().st_size
    assert hash_sets(far) == hash_sets(source)


def test_a_mirror_of_the_folder_is_asked_first(source, public, far, tmp_path):
    copy = tmp_path / "copy"
    public.rename(copy)
    (tmp_path / "public" / "features").mkdir(parents=True)
    manifest_of(public).write_bytes(manifest_of(copy).read_bytes())
    assert set(states(fetch(public, far)).values()) == {"gone"}
    assert set(states(fetch(public, far, mirrors=[str(copy)])).values()) == {"done"}
    assert hash_sets(far) == hash_sets(source)


def test_other_features_in_the_way_are_kept(source, public, far):
    fetch(public, far, ["birds", "cats"])
    record = far.feature_record(ENCODER, "birds")
    write_json(record, {**read_json(record), "origin": {"file": "mine"}})
    before = hash_tree(far.features(ENCODER, "birds"))
    far.feature_record(ENCODER, "cats").unlink()  # begun
    report = fetch(public, far)
    assert [states(report)[name] for name in ("birds", "cats")] == ["failed", "failed"]
    assert "holds other features of 'birds'" in report.rows["birds"].message
    assert "holds begun or other files of 'cats'" in report.rows["cats"].message
    assert hash_tree(far.features(ENCODER, "birds")) == before


def test_an_installed_set_with_a_missing_shard_is_told(public, far):
    fetch(public, far)
    (far.features(ENCODER, "cats") / "dev-00000-of-00001.h5").unlink()
    report = fetch(public, far)
    assert states(report) == {"birds": "kept", "cats": "failed", "frogs": "kept"}
    assert "missing or of another size" in report.rows["cats"].message


def test_another_encoder_of_the_same_name_is_refused(source, public, far):
    fetch(public, far, ["birds"])
    edit(public, _all("provenance", {"model": "other", "pretrained": None, "imported": True}))
    report = fetch(public, far, ["frogs"])
    assert "both are called 'tiny.a': model is tiny.a here and other there" in (
        report.rows["frogs"].message
    )
    assert not far.features(ENCODER, "frogs").exists()


def test_names_and_globs_choose_among_the_published_sets(public, far):
    done = autods("fetch", "b*", "cats", "--features", public, "--root", far.path)
    assert done.returncode == 0, done.stderr
    assert [name for _, name in far.feature_sets()] == ["birds", "cats"]
    done = autods("fetch", "brids", "--features", public, "--root", far.path)
    assert done.returncode == 2
    assert "did you mean birds" in done.stderr
    dry = autods("fetch", "--features", public, "--root", far.path, "--dry-run", "--json")
    assert [one["dataset"] for one in json.loads(dry.stdout)["datasets"]] == ["frogs"]


def test_over_http_with_drops_wrong_bytes_and_a_kill_the_bytes_are_the_same(source, public, far):
    with running(Server()) as server:
        address = served(public, server)
        path = f"/pub/{ENCODER}/cats/train-00000-of-00001.h5"
        right = server.files[path]
        server.files[path] = right[:-5] + b"wrong"
        server.drops = [None, 700, 300, 0, 900]
        first = autods("fetch", "--features", address, "--root", far.path)
        assert first.returncode == 1
        assert "cats" in first.stderr
        assert not far.features(ENCODER, "cats").exists()
        server.files[path] = right
        child = begin("fetch", "--features", address, "--root", far.path)
        until(lambda: len(server.log) > 12)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        done = autods("fetch", "--features", address, "--root", far.path)
        assert done.returncode == 0, done.stderr
    assert hash_sets(far) == hash_sets(source)


@pytest.mark.parametrize(
    ("where", "kind", "message"),
    [
        ("nowhere.yaml", UsageError, "cannot be read: No such file"),
        ("public/birds", UnknownName, "there is no such file or folder"),
        ("stream-clp", UnknownName, "did you mean stream-clip"),
        ("http://127.0.0.1:9/folder/", UsageError, "expected https://HOST/FOLDER/features/NAME"),
        ("gopher://x/features/a.yaml", UsageError, "expected https://HOST"),
        ("http://u:secret@127.0.0.1:9/features/a.yaml", FetchError, "http://127.0.0.1:9/features"),
        ("hf:nobody", UsageError, "expected hf:OWNER/REPOSITORY"),
    ],
)
def test_a_place_without_features_is_told_with_the_form_that_is_expected(
    where, kind, message, monkeypatch
):
    monkeypatch.setattr("autods.fetch.sources.base.BACKOFF", 0.0)
    with pytest.raises(kind, match=message) as raised:
        locate(where)
    assert "secret" not in str(raised.value)


def test_what_is_no_features_manifest_is_refused(public, tmp_path, monkeypatch):
    with running(Server()) as server:
        address = served(public, server)
        server.files["/pub/features/page.yaml"] = b"<html><title>Log in</title></html>"
        with pytest.raises(FetchError, match="a web page titled 'Log in'"):
            locate(server.url("/pub/features/page.yaml"))
        with pytest.raises(LinkGone, match="nothing was fetched"):
            locate(server.url("/pub/features/absent.yaml"))
        server.files["/pub/else/a.yaml"] = manifest_of(public).read_bytes()
        with pytest.raises(UsageError, match="expected it in a folder 'features'"):
            locate(server.url("/pub/else/a.yaml"))
        server.files["/pub/features/latin.yaml"] = b"kind: \xff"
        with pytest.raises(ManifestError, match="expected UTF-8"):
            locate(server.url("/pub/features/latin.yaml"))
        monkeypatch.setattr(locating, "LARGEST", 100)
        monkeypatch.setattr(texts, "LARGEST", 100)
        with pytest.raises(FetchError, match="more than 100 bytes"):
            locate(address)
    with pytest.raises(FetchError, match="more than 100 bytes"):
        locate(str(manifest_of(public)))
    folder = tmp_path / "empty"
    folder.mkdir()
    with pytest.raises(UsageError, match="expected one features manifest"):
        locate(str(folder))


def test_the_published_archive_comes_by_the_same_door(tmp_path):
    assert isinstance(locate("stream-clip"), FeatureArchive)
    from autods.manifest.files import shipped_manifests

    shipped = shipped_manifests() / "features" / "stream-clip.yaml"
    assert isinstance(locate(str(shipped)), FeatureArchive)
    with running(Server()) as server:
        server.files["/x/stream-clip.yaml"] = shipped.read_bytes()
        assert isinstance(locate(server.url("/x/stream-clip.yaml")), FeatureArchive)


def test_a_published_folder_is_found_by_name_among_manifests(public):
    located = locate(ENCODER, [public])
    assert located.shared.names() == NAMES


def test_a_reader_that_dies_is_told_and_the_next_set_is_checked(public, far, monkeypatch):
    from autods.interop.shared import check

    dying = "import os, sys; line = sys.stdin.readline(); 'cats' in line and os.abort()\n"
    again = "import io; sys.stdin = io.StringIO(line + sys.stdin.read(0))\n"
    monkeypatch.setattr(check, "PROGRAM", dying + again + check.PROGRAM)
    report = fetch(public, far, ["cats"])
    assert "the reader ended with -6" in report.rows["cats"].message
    assert not far.features(ENCODER, "cats").exists()
    monkeypatch.setattr(check, "PROGRAM", "import time; time.sleep(60)")
    monkeypatch.setattr(check, "START_SECONDS", 0.5)
    report = fetch(public, far, ["cats", "frogs"])
    assert states(report) == {"cats": "failed", "frogs": "failed"}
    assert "the reader ended with -9" in report.rows["frogs"].message
    monkeypatch.undo()
    assert states(fetch(public, far)) == dict.fromkeys(NAMES, "done")
