"""The doctor finds what is wrong with a machine, says the cure, and leaves nothing behind."""

import json
import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from archives import folders_layout, manifest_of

from autods.checks import doctor_network
from autods.checks.doctor import examine, show
from autods.checks.doctor_network import address_of, ask, check_network
from autods.checks.doctor_root import _locks, check_root, check_temporary
from autods.checks.finding import Check
from autods.core.root import DataRoot
from autods.manifest.catalogue import Catalogue
from autods.manifest.schema import Manifest, Mirror

VARIABLES = [
    *("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_CONFIG_DIR", "XDG_CONFIG_HOME"),
    *("KAGGLE_API_ENDPOINT", "HF_ENDPOINT", "AUTODS_GDRIVE_URL", "AUTODS_MANIFESTS", "HF_TOKEN"),
    *("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"),
]


@pytest.fixture(autouse=True)
def plain(monkeypatch, tmp_path) -> Path:
    """Take away what the machine of the test has set, and give it an empty home."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home


class Web(ThreadingHTTPServer):
    """A host that answers every HEAD with a redirect, and whose clock may be wrong."""

    def __init__(self, ahead: float) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.ahead = ahead
        self.asked: list[str] = []
        self.address = f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    server: Web

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        self.send_response_only(302)
        self.send_header("Location", f"{self.server.address}/elsewhere")
        self.send_header("Date", formatdate(time.time() + self.server.ahead, usegmt=True))
        self.end_headers()


@pytest.fixture
def web() -> Iterator[Any]:
    servers = []

    def start(ahead: float = 0.0) -> Web:
        servers.append(Web(ahead))
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,), daemon=True).start()
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def silent(monkeypatch) -> Iterator[str]:
    """A host that takes connections and never says a word."""
    monkeypatch.setattr(doctor_network, "SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def refusing() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return f"http://127.0.0.1:{port}"


def manifest(name: str, *mirrors: tuple[str, str], file: str = "a.zip", **entry: Any) -> Manifest:
    mirrors = mirrors or (("file", "/nowhere/a.zip"),)
    published = {
        "name": file,
        "checksum": "md5:" + "0" * 32,
        "mirrors": [{"kind": kind, "url": url} for kind, url in mirrors],
        **entry,
    }
    return manifest_of({}, folders_layout(file), name, files=[published])


def catalogue(tmp_path: Path, *manifests: Manifest) -> Catalogue:
    folder = tmp_path / "manifests"
    folder.mkdir(exist_ok=True)
    for one in manifests:
        text = yaml.safe_dump(one.model_dump(mode="json", by_alias=True))
        (folder / f"{one.name}.yaml").write_text(text)
    return Catalogue([folder])


def findings(tmp_path: Path, *manifests: Manifest, offline: bool = True) -> dict[str, Check]:
    """Examine for these datasets only: the hosts of the shipped ones are not asked."""
    names = [one.name for one in manifests]
    root = DataRoot(tmp_path / "root")
    checks = examine(catalogue(tmp_path, *manifests), root, names, offline=offline)
    return {check.check: check for check in checks}


def network(*manifests: Manifest) -> dict[str, Check]:
    return {check.check: check for check in check_network(manifests)}


def host(address: str) -> str:
    return f"{address.partition('://')[2]} (http)"


def test_each_host_is_asked_once_by_head_and_redirects_are_not_followed(web):
    server = web()
    url = f"{server.address}/some/a.zip"
    found = network(manifest("cats", ("http", url)), manifest("dogs", ("http", url)))
    assert server.asked == ["HEAD /"]
    assert found[host(server.address)].state == "ok"
    assert found[host(server.address)].text.startswith("HTTP 302 in 0")
    assert found[host(server.address)].text.endswith("; 2 datasets, only there")


def test_hosts_that_do_not_answer_are_warnings_with_the_cause(web, silent, refusing):
    server = web()
    mirrors = [("http", f"{address}/a.zip") for address in (server.address, silent, refusing)]
    found = network(manifest("cats", *mirrors), manifest("dogs", mirrors[1]))
    assert found[host(server.address)].state == "ok"
    assert found[host(silent)].state == found[host(refusing)].state == "warn"
    assert found[host(silent)].text == "no answer within 0.2 s; 2 datasets, 1 only there"
    assert "refused" in found[host(refusing)].text
    assert "--mirror" in found[host(refusing)].cure
    assert "network" not in found


def test_only_where_no_host_answers_the_network_fails(silent, refusing):
    mirrors = [("http", f"{address}/a.zip") for address in (silent, refusing)]
    found = network(manifest("cats", *mirrors))
    assert found["network"].state == "fail"
    assert "none of 2 hosts" in found["network"].text
    assert list(found) == ["network"]  # which says why; a line of each host would say no more
    assert "clock" not in found


def test_datasets_on_this_machine_need_no_network():
    assert network(manifest("cats", ("file", "/data/a.zip")), manifest("dogs")) == {}


def test_a_clock_that_is_wrong_against_all_hosts_is_a_warning(web):
    behind = web(ahead=7200)
    found = network(manifest("cats", ("http", f"{behind.address}/a.zip")))
    assert found["clock"].state == "warn"
    assert "120 minutes behind" in found["clock"].text
    ahead = web(ahead=-3600)
    found = network(manifest("cats", ("http", f"{ahead.address}/a.zip")))
    assert "60 minutes ahead of" in found["clock"].text


def test_one_host_with_a_wrong_clock_is_no_reason_to_doubt_ours(web):
    mirrors = [("http", f"{server.address}/a.zip") for server in (web(7200), web(), web(-9000))]
    assert network(manifest("cats", *mirrors))["clock"].state == "ok"


def test_ftp_and_git_hosts_are_reached_by_a_connection(refusing):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"ftp://127.0.0.1:{server.getsockname()[1]}"
        assert ask(address).reached
    assert not ask(address).reached
    assert not ask(refusing.replace("http", "ssh")).reached


@pytest.mark.parametrize(
    ("kind", "url", "address"),
    [
        ("http", "https://user:secret@Host.org:8443/a/b.zip", "https://Host.org:8443"),
        ("ftp", "ftp://host.org/a.zip", "ftp://host.org"),
        ("gdrive", "1insLK3FoGw-UEQUNnhzyxsql7z28lplZ", "https://drive.usercontent.google.com"),
        ("kaggle", "owner/name@3", "https://www.kaggle.com"),
        ("kaggle-competition", "some-competition", "https://www.kaggle.com"),
        ("huggingface", "owner/name@main:data/a.zip", "https://huggingface.co"),
        ("git", "https://github.com/a/b.git", "https://github.com"),
        ("git", "git@github.com:a/b.git", "ssh://github.com"),
        ("git", "/srv/repository", None),
        ("git", "file:///srv/repository", None),
        ("file", "/srv/a.zip", None),
    ],
)
def test_the_address_of_a_mirror_is_that_of_its_host(kind, url, address):
    assert address_of(Mirror(kind=kind, url=url)) == address


def test_endpoints_of_the_environment_take_the_place_of_the_usual_hosts(monkeypatch, web):
    server = web()
    for name in ("KAGGLE_API_ENDPOINT", "HF_ENDPOINT", "AUTODS_GDRIVE_URL"):
        monkeypatch.setenv(name, f"{server.address}/api")
    found = network(
        manifest("cats", ("kaggle", "owner/name")),
        manifest("dogs", ("huggingface", "owner/name@main:a.zip"), ("gdrive", "1insLK3FoGw")),
    )
    assert set(found) == {host(server.address), "clock"}


def only_with(monkeypatch, tmp_path: Path, *tools: str) -> None:
    """Leave nothing on the PATH but these executables."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in tools:
        (folder / tool).write_text("#!/bin/sh\n")
        (folder / tool).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def test_missing_tools_are_warnings_for_the_datasets_that_need_them(monkeypatch, tmp_path):
    only_with(monkeypatch, tmp_path)
    git = ("git", "https://github.com/a/b.git")
    found = findings(
        tmp_path,
        manifest("cats", file="cats.RAR"),
        manifest("dogs", git, file="repo", checksum="git:" + "0" * 40),
    )
    assert found["rar"].state == found["git"].state == found["zip"].state == "warn"
    assert found["rar"].text == "no tool is installed; needed for 1 dataset (cats)"
    assert "apt-get install libarchive-tools" in found["rar"].cure
    assert "1 dataset (dogs)" in found["git"].text
    assert found["7z"] == Check("7z", "ok", "no tool is installed; no dataset needs it")


