"""Unpack archives by system tools, as a stream of members; nothing is written to disk here.

`autods.containers.convert` checks the output; a tool never chooses a path.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import IO, NamedTuple

from autods.containers.tars import UNKNOWN
from autods.containers.zips import LINK_BYTES, check_encryption, is_link, member_name
from autods.core.files import BLOCK

LOCALE = "en_US.UTF-8" if sys.platform == "darwin" else "C.UTF-8"  # member names are UTF-8
WORDS = 300  # characters of a tool's complaint that are shown

Entry = tuple[str, int, int | None, bool]  # name, size, CRC if known, whether it is a link


class Unpacked(NamedTuple):
    """An entry that a tool gave: a file with its content, a link, or another one."""

    name: str
    size: int = 0
    stream: IO[bytes] | _Content | None = None  # the content of a file
    kind: bytes = UNKNOWN  # of an entry without one, as in a tar
    target: str = ""  # of a link, as in a tar


class ToolFailed(Exception):
    """A tool could not read an archive; the text is its message."""


@dataclass(frozen=True)
class Tool:
    """A system tool; the first of its ``executables`` that is installed is used."""

    executables: tuple[str, ...]
    # executable, archive, its kind, to its entries in any order; raises ToolFailed
    unpack: Callable[[str, Path, str], Generator[Unpacked, None, None]]
    debian: str  # package of Debian and Ubuntu; then of conda-forge and of macOS
    conda: str
    brew: str

    def find(self) -> str | None:
        """Return the path of the executable, ``None`` if the tool is not installed."""
        return next((path for name in self.executables if (path := shutil.which(name))), None)


def _bsdtar(executable: str, archive: Path, kind: str) -> Generator[Unpacked, None, None]:
    # It turns the archive into a tar on its output; -P leaves names as they are, for our check.
    # A rar comes through a pipe: where bsdtar can look at the end of the file it takes a rar
    # whose last member is a zip for that zip. A 7z it can only read from its end.
    is_rar = kind == "rar"
    command = [executable, "-cPf", "-", "--format=pax", "@-" if is_rar else f"@{archive}"]
    with _running(command, archive if is_rar else None) as output:
        try:
            with tarfile.open(fileobj=output, mode="r|", encoding="utf-8") as tar:
                while (info := tar.next()) is not None:
                    tar.members.clear()  # type: ignore[attr-defined]  # untyped; it keeps 1 kB of each
                    if info.isreg():
                        yield Unpacked(info.name, info.size, tar.extractfile(info))
                    elif info.issym() or info.islnk():
                        yield Unpacked(info.name, kind=info.type, target=info.linkname)
                    elif not info.isdir():
                        yield Unpacked(info.name)
        except (tarfile.TarError, EOFError, OSError) as error:
            raise ToolFailed(f"{error}") from None


def _seven_zip(executable: str, archive: Path, kind: str) -> Generator[Unpacked, None, None]:
    # All contents come on its output without a boundary, in the order of the archive's list.
    listed = _zip_list(archive) if kind == "zip" else _seven_list(executable, archive)
    with _running([executable, "x", "-so", "-bd", "-p", "--", str(archive)]) as output:
        yield from _cut(output, listed)


BSDTAR = Tool(("bsdtar",), _bsdtar, "libarchive-tools", "libarchive", "libarchive")
SEVEN_ZIP = Tool(("7zz", "7z", "7za"), _seven_zip, "7zip", "p7zip", "sevenzip")

TOOLS = {
    "rar": (BSDTAR, SEVEN_ZIP),
    "7z": (BSDTAR, SEVEN_ZIP),
    "zip": (SEVEN_ZIP,),  # with deflate64
}  # kind of archive to the tools for it, in order of preference


def _zip_list(archive: Path) -> list[Entry]:
    """Return the entries of a zip by our own reading: all tools must give the same names."""
    listed: list[Entry] = []
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            check_encryption(archive, info)
            if not (name := member_name(info)[0]).endswith("/"):
                listed.append((name, info.file_size, info.CRC, is_link(info)))
    return listed


def _seven_list(executable: str, archive: Path) -> list[Entry]:
    command = [executable, "l", "-slt", "-ba", "-sccUTF-8", "-p", "--", str(archive)]
    with _running(command) as output:
        text = output.read().decode("utf-8", errors="surrogateescape")
    listed = []
    for block in text.replace("\r\n", "\n").split("\n\n"):
        entry = dict(line.partition(" = ")[::2] for line in block.split("\n"))
        if "Path" not in entry:
            continue
        if entry.get("Encrypted") == "+":
            raise ToolFailed(f"'{entry['Path']}' is encrypted")
        attributes = entry.get("Attributes", "")
        if entry.get("Folder") == "+" or attributes.startswith("D"):
            continue
        links = " l" in attributes or bool(entry.get("Symbolic Link"))
        crc = int(entry["CRC"], 16) if entry.get("CRC") else None
        listed.append((entry["Path"], int(entry.get("Size") or 0), crc, links))
    return listed


def _cut(output: IO[bytes], listed: list[Entry]) -> Generator[Unpacked, None, None]:
    """Cut a stream of contents at the listed sizes, and check each by its CRC.

    The content of a link is its target.
    """
    for name, size, crc, links in listed:
        content = _Content(output, size)
        if links:
            target = content.read(LINK_BYTES).decode(errors="surrogateescape")
            yield Unpacked(name, kind=tarfile.SYMTYPE, target=target)
        else:
            yield Unpacked(name, size, content)
        while content.read(BLOCK):
            pass
        if content.left or (crc is not None and content.crc != crc):
            raise ToolFailed(f"'{name}' came out incomplete or with a wrong CRC")
    if output.read(1):
        raise ToolFailed("more came out than was listed")


class _Content:
    """The next ``size`` bytes of a stream, with their CRC as far as they were read."""

    def __init__(self, source: IO[bytes], size: int) -> None:
        self._source = source
        self.left = size
        self.crc = 0

    def read(self, size: int, /) -> bytes:
        data = self._source.read(min(size, self.left))
        self.left -= len(data)
        self.crc = zlib.crc32(data, self.crc)
        return data


@contextmanager
def _running(command: list[str], piped: Path | None = None) -> Iterator[IO[bytes]]:
    """Run a command and give its output; raise `ToolFailed` if it fails.

    It gets the content of the file ``piped`` on its input, through a pipe.
    """
    environment = {**os.environ, "LC_ALL": LOCALE, "LANG": LOCALE}
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            env=environment,
        )
        assert process.stdout is not None
        if piped and process.stdin:
            Thread(target=_feed, args=(piped, process.stdin), daemon=True).start()
        failure: ToolFailed | None = None
        try:
            yield process.stdout
            process.stdout.read()
        except ToolFailed as error:  # what the tool itself says is of more use
            failure = error
        except BaseException:
            process.kill()
            raise
        finally:
            process.stdout.close()
            code = process.wait()
        if code or failure:
            complaints.seek(0)
            said = " ".join(complaints.read().decode(errors="replace").split())
            raise ToolFailed(said[-WORDS:] or f"{failure or f'exit code {code}'}")


def _feed(path: Path, pipe: IO[bytes]) -> None:
    """Write a file into a pipe until the other side has enough."""
    with suppress(BrokenPipeError), pipe, path.open("rb") as source:
        shutil.copyfileobj(source, pipe, BLOCK)
