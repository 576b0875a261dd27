"""The kind of a container: by its content, and by its name where the content does not tell."""

from __future__ import annotations

import io
import itertools
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

from autods.containers.compressed import ERRORS, MAGIC, unpacked
from autods.containers.tars import is_tar

ENOUGH = 512  # bytes that show every kind: a tar is known at byte 257
PEEK = 1 << 20  # bytes of a compressed file that show what is inside: bzip2 has large blocks

# Kind of file, the suffixes of its names, and the bytes that it begins with (a tar: byte 257).
# The order matters: MATLAB 7.3 files are HDF5 too.
SIGNATURES = (
    ("zip archive", (".zip", ".npz"), (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")),
    ("gzip file", (".gz", ".tgz"), MAGIC["gzip"]),
    ("bzip2 file", (".bz2", ".tbz2"), MAGIC["bz2"]),
    ("xz file", (".xz", ".txz"), MAGIC["lzma"]),
    ("zstd file", (".zst",), (b"\x28\xb5\x2f\xfd",)),
    ("rar archive", (".rar",), (b"Rar!\x1a\x07",)),
    ("7z archive", (".7z",), (b"7z\xbc\xaf\x27\x1c",)),
    ("lzip file", (".lz",), (b"LZIP\x01",)),
    ("compress file", (".z",), (b"\x1f\x9d",)),
    ("MATLAB file", (".mat",), (b"MATLAB 5.0 MAT-file", b"MATLAB 7.3 MAT-file")),
    ("HDF5 file", (".h5", ".hdf5"), (b"\x89HDF\r\n\x1a\n",)),
    ("NumPy file", (".npy",), (b"\x93NUMPY",)),
    ("Parquet file", (".parquet",), (b"PAR1",)),
    ("tar archive", (".tar",), (b"ustar",)),
)

MODULES = {".gz": "gzip", ".bz2": "bz2", ".xz": "lzma"}  # suffix to the module that opens it
SHORT = {".tgz": ".gz", ".tbz2": ".bz2", ".tbz": ".bz2", ".txz": ".xz"}
SYSTEM = {".rar": "rar", ".7z": "7z"}  # archives that need a system tool
UNREADABLE = (".zst", ".lzma", ".z", ".lz")  # compressed files that would pass for plain ones
OF_SIGNATURE = {"gzip file": "gzip", "bzip2 file": "bz2", "xz file": "lzma"}
# Files that are zips inside but are read, if at all, as one file.
ZIPPED = (
    ".npz",
    ".xlsx",
    ".docx",
    ".pptx",
    ".ods",
    ".odt",
    ".jar",
    ".apk",
    ".pt",
    ".pth",
    ".keras",
)


@dataclass(frozen=True)
class Kind:
    """What is inside a file."""

    archive: str = ""  # zip, tar, rar, 7z; or "", a single file
    module: str = ""  # that decompresses the whole: gzip, bz2, lzma; or ""
    unreadable: str = ""  # the name of a kind that cannot be read

    @property
    def is_single(self) -> bool:
        """Whether the file is one compressed file, not an archive."""
        return bool(self.module) and not self.archive

    @property
    def is_converted(self) -> bool:
        """Whether members are read from an uncompressed copy.

        So are those of zips with deflate64 data and of tars with sparse members, which the
        kind does not show.
        """
        return bool(self.module) or self.archive in SYSTEM.values()


def signature_of(head: bytes) -> str | None:
    """Return the kind that the first bytes of a file show, ``None`` if no known one."""
    for kind, _, signs in SIGNATURES:
        if head.startswith(signs, 257 if kind == "tar archive" else 0):
            return kind
    return "tar archive" if is_tar(head) else None


def kind_by_name(name: str) -> Kind:
    """Return the kind of a file by its name, in any case; the default is a plain file."""
    lowered = name.lower()
    for short, suffix in SHORT.items():
        if lowered.endswith(short):
            return Kind("tar", MODULES[suffix])
    for suffix, module in MODULES.items():
        if lowered.endswith(suffix):
            return Kind("tar" if lowered.endswith(".tar" + suffix) else "", module)
    for suffix, archive in {".zip": "zip", ".tar": "tar", **SYSTEM}.items():
        if lowered.endswith(suffix):
            return Kind(archive)
    if lowered.endswith(UNREADABLE):
        return Kind(unreadable=lowered[lowered.rindex(".") :])
    return Kind()


def kind_of(head: bytes, name: str) -> Kind:
    """Return the kind of a file that begins with ``head``, of up to `PEEK` bytes.

    The content decides; the ``name`` does where the content tells nothing, and for files that
    are zips inside but are no archives to anyone.
    """
    named, found = kind_by_name(name), signature_of(head)
    if found in OF_SIGNATURE:
        module = OF_SIGNATURE[found]
        inside = b""
        with suppress(*ERRORS):
            for block in itertools.islice(unpacked(io.BytesIO(head), module), 1):
                inside = block
        unclear = len(inside) < ENOUGH or not inside[:ENOUGH].strip(b"\0")
        is_archive = named.archive == "tar" if unclear else is_tar(inside[:ENOUGH])
        return Kind("tar" if is_archive else "", module)
    if found in ("zstd file", "lzip file", "compress file"):
        return Kind(unreadable=found)
    if found == "zip archive":
        return Kind() if name.lower().endswith(ZIPPED) else Kind("zip")
    if found in ("tar archive", "rar archive", "7z archive"):
        return Kind(found.split()[0])
    if found is None and not (named.is_single and _is_text(head)):
        return named
    return Kind()  # another known kind, or a compressed text that came unpacked


def _is_text(head: bytes) -> bool:
    return bool(head) and b"\0" not in head and "\ufffd" not in head[:-4].decode(errors="replace")


def kind_of_file(handle: BinaryIO, name: str) -> Kind:
    """Return the kind of an open file at its start, see `kind_of`."""
    head = handle.read(ENOUGH)
    if signature_of(head) in OF_SIGNATURE:
        head += handle.read(PEEK)
    return kind_of(head, name)


def unpacked_name(name: str) -> str:
    """Return the name of a compressed file without its suffix, if it has one."""
    is_compressed = name.lower().endswith(tuple(MODULES))
    return name[: name.rindex(".")] if is_compressed else name
