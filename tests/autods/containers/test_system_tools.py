"""rar, 7z and deflate64: the system tools, what they are given and what they may not do."""

import shutil
import struct
import subprocess
import time
import zipfile
import zlib
from pathlib import Path

import pytest
import rar
from container_tools import opened
from rar import make_rar
from system_tools import make_7z, make_deflate64, only, tool

from autods.containers.rars import check_rar
from autods.containers.system_tools import TOOLS, ToolFailed
from autods.errors import ContainerError, ToolMissing, UnsafePath

FILES = {
    "b/two words.jpg": bytes(range(256)) * 500,
    "a/one.jpg": b"first",
    "a/empty.jpg": b"",
    "a/\u043a\u043e\u0442 %20?.jpg": b"cat",
    f"{'long' * 30}/{'name' * 30}.jpg": b"long",
}
MAKERS = {"rar": make_rar, "7z": make_7z, "zip": make_deflate64}
CASES = [
    (kind, name)
    for kind, tools in TOOLS.items()
    for each in tools
    for name in each.executables
    if name not in ("7z", "7za")  # other names of 7zz
]


def reads_rar(executable: str) -> bool:
    """Debian's 7-Zip is built without RAR."""
    formats = subprocess.run([executable, "i"], capture_output=True, text=True, check=True).stdout
    return "Rar5" in formats


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_every_tool_makes_the_same_copy(tmp_path, monkeypatch, kind, name):
    source = MAKERS[kind](tmp_path / f"x.{kind}", FILES)
    _, _, container = opened(tmp_path / "any", source)
    assert {m.name: container.read(m.name) for m in container.members()} == FILES
    if (kind, name) == ("rar", "7zz") and not reads_rar(tool("7zz")):
        return
    monkeypatch.setenv("PATH", only(tmp_path / "bin", name))
    opened(tmp_path / "one", source)
    copies = [tmp_path / which / f"root/datasets/things/converted/x.{kind}.tar"
              for which in ("any", "one")]  # fmt: skip
    assert copies[0].read_bytes() == copies[1].read_bytes()
    assert sorted(p.name for p in copies[1].parent.iterdir()) == [
        f"x.{kind}.tar", f"x.{kind}.tar.source",
    ]  # fmt: skip


@pytest.mark.parametrize(("kind", "packages"), [
    ("rar", "apt-get install libarchive-tools.*conda-forge libarchive.*brew install libarchive"),
    ("7z", "apt-get install libarchive-tools.*conda-forge libarchive.*brew install libarchive"),
    ("zip", "apt-get install 7zip.*conda-forge p7zip.*brew install sevenzip"),
])  # fmt: skip
def test_without_a_tool_the_message_names_tools_and_packages(tmp_path, monkeypatch, kind, packages):
    source = MAKERS[kind](tmp_path / f"x.{kind}", FILES)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match=packages) as caught:
        opened(tmp_path, source)
    assert f"x.{kind}" in str(caught.value)
    for each in TOOLS[kind]:
        assert all(name in str(caught.value) for name in each.executables)


