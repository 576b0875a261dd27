"""Names in archives that are not marked as UTF-8: what they are, and that a guess is told."""

import re
import struct
import tarfile
import zlib
from pathlib import Path

import pytest
from archives import folders_layout, manifest_of, placed
from container_tools import opened
from system_tools import make_deflate64, tool

from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.index.samples import index_dataset, load_samples
from autods.layouts.accounting import not_used

UTF8 = 0x800  # flag of a name in UTF-8
CLASSES = ("Äpfel", "Œufs", "犬", "кошка", "naïve", "🐱", "plain")


def zipped(path: Path, names: list[bytes], flags: int = 0, extra: bytes = b"", system: int = 3):
    """Write a zip of such raw names, with the flags and extra fields of each."""
    body, directory = b"", b""
    for raw in names:
        crc = zlib.crc32(raw)
        common = struct.pack(
            "<HHHHHIIIHH", 20, flags, 0, 0, 0, crc, len(raw), len(raw), len(raw), len(extra)
        )
        tail = struct.pack("<HHHII", 0, 0, 0, 0, len(body))
        directory += b"PK\1\2" + bytes((20, system)) + common + tail + raw + extra
        body += b"PK\3\4" + common + raw + extra + raw  # the content is the name
    count = len(names)
    end = struct.pack("<HHHHIIH", 0, 0, count, count, len(directory), len(body), 0)
    path.write_bytes(body + directory + b"PK\5\6" + end)
    return path


def tarred(path: Path, names: list[bytes]) -> Path:
    """Write a tar of such raw names, in the old format that says no encoding."""
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for raw in names:
            archive.addfile(tarfile.TarInfo(raw.decode(errors="surrogateescape")))
    return path


@pytest.mark.parametrize("flags", [0, UTF8])
@pytest.mark.parametrize("system", [0, 3, 19])
@pytest.mark.parametrize("folder", CLASSES)
def test_a_name_in_utf_8_is_read_as_such_whether_the_zip_says_so_or_not(
    tmp_path, folder, system, flags
):
    name = f"{folder}/1.jpg"
    container = opened(tmp_path, zipped(tmp_path / "x.zip", [name.encode()], flags, b"", system))[2]
    assert [member.name for member in container.members()] == [name]
    assert container.read(name).decode() == name
    assert container.guessed == {}


@pytest.mark.parametrize(("encoding", "text"), [
    ("cp437", "Äpfel"), ("latin-1", "Äpfel"), ("cp1251", "кошка"), ("shift-jis", "犬"),
    ("gbk", "狗"), ("cp850", "Ørsted"), ("koi8-r", "собака"),
])  # fmt: skip
def test_a_name_in_another_encoding_is_guessed_and_told(tmp_path, encoding, text):
    raw = f"{text}/1.jpg".encode(encoding)
    names = [raw, b"plain/1.jpg"]
    for path, guess in (
        (zipped(tmp_path / "x.zip", names), "cp437"),
        (tarred(tmp_path / "x.tar", names), "latin-1"),
    ):
        container = opened(tmp_path / path.suffix, path)[2]
        (name,) = container.guessed[guess]
        assert name == raw.decode(guess)
        assert sorted(m.name for m in container.members()) == sorted([name, "plain/1.jpg"])


@pytest.mark.parametrize("folder", CLASSES[:6])
def test_the_name_in_utf_8_that_an_extra_field_adds_is_taken_if_it_is_of_this_name(
    tmp_path, folder
):
    raw, name = b"A_PF_1/1.jpg", f"{folder}/1.jpg".encode()
    for of, expected in ((raw, name.decode()), (b"other", raw.decode())):
        field = b"\1" + struct.pack("<I", zlib.crc32(of)) + name
        extra = struct.pack("<HH", 0x5455, 1) + b"\0" + struct.pack("<HH", 0x7075, len(field))
        path = zipped(tmp_path / f"{len(of)}.zip", [raw], 0, extra + field)
        container = opened(tmp_path / f"{len(of)}", path)[2]
        assert [member.name for member in container.members()] == [expected]


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_index_tells_and_records_which_names_were_guessed(tmp_path, kind):
    names = [f"{'Ä' * k}pfel/{k}.jpg".encode("latin-1") for k in range(6)]
    make, guess = {"zip": (zipped, "cp437"), "tar": (tarred, "latin-1")}[kind]
    source = make(tmp_path / f"x.{kind}", names)
    root = DataRoot(tmp_path / "root")
    manifest = manifest_of({source.name: source}, folders_layout(source.name))
    manifest = placed(root, manifest, {source.name: source})
    summary = index_dataset(manifest, root, Silent())
    assert summary.members[source.name]["names guessed"][guess][0] == 5
    (line,) = not_used("things", summary.members)
    first = names[1].decode(guess)
    assert f"5 names are not UTF-8 and were read as {guess}" in line
    assert first in load_samples(root, "things").table["member"].to_pylist()


def test_names_of_a_zip_that_has_to_be_converted_are_the_same(tmp_path):
    tool("7zz", "7z", "7za")
    source = make_deflate64(tmp_path / "x.zip", {"Äpfel/1.jpg": b"x" * 100})
    source.write_bytes(_without_flags(source.read_bytes()).replace("Äpfel".encode(), b"\x8epfel_"))
    notes: list[str] = []

    class Told(Silent):
        def note(self, text: str) -> None:
            notes.append(text)

    container = opened(tmp_path / "root", source, progress=Told())[2]
    assert [member.name for member in container.members()] == ["Äpfel_/1.jpg"]
    assert "names are not UTF-8 and were read as cp437, for example 'Äpfel_/" in notes[0]


def _without_flags(data: bytes) -> bytes:
    """Take the flags out of all headers of a zip."""
    changed = bytearray(data)
    for mark, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        for found in re.finditer(re.escape(mark), data):
            changed[found.start() + at : found.start() + at + 2] = b"\0\0"
    return bytes(changed)
