"""What the first bytes of a file tell: its kind, or that it is a web page instead.

Checksums decide what a file is. The first bytes only spare a download, and name what
came: hosts answer with pages about quotas, logins and errors where a file should be.
"""

from __future__ import annotations

import html
import re

ENOUGH = 512  # bytes that show every kind: a tar is known at byte 257

# Kind to the places and bytes that show it. The order matters: MATLAB 7.3 files are HDF5 too.
SIGNATURES: dict[str, list[tuple[int, bytes]]] = {
    "zip archive": [(0, b"PK\x03\x04"), (0, b"PK\x05\x06"), (0, b"PK\x07\x08")],
    "gzip file": [(0, b"\x1f\x8b")],
    "bzip2 file": [(0, b"BZh")],
    "xz file": [(0, b"\xfd7zXZ\x00")],
    "zstd file": [(0, b"\x28\xb5\x2f\xfd")],
    "rar archive": [(0, b"Rar!\x1a\x07")],
    "7z archive": [(0, b"7z\xbc\xaf\x27\x1c")],
    "MATLAB file": [(0, b"MATLAB 5.0 MAT-file"), (0, b"MATLAB 7.3 MAT-file")],
    "HDF5 file": [(0, b"\x89HDF\r\n\x1a\n")],
    "NumPy file": [(0, b"\x93NUMPY")],
    "tar archive": [(257, b"ustar")],
}

# Suffix to the kind that the first bytes should show.
SUFFIXES = {
    ".zip": "zip archive",
    ".npz": "zip archive",
    ".gz": "gzip file",
    ".tgz": "gzip file",
    ".bz2": "bzip2 file",
    ".tbz2": "bzip2 file",
    ".xz": "xz file",
    ".txz": "xz file",
    ".zst": "zstd file",
    ".rar": "rar archive",
    ".7z": "7z archive",
    ".mat": "MATLAB file",
    ".h5": "HDF5 file",
    ".hdf5": "HDF5 file",
    ".npy": "NumPy file",
    ".tar": "tar archive",
}

PAGES = (".html", ".htm", ".xhtml", ".xml", ".svg")  # files that may well begin like a page
LFS_POINTER = b"version https://git-lfs.github.com/spec/"


def kind_of(head: bytes) -> str | None:
    """Return the kind that the first bytes of a file show, ``None`` if no known one."""
    for kind, places in SIGNATURES.items():
        if any(head[at : at + len(sign)] == sign for at, sign in places):
            return kind
    return None


def expected_kind(name: str) -> str | None:
    """Return the kind that a file of this name should be, ``None`` if the name does not tell."""
    return next((kind for end, kind in SUFFIXES.items() if name.lower().endswith(end)), None)


def refusal(head: bytes, name: str) -> str | None:
    """Return what a content is that cannot be the file ``name``; ``None`` if it may be that file.

    ``head`` holds its first `ENOUGH` bytes; more of them tell more about a page. An archive of
    another kind than the name says is not refused: names are wrong more often than checksums.
    """
    begin = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if _is_markup(begin) and not name.lower().endswith(PAGES):
        return _page(begin)
    if begin.startswith(LFS_POINTER):
        return "a pointer of Git LFS instead of the file"
    wanted = expected_kind(name)
    if wanted is None or not _is_text(head):
        return None
    form = "a JSON answer" if begin[:1] in (b"{", b"[") else "a text"
    return f"{form}, not a {wanted}: '{_plain(begin)}'"


def told_apart(head: bytes, name: str) -> str:
    """Return what a wrong file shows about itself, ``""`` if nothing: for messages."""
    if words := refusal(head, name):
        return f"it is {words}"
    got, wanted = kind_of(head), expected_kind(name)
    if wanted is None or got == wanted:
        return ""
    return f"it does not begin like a {wanted}" + (f" but like a {got}" if got else "")


def title_of(page: bytes) -> str:
    """Return the title of a web page, ``""`` if it has none."""
    found = re.search(rb"<title[^>]*>(.*?)</title", page, re.IGNORECASE | re.DOTALL)
    return _plain(found[1]) if found else ""


def _is_markup(begin: bytes) -> bool:
    lower = begin[:64].lower()
    return lower.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<?xml", b"<!--"))


def _page(begin: bytes) -> str:
    if title := title_of(begin):
        return f"a web page titled '{title}'"
    kind = "an XML answer" if begin.startswith(b"<?xml") else "a web page"
    words = _plain(begin)
    return f"{kind} that says '{words}'" if words else kind


def _is_text(head: bytes) -> bool:
    """Tell whether all bytes are printable UTF-8; the last character may be cut off."""
    if not head.strip():
        return False
    text = head.decode("utf-8", errors="replace")
    return all(c.isprintable() or c in "\t\r\n" for c in text[:-1]) and "\ufffd" not in text[:-1]


def _plain(markup: bytes, length: int = 80) -> str:
    """Return the first words of a page without tags, on one line, safe for a terminal."""
    tags = r"(?is)<(script|style)\b.*?(</\1>|$)|<[^>]*(>|$)"
    text = re.sub(tags, " ", markup.decode("utf-8", errors="replace"))
    words = " ".join("".join(c if c.isprintable() else " " for c in html.unescape(text)).split())
    return words if len(words) <= length else words[: length - 1] + "\u2026"
