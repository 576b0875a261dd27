"""What the first bytes of a file tell: its kind, or that it is a web page instead.

Checksums decide what a file is; the first bytes only spare a download, and name what came.
"""

from __future__ import annotations

import html
import re

from autods.containers.kinds import ENOUGH, SIGNATURES
from autods.containers.kinds import signature_of as kind_of

__all__ = ["ENOUGH", "expected_kind", "kind_of", "refusal", "title_of", "told_apart"]

PAGES = (".html", ".htm", ".xhtml", ".xml", ".svg")  # files that may well begin like a page
LFS_POINTER = b"version https://git-lfs.github.com/spec/"


def expected_kind(name: str) -> str | None:
    """Return the kind that a file of this name should be, ``None`` if the name does not tell."""
    return next((kind for kind, ends, _ in SIGNATURES if name.lower().endswith(ends)), None)


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
    lower = page.lower()
    start = lower.find(b"<title")
    begin = lower.find(b">", start) + 1 if start >= 0 else 0
    end = lower.find(b"</title", begin)
    return _plain(page[begin:end]) if begin and end >= 0 else ""


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
    text = html.unescape(re.sub("&#[0-9]{9,}", "", text))  # no character has so large a number
    words = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return words if len(words) <= length else words[: length - 1] + "\u2026"
