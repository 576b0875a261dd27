"""What hosts and sites send, for `fuzz.py`: answers of servers, messages of experts."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from threading import Thread
from unittest.mock import patch

from fuzz_files import Reader, png

from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.errors import AutodsError

# ---------------------------------------------------------------- answers of servers
CONTENT = png(60)
BEGUN = 1000  # bytes of a part that is continued
PAGE = (
    b'<html><head><title>Confirm</title></head><body><form action="/download">'
    b'<input type="hidden" name="id" value="1"><input type="hidden" name="confirm" value="t">'
    b"</form></body></html>"
)
OF_DRIVE = ("form", "moved")  # answers that are also read as Google Drive's pages
DATE = "Sat, 28 Nov 2020 10:00:00 GMT"


def _answer(status: str, body: bytes, **headers: object) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def make_answers(folder: Path) -> None:
    """Write answers as they go over the line; the first that is asked for gives the file."""
    size, whole = len(CONTENT), _answer("200 OK", CONTENT, ETag='"a"', Date=DATE)
    part = _answer(
        "206 Partial Content", CONTENT[BEGUN:], Content_Range=f"bytes {BEGUN}-{size - 1}/{size}",
        ETag='"a"', Last_Modified=DATE,
    )  # fmt: skip
    answers = {
        "whole": whole,
        "part": part,
        "busy": _answer("503 Busy", b"", Retry_After=DATE),
        "moved": _answer("302 Found", b"", Location="http://localhost:1/a/b?c=d"),
        "range": _answer("416 No", b"", Content_Range=f"bytes */{size}"),
        "form": _answer("200 OK", PAGE, Content_Type="text/html; charset=utf-8"),
        "gone": _answer("404 Not Found", PAGE, X_Error_Code="EntryNotFound"),
        "packed": _answer("200 OK", CONTENT, Content_Encoding="gzip"),
    }
    for name, answer in answers.items():
        (folder / f"{name}.http").write_bytes(answer)


def read_answers(folder: Path) -> None:
    """Fetch a file, and the rest of one, from a server that gives each of the answers."""
    refused = None
    for path in sorted(folder.glob("*.http")):
        for kind in ("http", "gdrive") if path.stem in OF_DRIVE else ("http",):
            root = DataRoot(folder.parent / f"root-{path.stem}-{kind}")
            with _served(path.read_bytes()) as address:
                try:
                    _fetch(root, kind, address)
                except AutodsError as error:
                    refused = error if path.stem == "whole" and kind == "http" else refused
    if refused is not None:
        raise refused


def _fetch(root: DataRoot, kind: str, address: str) -> None:
    from autods.fetch import fetch_dataset
    from autods.fetch.sizes import ask_sizes
    from autods.fetch.sources import base, http
    from autods.manifest.schema import FileEntry, Manifest, Mirror

    mirror = Mirror.model_validate(
        {"kind": kind, "url": f"{address}/a.bin" if kind == "http" else "a" * 20}
    )
    part = root.archive("toy", "a.bin.part")
    part.parent.mkdir(parents=True)
    if kind == "http":
        part.write_bytes(CONTENT[:BEGUN])
        base.Seen(mirror.url, '"a"', len(CONTENT)).save(part)
    entry = FileEntry(
        name="a.bin", checksum=f"sha256:{sha256(CONTENT).hexdigest()}", mirrors=[mirror]
    )
    quick = {"BACKOFF": 0.0, "LONGEST_WAIT": 0.01, "RETRIES": 1}
    with (
        patch.multiple(base, **quick),
        patch.object(http, "SILENT_SECONDS", 3.0),
        patch.dict(os.environ, {"AUTODS_GDRIVE_URL": address, "NO_PROXY": "*"}),
    ):
        if root.path.name == "root-part-http":
            ask_sizes([(entry, mirror)])
        fetch_dataset(Manifest.model_construct(name="toy", files=[entry]), root, Silent())


@contextmanager
def _served(answer: bytes) -> Iterator[str]:
    """Give the same bytes to whoever connects."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection, suppress(OSError):
                    connection.settimeout(2)
                    connection.recv(1 << 16)
                    connection.sendall(answer)

        thread = Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


# ---------------------------------------------------------------- messages of sites
TASKS = ("aircraft", "apparel")


def make_messages(folder: Path) -> None:
    """Write a base of two generated tasks and the messages about them."""
    from bmc.config import Config
    from bmc.methods import config_for
    from bmc.runs.choice import StreamChoice
    from bmc.sites.expert import train_expert
    from bmc.sites.model import write_first

    choice = StreamChoice("class-il", "synthetic", max_tasks=2, scale=1e-4)
    own = {"bmc-analytic": {"rank": 8}}
    config = config_for("bmc-analytic", Config(epochs=1, seed=0), own)
    write_first(folder / "base", choice, "paper", "bmc-analytic", config, None)
    for task in TASKS:
        train_expert(folder / "base", task, folder / task)


def read_messages(folder: Path) -> None:
    """Consolidate the messages."""
    from bmc.sites.consolidate import consolidate

    out = folder.parent / "next"
    consolidate(folder / "base", [folder / task for task in TASKS], out)


def make_signed(folder: Path) -> None:
    """Write the same, messages as header and tensors."""
    from safetensors.torch import load_file, save_file

    from bmc.sites.file import open_file
    from bmc.sites.headers import MessageHeader

    make_messages(folder)
    for task in TASKS:
        header = open_file(folder / task, MessageHeader).header
        (folder / f"{task}.json").write_text(header.model_dump_json())
        save_file(load_file(folder / task), folder / f"{task}.safetensors")
        (folder / task).unlink()
    (folder / "base").rename(folder / ".base")  # not what is changed


def read_signed(folder: Path) -> None:
    """Sign the messages as a site can that means harm, and consolidate them."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save_file

    from bmc.sites.consolidate import consolidate
    from bmc.sites.file import KEY

    for task in TASKS:
        text = (folder / f"{task}.json").read_bytes().decode(errors="replace")
        try:
            tensors = load_file(folder / f"{task}.safetensors")
        except (SafetensorError, ValueError) as error:
            raise AutodsError(str(error)) from None
        signed = f"{sha256(text.encode()).hexdigest()} {text}"
        save_file(tensors, folder / task, {KEY: signed})
    out = folder.parent / "next"
    consolidate(folder / ".base", [folder / task for task in TASKS], out)


SENDERS: dict[str, Reader] = {
    "http answers": Reader(make_answers, read_answers),
    "messages of sites": Reader(make_messages, read_messages),
    "signed messages": Reader(make_signed, read_signed),
}