def test_a_tool_that_fails_is_followed_by_the_next(tmp_path, monkeypatch):
    source = make_7z(tmp_path / "x.7z", FILES)
    folder = Path(only(tmp_path / "bin", "7zz"))
    broken = folder / "bsdtar"
    broken.write_text("#!/bin/sh\necho cannot read this >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    _, _, container = opened(tmp_path, source)
    assert container.read("a/one.jpg") == b"first"
    (folder / "7zz").unlink()
    with pytest.raises(ContainerError, match=r"bsdtar: cannot read this.*install 7zz"):
        opened(tmp_path / "again", source)


@pytest.mark.parametrize("name", ["../evil.jpg", "/etc/evil.jpg", "a/../../evil.jpg"])
def test_an_unsafe_name_in_a_rar_writes_nothing(tmp_path, name):
    tool("bsdtar")
    source = make_rar(tmp_path / "x.rar", {"a.jpg": b"good", name: b"x"})
    with pytest.raises(UnsafePath, match="Do not trust") as caught:
        opened(tmp_path, source)
    assert "x.rar" in str(caught.value)
    assert list(tmp_path.rglob("evil.jpg")) == []
    assert list((tmp_path / "root").rglob("*.tar*")) == []


def test_an_unsafe_name_in_a_7z_writes_nothing(tmp_path):
    source = make_7z(tmp_path / "x.7z", {"xx/evil.jpg": b"x", "a.jpg": b"y"}, "-mhc=off")
    data = source.read_bytes()
    name = "xx/evil.jpg".encode("utf-16-le")
    assert data.count(name) == 1
    source.write_bytes(with_crc(data.replace(name, "../evil.jpg".encode("utf-16-le"))))
    with pytest.raises(UnsafePath, match=r"x\.7z: member '\.\./evil\.jpg'"):
        opened(tmp_path, source)
    assert list(tmp_path.rglob("evil.jpg")) == []


def with_crc(data: bytes) -> bytes:
    """A 7z whose header was changed, with right checksums (7zFormat.txt)."""
    offset, size = struct.unpack("<QQ", data[12:28])
    start = data[12:28] + struct.pack("<I", zlib.crc32(data[32 + offset : 32 + offset + size]))
    return data[:8] + struct.pack("<I", zlib.crc32(start)) + start + data[32:]


def test_a_rar_of_which_the_end_is_missing_is_not_taken_for_a_shorter_one(tmp_path):
    source = make_rar(tmp_path / "x.rar", FILES)
    whole = source.read_bytes()
    at = whole.index(b"a/empty.jpg") + len("a/empty.jpg")  # its content is empty
    for cut in (8, at, len(whole) - 8):
        source.write_bytes(whole[:cut])
        with pytest.raises(ContainerError, match=r"no end of archive"):
            opened(tmp_path / str(cut), source)


def test_a_rar_with_a_damaged_member_leaves_nothing_behind(tmp_path):
    source = make_rar(tmp_path / "x.rar", FILES)
    data = bytearray(source.read_bytes())
    data[1000] ^= 1
    source.write_bytes(data)
    with pytest.raises(ContainerError, match="no tool can unpack it"):
        opened(tmp_path, source)
    assert [
        p for p in (tmp_path / "root").rglob("*") if "converted" in p.parts and p.is_file()
    ] == []


@pytest.mark.parametrize(("kind", "maker"), [("7z", make_7z), ("zip", make_deflate64)])
def test_an_encrypted_archive_is_refused_without_asking_for_a_password(tmp_path, kind, maker):
    files = {"a.jpg": bytes(3000)}
    source = make_7z(
        tmp_path / f"x.{kind}",
        files,
        "-psecret",
        *(["-tzip", "-mm=Deflate64"] if kind == "zip" else []),
    )
    with pytest.raises(ContainerError, match=r"encrypted|no tool can unpack it"):
        opened(tmp_path, source)


def test_a_zip_with_deflate64_beside_other_methods_is_read_whole(tmp_path):
    source = make_deflate64(tmp_path / "x.zip", {"a/big.jpg": bytes(100_000)})
    with zipfile.ZipFile(source, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/deflated.jpg", b"d" * 500)
        archive.writestr(zipfile.ZipInfo("a/stored.jpg"), b"s" * 500)
    _, _, container = opened(tmp_path, source)
    assert {m.name: container.read(m.name) for m in container.members()} == {
        "a/big.jpg": bytes(100_000), "a/deflated.jpg": b"d" * 500, "a/stored.jpg": b"s" * 500,
    }  # fmt: skip


def test_a_tool_that_gives_other_bytes_than_it_lists_is_not_trusted(tmp_path):
    folder = tmp_path / "bin"
    folder.mkdir()
    liar = folder / "7zz"
    liar.write_text(f"#!/bin/sh\n{shutil.which('head')} -c 5 /dev/zero\n")
    liar.chmod(0o755)
    (seven_zip,) = TOOLS["zip"]
    source = make_deflate64(tmp_path / "x.zip", {"a.jpg": b"first"})
    with pytest.raises(ToolFailed, match="wrong CRC"):
        for _, _, stream, _, _ in seven_zip.unpack(str(liar), source, "zip"):
            assert stream.read(10) == bytes(5)


ENDLESS = {
    "a header of many bytes": b"\0" * 4 + b"\xff" * 3_000_000,
    "a header larger than the file": b"\0" * 4 + b"\xff" * 9 + b"\x01",
    "a member larger than the file": rar._header(2, 2, rar._number(1 << 69)),
    "a name larger than its header": rar._header(2, 0, bytes(6) + rar._number(1 << 69)),
}


@pytest.mark.parametrize("rest", ENDLESS.values(), ids=ENDLESS)
def test_numbers_of_a_rar_without_end_are_damage_at_once(tmp_path, rest):
    path = tmp_path / "x.rar"
    path.write_bytes(rar.SIGNATURE + rest)
    began = time.monotonic()
    with pytest.raises(ContainerError, match="damaged or incomplete"):
        check_rar(path, path)
    assert time.monotonic() - began < 1
