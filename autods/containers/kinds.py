"""The kind of container, by file name."""

from __future__ import annotations

from dataclasses import dataclass

MODULES = {".gz": "gzip", ".bz2": "bz2", ".xz": "lzma"}  # suffix to the module that opens it
SHORT = {".tgz": ".gz", ".tbz2": ".bz2", ".tbz": ".bz2", ".txz": ".xz"}
SYSTEM = {".rar": "rar", ".7z": "7z"}  # archives that need a system tool


@dataclass(frozen=True)
class Kind:
    """What is inside a file."""

    archive: str = ""  # zip, tar, rar, 7z; or "", a single file
    module: str = ""  # that decompresses the whole: gzip, bz2, lzma; or ""

    @property
    def is_single(self) -> bool:
        """Whether the file is one compressed file, not an archive."""
        return bool(self.module) and not self.archive

    @property
    def is_converted(self) -> bool:
        """Whether members are read from an uncompressed copy.

        So are those of zips with deflate64 data, which the name does not show.
        """
        return bool(self.module) or self.archive in SYSTEM.values()


def kind_of(name: str) -> Kind:
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
    return Kind()


def unpacked_name(name: str) -> str:
    """Return the name of a compressed file without its suffix."""
    return name[: name.rindex(".")]
