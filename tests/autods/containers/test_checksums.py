"""A bit that flips in the content of a zip's member is found when it is read."""

import io
import os
import random
import zipfile
from pathlib import Path

import pytest
from container_tools import Pipe, opened

from autods.errors import ContainerError

CONTENT = {"a/1.jpg": os.urandom(3000), "b/2.jpg": b"text " * 900, "c/3.jpg": os.urandom(90_000)}


def zipped(streamed: bool, method: int, files: dict[str, bytes] = CONTENT) -> bytes:
    target = Pipe() if streamed else io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return bytes(target.data) if isinstance(target, Pipe) else target.getvalue()


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("inner", [False, True])
def test_no_flipped_bit_in_a_member_is_read(tmp_path, streamed, method, inner):
    data, nested = zipped(streamed, method), []
    if inner:  # read in place
        data, nested = zipped(False, zipfile.ZIP_STORED, {"in.zip": data}), ["in.zip"]
    root, manifest, container = opened(tmp_path, write(tmp_path / "x.zip", data), nested=nested)
    names = {member.name: CONTENT[member.name.split("!/")[-1]] for member in container.members()}
    assert len(names) == 3
    path, draw = root.archive(manifest.name, "x.zip"), random.Random(0)
    refused = 0
    for _ in range(60):
        changed = bytearray(data)
        changed[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        with path.open("r+b") as handle:  # the file stays the same: it is open
            handle.write(changed)
        for name, content in names.items():
            try:
                assert container.read(name) == content
                with container.open(name) as handle:
                    assert handle.read() == content
            except ContainerError as error:
                assert "CRC-32" in str(error) or "cannot be read" in str(error)
                refused += 1
    assert refused > 30


def test_a_member_without_a_checksum_is_read_as_it_is(tmp_path):
    container = opened(tmp_path, write(tmp_path / "x.zip", zipped(False, 0)))[2]
    reader, (member, *_) = container._reader, container.members()
    name, offset, size, _ = member.address
    assert reader.read("x.zip", name, offset, size) == CONTENT[name]
    with pytest.raises(ContainerError, match="expected CRC-32 00000001, as the archive states"):
        reader.read("x.zip", name, offset, size, 1)
