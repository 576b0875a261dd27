"""Which kind of container a file name stands for."""

from __future__ import annotations

COMPRESSED_TARS = {
    ".tar.gz": "gzip",
    ".tgz": "gzip",
    ".tar.bz2": "bz2",
    ".tbz2": "bz2",
    ".tar.xz": "lzma",
    ".txz": "lzma",
}  # suffix to the standard library's module that opens it
UNREADABLE = (".rar", ".7z", ".gz", ".bz2", ".xz", ".zst")


def compression(file: str) -> str | None:
    """Return the module that decompresses a compressed tar, ``None`` for other files."""
    lowered = file.lower()
    return next((m for suffix, m in COMPRESSED_TARS.items() if lowered.endswith(suffix)), None)


def is_compressed_tar(file: str) -> bool:
    """Tell whether a file is read through its once-made uncompressed copy."""
    return compression(file) is not None