def test_tools_that_are_installed_are_named_with_their_place(monkeypatch, tmp_path):
    only_with(monkeypatch, tmp_path, "git", "bsdtar", "7zz")
    found = findings(tmp_path, manifest("cats", file="cats.rar"))
    tools = tmp_path / "bin"
    assert found["rar"] == Check("rar", "ok", f"{tools / 'bsdtar'}; needed for 1 dataset (cats)")
    assert found["zip"].state == "ok"
    assert found["git"].text == f"{tools / 'git'}; no dataset needs it"


def test_a_7_zip_that_is_built_without_rar_does_not_count_as_a_tool_for_it(monkeypatch, tmp_path):
    only_with(monkeypatch, tmp_path, "7zz")
    tool, cats = tmp_path / "bin" / "7zz", manifest("cats", file="cats.rar")
    found = findings(tmp_path, cats)
    assert found["rar"].state == "warn"
    assert found["rar"].text == f"{tool} cannot read rar; needed for 1 dataset (cats)"
    assert "apt-get install libarchive-tools" in found["rar"].cure
    assert found["7z"].state == found["zip"].state == "ok"
    tool.write_text("#!/bin/sh\necho ' Rar5 rar r00'\n")
    found = findings(tmp_path, cats)
    assert found["rar"] == Check("rar", "ok", f"{tool}; needed for 1 dataset (cats)")


