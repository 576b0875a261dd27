"""Archives of strangers: sizes that lie, headers that recurse, contents that explode."""

import gzip
import io
import lzma
import random
import resource
import struct
import tarfile
import time
import zipfile
from pathlib import Path

import container_tools
import pytest

from autods.containers import sizes
from autods.errors import AutodsError, ContainerError, DamagedMember

PNG = b"\x89PNG\r\n\x1a\n" + bytes(50)
LEAST = 300 << 20  # bytes of address space beyond what is used now


def opened(tmp_path: Path, path: Path):
    return container_tools.opened(tmp_path, path)[2]


@pytest.fixture
def little_memory():
    """Let what asks for memory beyond any reason fail at once."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + LEAST, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def zipped(method: int, size: int = 5800) -> bytearray:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        archive.writestr("a/b.png", bytes(size))
        archive.writestr("a/c.png", PNG)
    return bytearray(content.getvalue())


def header(name: str, size: int, kind: bytes = b"0", field: bytes | None = None) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    if field is not None:
        block[124:136] = field
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block[:512])
    return bytes(block)


def number(value: int) -> bytes:
    return b"\x80" + value.to_bytes(11, "big")


def pax(body: bytes, kind: bytes = b"x") -> bytes:
    return header("p", len(body), kind) + body + bytes(-len(body) % 512)


ENTRY = header("a/b.png", 3) + b"abc" + bytes(509)
END = bytes(1024)
RECORD = b"10 path=a\n" + bytes(502)
TARS = {
    **{f"{kind!r} of {size:,} bytes": header("x", 1, kind, number(size)) + bytes(512)
       for kind in (b"x", b"g", b"L", b"K", b"X") for size in (1 << 31, 1 << 45, (1 << 88) - 1)},
    **{f"negative {kind!r}": header("x", 1, kind, b"\xff" * 10 + low) + bytes(512)
       for kind in (b"0", b"x", b"L", b"5", b"Z") for low in (b"\xff\xff", b"\xfc\x00")},
    **{f"{count} of {kind!r}": pax(b"10 path=a\n", kind) * count + ENTRY
       for kind in (b"x", b"g") for count in (21, 3000)},
    "3000 long names": (header("@", 2, b"L") + b"a\0" + bytes(510)) * 3000 + ENTRY,
    **{f"records {body[:20]!r}": pax(body) + ENTRY for body in (
        b"1" * 50_000 + b" " * 50_000, b"1" * 200_000, b"9 " * 90_000, b"13 a=\n" * 9_000,
        b"99999999999 path=x\n", b"-5 path=a\n", b"10 path_a\n", b"11 path=a\n")},
    **{f"size {text!r}": pax(b"%d size=%s\n" % (len(text) + 9, text)) + ENTRY
       for text in (b"9" * 20, b"-1024", b"abc", b"1e9")},
}  # fmt: skip


@pytest.mark.parametrize("content", TARS.values(), ids=TARS)
def test_a_tar_whose_headers_lie_is_damaged_at_once(tmp_path, little_memory, content):
    path = tmp_path / "x.tar"
    path.write_bytes(content + END)
    began = time.monotonic()
    with pytest.raises(ContainerError, match="damaged"):
        opened(tmp_path, path).members()
    assert time.monotonic() - began < 5


def test_as_many_headers_as_tar_writes_are_read(tmp_path):
    path = tmp_path / "x.tar"
    path.write_bytes(pax(b"18 comment=abcdef\n", b"g") + pax(b"16 path=c/d.png\n") + ENTRY + END)
    assert [member.name for member in opened(tmp_path, path).members()] == ["c/d.png"]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("claimed", [0xFFFFFFF0, 0x7FFFFFFF, 5_000_000, 5801])
def test_a_member_that_claims_more_than_it_has_is_refused(tmp_path, little_memory, method, claimed):
    data = zipped(method)
    struct.pack_into("<I", data, data.find(b"PK\x01\x02") + 24, claimed)
    path = tmp_path / "x.zip"
    path.write_bytes(data)
    with pytest.raises(ContainerError):
        opened(tmp_path, path).read("a/b.png")


def test_a_member_that_would_fill_memory_is_refused_and_the_others_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("autods.containers.reader.WHOLE", 1 << 20)
    path = tmp_path / "x.zip"
    path.write_bytes(zipped(zipfile.ZIP_DEFLATED, 5 << 20))
    container = opened(tmp_path, path)
    with pytest.raises(DamagedMember, match=r"claims 5,242,880 bytes, more than the 1,048,576"):
        container.read("a/b.png")
    assert container.read("a/c.png") == PNG


def test_members_that_lie_in_each_other_are_refused(tmp_path):
    data = zipped(zipfile.ZIP_STORED)
    first = data.find(b"PK\x01\x02")
    second = data.find(b"PK\x01\x02", first + 4)
    data[second + 16 : second + 28] = data[first + 16 : first + 28]  # CRC and sizes
    struct.pack_into("<I", data, second + 42, 0)
    path = tmp_path / "x.zip"
    path.write_bytes(data)
    with pytest.raises(ContainerError, match="overlap"):
        opened(tmp_path, path)


@pytest.mark.parametrize(("name", "pack"), [
    ("x.csv.gz", gzip.compress), ("x.csv.xz", lzma.compress), ("x.tar.gz", gzip.compress),
])  # fmt: skip
def test_what_unpacks_to_more_than_its_size_explains_fills_no_disk(
    tmp_path, monkeypatch, name, pack
):
    monkeypatch.setattr(sizes, "UNPACKED", 1 << 20)
    path = tmp_path / name
    path.write_bytes(pack(bytes(16 << 20)))
    with pytest.raises(ContainerError, match="bytes come out of it"):
        opened(tmp_path, path)
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and p.stat().st_size > 4 << 20]


@pytest.mark.parametrize("seed", range(150))
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_random_damage_to_an_archive_is_an_error_of_ours(tmp_path, little_memory, kind, seed):
    generator = random.Random(seed)
    content = io.BytesIO()
    if kind == "zip":
        content.write(zipped(zipfile.ZIP_DEFLATED))
    else:
        with tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as archive:
            info = tarfile.TarInfo("a/\u00e9" * 60 + ".png")
            info.size = len(PNG)
            archive.addfile(info, io.BytesIO(PNG))
    data = bytearray(content.getvalue())
    for _ in range(generator.randrange(1, 6)):
        place = generator.randrange(len(data) if kind == "zip" else 2048)
        data[place : place + 1] = generator.choice([b"\xff", b"\x80", b"\0", b"9", b" "])
    path = tmp_path / f"x.{kind}"
    path.write_bytes(data)
    try:
        container = opened(tmp_path, path)
    except AutodsError:
        return
    for member in container.members():
        try:
            container.read(member.name)
        except AutodsError:
            continue
