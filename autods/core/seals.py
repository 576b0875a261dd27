"""Hashes by which a file shows that it is still what this program wrote.

A JSON object carries its hash under the key `SEAL`, a file of a kind that ignores what follows
its end (HDF5) as its last bytes, YAML in a comment, any other file in a sealed object. Files of
earlier versions have none, and are read as before.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from autods.core.hashed import hashed

SEAL = "seal"
TRAILER = b"\nautods sha256 "
COMMENT = "# sha256 of what follows: "
HEX_DIGITS = 64  # of a sha256
LENGTH = len(TRAILER) + HEX_DIGITS  # bytes of a trailer
BLOCK = 1 << 20  # bytes read at once
CHANGED = "its content is not what was written: it does not have the sha256 that it was sealed with"


class BrokenSealError(ValueError):
    """The content of a file does not have the hash that was written with it."""


def sealed(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON object with the hash of its content as its `SEAL`."""
    plain = json.loads(json.dumps({k: v for k, v in value.items() if k != SEAL}))
    return {**value, SEAL: _hash(plain)}


def unsealed(value: Any) -> tuple[Any, bool]:
    """Return a parsed JSON value without its seal, and whether it had one.

    `BrokenSealError` if the content does not have the hash that its seal states.
    """
    if not isinstance(value, dict) or SEAL not in value:
        return value, False
    content = {k: v for k, v in value.items() if k != SEAL}
    if _hash(content) != value[SEAL]:
        raise BrokenSealError(CHANGED)
    return content, True


def with_trailer(content: bytes) -> bytes:
    """Return the content of a file with its sha256 as the last bytes."""
    return content + TRAILER + hashlib.sha256(content).hexdigest().encode()


def trailer_of(path: Path) -> str:
    """Return the sha256 that stands at the end of a file; empty if there is none."""
    with suppress(OSError), path.open("rb") as handle:
        handle.seek(-LENGTH, os.SEEK_END)
        last = handle.read()
        if TRAILER in last:  # less than all of the hash if the file was cut off
            return last.partition(TRAILER)[2].decode(errors="replace")
    return ""


def is_whole(path: Path) -> bool:
    """Hash a file; tell whether it is what was written, as far as its trailer says."""
    written, digest = trailer_of(path), hashlib.sha256()
    if not written:
        return True
    with path.open("rb") as handle:
        left = path.stat().st_size - LENGTH
        while left and (block := handle.read(min(left, BLOCK))):
            digest.update(block)
            hashed(len(block))
            left -= len(block)
    return digest.hexdigest() == written


def with_comment(text: str) -> str:
    """Return YAML with the sha256 of it in a comment before it."""
    return f"{COMMENT}{hashlib.sha256(text.encode()).hexdigest()}\n{text}"


def comment_holds(text: str) -> bool:
    """Tell whether what follows the comment of `with_comment`, if there is one, has its hash."""
    _, found, rest = text.partition(COMMENT)
    written, _, content = rest.partition("\n")
    return not found or hashlib.sha256(content.encode()).hexdigest() == written


def hash_parts(parts: Iterable[Any]) -> str:
    """Return the sha256 over texts and flat buffers, each with its length in bytes before it."""
    digest = hashlib.sha256()
    for part in parts:
        data = memoryview(part.encode() if isinstance(part, str) else part)
        digest.update(data.nbytes.to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def _hash(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