def test_the_kaggle_token_is_found_and_never_shown(plain, tmp_path):
    folder = plain / ".kaggle"
    folder.mkdir()
    path = folder / "kaggle.json"
    path.write_text(json.dumps({"username": "somebody", "key": "deadbeef01"}))
    path.chmod(0o600)
    checks = findings(tmp_path, manifest("cats", ("kaggle", "owner/name")))
    text = f"{path}; 1 dataset (cats) with no other source"
    assert checks["Kaggle token"] == Check("Kaggle token", "ok", text)
    assert "deadbeef01" not in show(list(checks.values()), 80)
    path.chmod(0o644)
    found = findings(tmp_path, manifest("cats", ("kaggle", "owner/name")))["Kaggle token"]
    assert found.state == "warn"
    assert f"chmod 600 {path}" in found.cure
    path.write_text("not json: deadbeef01")
    found = findings(tmp_path, manifest("cats", ("kaggle", "owner/name")))["Kaggle token"]
    assert found.state == "warn"
    assert "cannot be read as JSON" in found.text
    assert "deadbeef01" not in f"{found}"


def test_a_missing_token_is_a_warning_only_for_datasets_without_another_source(tmp_path):
    needs = manifest("cats", ("kaggle", "owner/name"))
    has_other = manifest("dogs", ("kaggle", "owner/name"), ("file", "/srv/a.zip"))
    found = findings(tmp_path, needs, has_other)["Kaggle token"]
    assert found.state == "warn"
    assert "1 dataset (cats)" in found.text
    assert "https://www.kaggle.com/settings" in found.cure
    found = findings(tmp_path, has_other)["Kaggle token"]
    assert found == Check("Kaggle token", "ok", "none was found; no dataset asks for it")


