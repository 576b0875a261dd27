"""How `fuzz.py` changes a valid file: bytes, words of a text, values of a JSON document."""

from __future__ import annotations

import json
import random
from typing import Any

NUMBERS = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF]
WORDS = [
    *("", "\x1b[31m", "\0", "\x85", "\u202e", "\ud7ff", "[[[", "{{{", "}", '"', "'", ": ", "- "),
    *(
        "&a *a",
        "!!int x",
        "!!bool x",
        "!!binary a",
        "!!python/name:os.system",
        "2020-13-45",
        "~",
        "0x",
    ),
    *(
        "*",
        "**/",
        "{a}*{b}*{c}",
        "../..",
        "/etc/passwd",
        "null",
        "-1",
        "1e999",
        ".nan",
        "true",
        "1_0",
    ),
    *("9" * 400, "a" * 5000),
]
VALUES: list[Any] = [
    *(
        None,
        True,
        0,
        -1,
        2**31,
        2**63,
        10**400,
        1e308,
        float("nan"),
        "",
        "\x1b[31m",
        "../..",
        "\ud800",
    ),
    *("a" * 3000, [], {}, [[]], [None], {"a": None}, [1, "a"], {"": {}}),
]
TRAILER = b"\nautods sha256 "  # without it a shard counts as one of an earlier version


def mutated(name: str, content: bytes, draw: random.Random) -> bytes:
    """Return a file with one to a few changes; its name may tell what kind it is."""
    if name.endswith(".json") and draw.random() < 0.8:
        return _json(content, draw)
    if TRAILER in content and draw.random() < 0.8:
        content = content[: content.rindex(TRAILER)]
    if name.endswith((".yaml", ".csv", ".json", ".txt")) and draw.random() < 0.7:
        return _text(content, draw)
    for _ in range(draw.choice([1, 1, 2, 4, 16])):
        content = _bytes(content, draw)
    return content


def _bytes(content: bytes, draw: random.Random) -> bytes:
    if not content:
        return draw.randbytes(8)
    at, size = draw.randrange(len(content)), draw.choice([1, 2, 4, 8])
    kind = draw.randrange(9)
    rest, more = content[at:], b""
    if kind < 2:
        more, rest = bytes([content[at] ^ 1 << draw.randrange(8)]), content[at + 1 :]
    elif kind < 5:
        value = draw.choice(NUMBERS).to_bytes(8, draw.choice(["little", "big"]))
        more = value[:size] if draw.random() < 0.5 else value[-size:]
        rest = content[at + size :]
    elif kind == 5:
        rest = b""
    elif kind == 6:
        rest = content[at + draw.randrange(1, 200) :]
    elif kind == 7:
        more = draw.randbytes(draw.randrange(1, 60))
    else:
        start = draw.randrange(len(content))
        more = content[start : start + draw.randrange(1, 600)]
    return content[:at] + more + rest


def _text(content: bytes, draw: random.Random) -> bytes:
    lines = content.decode(errors="replace").splitlines(keepends=True) or [""]
    for _ in range(draw.choice([1, 1, 2, 3])):
        at = draw.randrange(len(lines))
        line, place = lines[at], draw.randrange(len(lines[at]) + 1)
        word = draw.choice(WORDS)
        lines[at] = draw.choice([
            line[:place] + word + line[place:], line[:place] + word + "\n", line + line, "",
            line.replace(":", f": {word} #", 1), line.replace(",", word, 1), " " + line,
        ])  # fmt: skip
    return "".join(lines).encode(errors="surrogatepass")


def _json(content: bytes, draw: random.Random) -> bytes:
    value: Any = json.loads(content)
    if isinstance(value, dict):
        value.pop("seal", None)  # as a stranger would, who can also make a right one
    for _ in range(draw.choice([1, 1, 2])):
        value = _changed(value, draw)
    return json.dumps(value).encode(errors="surrogatepass")


def _changed(value: Any, draw: random.Random) -> Any:
    if isinstance(value, dict) and value and draw.random() < 0.93:
        key = draw.choice(sorted(value))
        if draw.random() < 0.1:
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: _changed(value[key], draw)}
    if isinstance(value, list) and value and draw.random() < 0.9:
        at = draw.randrange(len(value))
        if draw.random() < 0.1:
            return value[:at] + value[at + 1 :]
        return [*value[:at], _changed(value[at], draw), *value[at + 1 :]]
    return draw.choice(VALUES)
