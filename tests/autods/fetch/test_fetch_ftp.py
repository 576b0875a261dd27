"""Fetching over ftp from a real server in this process."""

import hashlib
import json
import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import pytest

from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.errors import CredentialsMissing, FetchError, LinkGone, Unreachable
from autods.fetch import fetch_dataset
from autods.manifest.schema import FileEntry, Manifest, Mirror

pyftpdlib = pytest.importorskip("pyftpdlib")

CONTENT = hashlib.shake_128(b"ftp").digest(400_000)
CHECKSUM = "md5:" + hashlib.md5(CONTENT).hexdigest()


class Server:
    """An ftp server over a folder; logs commands, and can break data connections off."""

    def __init__(self, folder: Path) -> None:
        from pyftpdlib.authorizers import DummyAuthorizer
        from pyftpdlib.handlers import DTPHandler, FTPHandler
        from pyftpdlib.ioloop import IOLoop
        from pyftpdlib.servers import FTPServer

        logging.getLogger("pyftpdlib").setLevel(logging.CRITICAL)
        outer = self
        self.drops: list[int] = []  # bytes after which each data connection breaks off
        self.log: list[str] = []
        self.resumable = True

        class Data(DTPHandler):
            ac_out_buffer_size = 16_384

            def send(self, block: bytes) -> int:
                if outer.drops and self.tot_bytes_sent >= outer.drops[0]:
                    outer.drops.pop(0)
                    self.cmd_channel.close()
                    self.close()
                    return 0
                return super().send(block)

        class Control(FTPHandler):
            dtp_handler = Data
            use_sendfile = False
            auth_failed_timeout = 0

            def ftp_REST(self, line: str) -> None:  # noqa: N802
                if outer.resumable:
                    super().ftp_REST(line)
                else:
                    self.respond("502 Not implemented.")

            def pre_process_command(self, line: str, cmd: str, arg: str) -> None:
                outer.log.append(f"{cmd} {arg}".strip())
                super().pre_process_command(line, cmd, arg)

        authorizer = DummyAuthorizer()
        authorizer.add_anonymous(str(folder))
        authorizer.add_user("ann", "p@ss", str(folder))
        Control.authorizer = authorizer
        self.loop = IOLoop()
        self.server = FTPServer(("127.0.0.1", 0), Control, ioloop=self.loop)
        self.port = self.server.address[1]
        self.stop = Event()
        self.thread = Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        while not self.stop.is_set():
            self.loop.loop(timeout=0.02, blocking=False)
        self.server.close_all()

    def url(self, path: str = "pub/a%20b.bin", user: str = "") -> str:
        return f"ftp://{user}127.0.0.1:{self.port}/{path}"

    def commands(self, name: str) -> list[str]:
        return [line for line in self.log if line.startswith(name)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "ftp" / "pub").mkdir(parents=True)
    (tmp_path / "ftp" / "pub" / "a b.bin").write_bytes(CONTENT)
    running = Server(tmp_path / "ftp")
    yield running
    running.stop.set()
    running.thread.join()


def toy(*urls: str) -> Manifest:
    mirrors = [Mirror.model_construct(kind="ftp", url=url) for url in urls]  # some no addresses
    entry = FileEntry.model_construct(name="a.bin", checksum=CHECKSUM, mirrors=mirrors)
    return Manifest.model_construct(name="toy", files=[entry])


def fetched(root: DataRoot, manifest: Manifest) -> bytes:
    fetch_dataset(manifest, root, Silent())
    target = root.archive("toy", "a.bin")
    assert [path.name for path in target.parent.iterdir()] == ["a.bin"]
    return target.read_bytes()


def test_a_file_arrives_anonymously_in_binary_mode(root, server):
    assert fetched(root, toy(server.url())) == CONTENT
    assert server.commands("USER") == ["USER anonymous"]
    assert server.commands("RETR") == ["RETR pub/a b.bin"]
    assert server.commands("REST") == []


def test_a_users_name_is_used_and_not_recorded(root, server):
    assert fetched(root, toy(server.url(user="ann:p%40ss@"))) == CONTENT
    assert server.commands("USER") == ["USER ann"]
    assert json.loads(root.record("toy").read_text())["files"]["a.bin"]["url"] == server.url()


def test_dropped_connections_are_continued_by_rest(root, server):
    server.drops = [100_000, 50_000]
    assert fetched(root, toy(server.url())) == CONTENT
    offsets = [int(line.split()[1]) for line in server.commands("REST")]
    assert len(offsets) == 2
    assert 100_000 <= offsets[0] < offsets[1] < len(CONTENT)


def test_a_part_of_a_killed_run_is_continued(root, server):
    part = root.archive("toy", "a.bin.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT[:1234])
    assert fetched(root, toy(server.url())) == CONTENT
    assert server.commands("REST") == ["REST 1234"]


def test_a_whole_part_needs_no_bytes(root, server):
    part = root.archive("toy", "a.bin.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT)
    assert fetched(root, toy(server.url())) == CONTENT
    assert server.commands("RETR") == []


def test_a_server_that_cannot_resume_is_fetched_from_the_start(root, server):
    server.resumable = False
    part = root.archive("toy", "a.bin.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT[:1234])
    assert fetched(root, toy(server.url())) == CONTENT


def test_causes_are_told_apart(root, server):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        urls = [
            server.url("gone"),
            server.url(user="ann:wrong@"),
            f"ftp://127.0.0.1:{closed.getsockname()[1]}/x",
            "ftp://no-such-host.invalid/x",
            "ftp://127.0.0.1:port/x",
        ]
        with pytest.raises(FetchError) as caught:
            fetch_dataset(toy(*urls), root, Silent())
    assert type(caught.value) is CredentialsMissing
    lines = str(caught.value).splitlines()[1:-2]
    causes = ["is gone", "wants a login", "refused", "host is unknown", "not a usable URL"]
    assert [cause in line for cause, line in zip(causes, lines, strict=True)] == [True] * 5
    assert "wrong" not in str(caught.value)


@pytest.mark.parametrize("tenth", range(1, 10))
def test_a_connection_dropped_at_every_tenth_is_continued(root, server, tenth):
    server.drops = [len(CONTENT) * tenth // 10]
    assert fetched(root, toy(server.url())) == CONTENT
    (again,) = server.commands("REST")
    assert int(again.split()[1]) >= len(CONTENT) * tenth // 10 - 16_384


@pytest.mark.parametrize(("path", "kind"), [("gone", LinkGone), (None, Unreachable)])
def test_each_cause_has_its_class(root, server, path, kind):
    url = server.url(path) if path else "ftp://no-such-host.invalid/x"
    with pytest.raises(kind):
        fetch_dataset(toy(url), root, Silent())