def test_the_token_of_the_hub_is_named_by_its_variable(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_TOKEN", "hf_deadbeef02")
    checks = findings(tmp_path, manifest("cats", ("huggingface", "owner/name@main:a.zip")))
    assert checks["Hub token"].text == "HF_TOKEN; 1 dataset (cats) with no other source"
    assert "deadbeef02" not in show(list(checks.values()), 80)


def test_a_root_that_is_not_there_is_tried_in_its_parent_and_not_made(tmp_path):
    (tmp_path / "disk").mkdir()
    found = {c.check: c for c in check_root(DataRoot(tmp_path / "disk" / "a" / "b"), [])}
    assert found["root"].state == found["locks"].state == found["disk"].state == "ok"
    assert f"will be made in {tmp_path / 'disk'}" in found["root"].text
    assert list((tmp_path / "disk").iterdir()) == []


def test_a_root_that_is_there_is_left_as_it_was(tmp_path):
    (tmp_path / "root" / "datasets").mkdir(parents=True)
    found = {c.check: c for c in check_root(DataRoot(tmp_path / "root"), [])}
    assert found["root"].text == f"{tmp_path / 'root'} can be written"
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["datasets"]


def test_a_root_that_cannot_be_written_fails(tmp_path):
    (tmp_path / "file").write_text("in the way")
    (found,) = check_root(DataRoot(tmp_path / "file" / "root"), [])
    assert (found.check, found.state) == ("root", "fail")
    assert "a file is where a folder is expected" in found.text
    assert "--root" in found.cure


def test_a_machine_without_a_folder_for_temporary_files_fails(monkeypatch):
    assert check_temporary().state == "ok"
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/nowhere"])
    found = check_temporary()
    assert found.state == "fail"
    assert "TMPDIR" in found.cure


def test_a_place_where_files_cannot_be_locked_fails(tmp_path):
    (tmp_path / "file").write_text("in the way")
    found = _locks(tmp_path / "file" / "place")
    assert (found.check, found.state) == ("locks", "fail")
    assert "one autods at a time" in found.cure


def test_free_space_is_compared_with_the_known_sizes_of_what_is_not_here(tmp_path):
    root = DataRoot(tmp_path / "root")
    free = shutil.disk_usage(tmp_path).free
    unknown = manifest("dogs")
    found = {c.check: c for c in check_root(root, [manifest("cats", size=2 * free), unknown])}
    assert found["disk"].state == "warn"
    assert "2 files" in found["disk"].text
    assert "1 of unknown size" in found["disk"].text
    assert "--root" in found["disk"].cure
    part = root.archive("cats", "a.zip.part")
    part.parent.mkdir(parents=True)
    part.touch()
    os.truncate(part, 2 * free)  # takes no space
    found = {c.check: c for c in check_root(root, [manifest("cats", size=2 * free)])}
    assert "1 file, 0 bytes known" in found["disk"].text


def test_a_manifest_that_cannot_be_read_fails_and_the_others_are_examined(tmp_path):
    good, bad = manifest("cats", file="cats.rar"), manifest("dogs")
    known = catalogue(tmp_path, good, bad)
    path = tmp_path / "manifests" / "dogs.yaml"
    path.write_text(path.read_text() + "colour: red\n")
    checks = examine(known, DataRoot(tmp_path / "root"), ["cats", "dogs"], offline=True)
    (failed,) = [check for check in checks if check.state == "fail"]
    assert failed.check == "manifests"
    assert f"{path}:" in failed.text
    assert any("cats" in check.text for check in checks if check.check == "rar")


def test_all_shipped_manifests_and_streams_are_sound(tmp_path):
    checks = examine(Catalogue(), DataRoot(tmp_path / "root"), offline=True)
    assert [check.text for check in checks if check.check in ("manifests", "streams")] == [
        f"{len(Catalogue().datasets())} datasets, all manifests can be read"
    ]
    assert {check.check: check.state for check in checks}["python"] == "ok"
    assert {check.check: check.state for check in checks}["packages"] == "ok"
    assert {check.check: check.state for check in checks}["temporary"] == "ok"


def test_lines_keep_within_the_width_and_the_cure_stands_below_its_findings():
    checks = [
        Check("root", "ok", "/srv/data can be written"),
        Check("Kaggle token", "warn", "none was found; " + "many words " * 12, "Make a token."),
        Check("one.host", "warn", "no answer", "Try again."),
        Check("two.host", "warn", "no answer", "Try again."),
        Check("a-host-with-a-very-long-name.org", "ok", "HTTP 200"),
    ]
    lines = show(checks, 80).splitlines()
    assert max(map(len, lines)) <= 80
    gap = " " * 36
    assert lines[0] == f"{'ok    root':36}/srv/data can be written"
    assert lines[1].startswith(f"{'warn  Kaggle token':36}none was found; many words")
    assert lines[-6] == f"{gap}-> Make a token."
    assert lines[-5:] == [
        f"{'warn  one.host':36}no answer",
        f"{'warn  two.host':36}no answer",
        f"{gap}-> Try again.",
        "ok    a-host-with-a-very-long-name.org",
        f"{gap}HTTP 200",
    ]
