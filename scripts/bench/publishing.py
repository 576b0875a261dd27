"""Publish features, fetch them over loopback HTTP that misbehaves, kill the fetch, compare bytes.

    python scripts/bench/publishing.py --root ROOT --encoder NAME --out FOLDER

Prints a table for docs/benchmarks/publishing.md. Nothing outside FOLDER is written.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from urllib.parse import unquote

from autods.core.files import hash_tree
from autods.core.root import DataRoot
from autods.features.sets import list_features

COMMAND = [sys.executable, "-c", "from autods.cli.app import main; main()"]
SLOW = 2_000_000  # bytes a second of a slow host
BLOCK = 16_384  # bytes sent at once


@dataclass
class Faults:
    """How often a host misbehaves: shares of its answers with a body."""

    drop: float = 0.0  # the connection ends before the content does
    wrong: float = 0.0  # a byte of the content is another one
    refuse: float = 0.0  # 503 instead of an answer
    slow: bool = False
    seen: Counter[str] = field(default_factory=Counter)
    bytes: int = 0


class Host(ThreadingHTTPServer):
    """Serves a folder, with ranges and with faults."""

    daemon_threads = True

    def __init__(self, folder: Path, faults: Faults, seed: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.faults = folder, faults
        self._random, self._lock = random.Random(seed), Lock()

    def draw(self) -> tuple[str, float]:
        """Return the fault of the next answer, and a number for where it strikes."""
        with self._lock:
            number, place = self._random.random(), self._random.random()
            for fault in ("drop", "wrong", "refuse"):
                share = getattr(self.faults, fault)
                if number < share:
                    self.faults.seen[fault] += 1
                    return fault, place
                number -= share
            return "", place

    def count(self, sent: int) -> None:
        """Count bytes that went over the line."""
        with self._lock:
            self.faults.bytes += sent

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client may hang up."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Host

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path = self.server.folder / unquote(self.path).lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        body, status = path.read_bytes(), 200
        fault, place = self.server.draw() if len(body) > BLOCK else ("", 0.0)
        if fault == "refuse":
            self.send_error(503)
            return
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        first = min(int(wanted[1]), len(body) - 1) if wanted else 0
        if fault == "wrong":
            at = first + int(place * (len(body) - first))
            body = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
        self.send_response(206 if wanted else status)
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - first))
        self.end_headers()
        last = first + int(place * (len(body) - first)) if fault == "drop" else len(body)
        self._send(body[first:last])
        if fault == "drop":
            self.close_connection = True

    def _send(self, body: bytes) -> None:
        for start in range(0, len(body), BLOCK):
            block = body[start : start + BLOCK]
            self.wfile.write(block)
            self.server.count(len(block))
            if self.server.faults.slow:
                time.sleep(len(block) / SLOW)


@contextmanager
def hosting(folder: Path, faults: Faults, seed: int) -> Iterator[str]:
    """Give the address of a running host."""
    with Host(folder, faults, seed) as host:
        thread = Thread(target=host.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{host.server_port}"
        finally:
            host.shutdown()
            thread.join()


@dataclass
class Trip:
    """One way of fetching, until everything was there."""

    name: str
    seconds: float = 0.0
    commands: int = 0
    kills: int = 0
    half: int = 0  # times that a half-installed set was found after a kill
    same: bool = False


def autods(*arguments: object) -> subprocess.Popen[bytes]:
    """Begin a command."""
    kept = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=kept,
    )


def fetch_until_whole(trip: Trip, address: str, root: Path, kills: int, seed: int) -> None:
    """Run the same command until it succeeds, killed some times on the way."""
    chance = random.Random(seed)
    began = time.monotonic()
    for _ in range(kills + 20):
        child = autods("fetch", "--features", address, "--root", root)
        trip.commands += 1
        if trip.kills < kills:
            with suppress(subprocess.TimeoutExpired):
                child.wait(chance.uniform(1.5, 6.0))
            if child.poll() is None:
                child.kill()
                trip.kills += 1
            child.wait()
            trip.half += _half_installed(root)
            continue
        if child.wait() == 0:
            break
    trip.seconds = time.monotonic() - began


def _half_installed(root: Path) -> int:
    """Count folders among the features that are not whole sets."""
    folders = [path for path in root.glob("features/*/*") if path.is_dir()]
    return sum(not (folder / "record.json").is_file() for folder in folders)


def same_bytes(one: DataRoot, two: DataRoot, encoder: str) -> bool:
    """Compare all feature sets of an encoder under two roots, to the byte."""
    names = list_features(one, encoder)
    return names == list_features(two, encoder) and all(
        hash_tree(one.features(encoder, name)) == hash_tree(two.features(encoder, name))
        for name in names
    )


def main() -> None:
    """Publish, make the trips, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--encoder", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    public = options.out / "public"
    for title in ("publish", "publish again"):
        began = time.monotonic()
        arguments = ["--encoder", options.encoder, "--root", options.root, "--to", public]
        if autods("publish", *arguments).wait():
            sys.exit("publishing failed")
        print(f"{title}: {time.monotonic() - began:.1f} s")
    size = sum(path.stat().st_size for path in public.rglob("*") if path.is_file())
    files = sum(path.is_file() for path in public.rglob("*"))
    sets = len(list_features(DataRoot(options.root), options.encoder))
    print(f"{sets} sets, {files} files, {size / 1e6:.1f} MB")
    print("| line | faults seen | MB sent | commands | kills | half sets | seconds | same bytes |")
    print("|---|---|---:|---:|---:|---:|---:|---|")
    trips = [
        (Trip("without faults"), Faults(), 0),
        (Trip("dropped connections"), Faults(drop=0.4), 0),
        (Trip("wrong bytes"), Faults(wrong=0.3), 0),
        (Trip("busy (503)"), Faults(refuse=0.3), 0),
        (Trip("slow, 2 MB/s each"), Faults(slow=True), 0),
        (Trip("all of them"), Faults(0.2, 0.1, 0.1, True), 0),
        (Trip("all, and killed"), Faults(0.2, 0.1, 0.1, True), options.kills),
    ]
    for number, (trip, faults, kills) in enumerate(trips):
        root = options.out / f"root{number}"
        shutil.rmtree(root, ignore_errors=True)
        with hosting(public, faults, options.seed + number) as address:
            where = f"{address}/features/{options.encoder}.yaml"
            fetch_until_whole(trip, where, root, kills, options.seed)
        trip.same = same_bytes(DataRoot(options.root), DataRoot(root), options.encoder)
        seen = ", ".join(f"{count} {fault}" for fault, count in faults.seen.items()) or "-"
        print(
            f"| {trip.name} | {seen} | {faults.bytes / 1e6:.0f} | {trip.commands} | {trip.kills} | "
            f"{trip.half} | {trip.seconds:.0f} | {'yes' if trip.same else 'NO'} |",
            flush=True,
        )
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
