"""Containers of every kind with the same members."""

import importlib
import io
import zipfile
from pathlib import Path

from archives import folders_layout, make_folder, make_tar, make_zip, manifest_of, open_file, placed
from rar import make_rar
from system_tools import make_7z, make_deflate64, tool

from autods.core.root import DataRoot

FILES = {
    "b/two.jpg": b"second" * 50,
    "a/one.jpg": b"first",
    "a/empty.jpg": b"",
    "notes.txt": b"text",
    "__MACOSX/a/one.jpg": b"litter",
    "a/.DS_Store": b"litter",
}
KEPT = ["a/empty.jpg", "a/one.jpg", "b/two.jpg", "notes.txt"]


def build(folder: Path, kind: str, files: dict[str, bytes] = FILES) -> Path:
    path = folder / kind
    if kind == "folder":
        return make_folder(path, files)
    special = {"rar": make_rar, "7z": make_7z, "deflate64.zip": make_deflate64}
    if make := special.get(kind.removeprefix("x.").removeprefix("in.")):
        tool("bsdtar", "7zz", "7z", "7za")  # to read it, too
        return make(path, files)
    if kind.startswith("x.csv"):
        opener = importlib.import_module({".gz": "gzip", ".bz2": "bz2", ".xz": "lzma"}[path.suffix])
        path.write_bytes(opener.compress(files["b/two.jpg"]))
        return path
    if kind.endswith(".zip"):
        method = zipfile.ZIP_DEFLATED if kind == "deflated.zip" else zipfile.ZIP_STORED
        return make_zip(path, files, method)
    suffix = {"tgz": "gz", "tar": ""}.get(kind.rsplit(".", 1)[-1], kind.rsplit(".", 1)[-1])
    return make_tar(path, files, f"w:{suffix}")


def setting(tmp_path: Path, source: Path, name: str | None = None):
    root = DataRoot(tmp_path / "root")
    file = name or source.name
    manifest = manifest_of({file: source}, folders_layout(file))
    return root, placed(root, manifest, {file: source}), file


def opened(tmp_path: Path, source: Path, **options):
    root, manifest, file = setting(tmp_path, source)
    return root, manifest, open_file(root, manifest, file, **options)


def inner_bytes(tmp_path: Path, kind: str, files: dict[str, bytes] = FILES) -> bytes:
    return build(tmp_path / "inner", kind, files).read_bytes()


class Pipe(io.RawIOBase):
    """What zips are streamed to: sizes and checksums come after the data."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        self.data += data
        return len(data)
