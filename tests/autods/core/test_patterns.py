"""Patterns of paths: what they match, and that no path takes them long."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autods.core.patterns import PART, TYPES, Pattern, compile_pattern, compile_template

PIECES = [
    "a",
    "b",
    "_",
    "/",
    "*",
    "**/",
    "**",
    "{x}",
    "{y}",
    "{z}",
    "{n:int}",
    "{w:word}",
    "1",
    " ",
]


def plainly(pattern: str) -> re.Pattern[str]:
    """Translate a pattern as its definition says, without a thought of time."""
    seen, parts, last = set(), [], 0
    for found in PART.finditer(pattern):
        parts.append(re.escape(pattern[last : found.start()]))
        last = found.end()
        name = found["name"]
        if name is not None:
            text = TYPES[found["type"]]
            parts.append(f"(?P={name})" if name in seen else f"(?P<{name}>{text})")
            seen.add(name)
        elif found["folders"]:
            parts.append("(?:[^/]+/)*")
        else:
            parts.append(".*" if found["rest"] else "[^/]*")
    return re.compile("".join([*parts, re.escape(pattern[last:])]), re.DOTALL)


@given(st.lists(st.sampled_from(PIECES), max_size=8), st.lists(st.text("aab_/1 ", max_size=11)))
def test_a_pattern_takes_out_of_a_path_what_its_definition_says(pieces, paths):
    pattern = "".join(pieces)
    try:
        compiled = compile_pattern(pattern)
    except ValueError:
        return
    plain = plainly(pattern)
    for path in paths:
        found, expected = compiled.fullmatch(path), plain.fullmatch(path)
        assert (found and found.groupdict()) == (expected and expected.groupdict())


SLOW = [
    ("*a*a*a*a*a*b", "a" * 4000), ("{x}-{y}-{z}-{w}-{v}.png", "-" * 4000),
    ("**/**/**/**/**/**/**/x.png", "a/" * 2000 + "y.png"), ("*_{a}_{b}_{c}_{d}x", "_" * 4000),
    ("*_*_*_*_*_*_*_*_{class}.jpg", "_" * 4000 + ".png"), ("**a**a**a**a**b", "a" * 4000),
    ("{x}{y}{z}{v}{w}1", "a" * 4000), ("*/*/*/*/*/*a", "aaa/" * 1000),
    ("{x}*{y}*{z}*b", "a" * 4000), ("{x}*{y}b", "a" * 4000), ("**/a*{x}*b", "a" * 4000),
    ("*_{n:int}*_b", "_1" * 2000),
    ("{a}_{n:int}_{b}_{m:int}.jpg", "_1" * 2000), ("**/*a*{x:int}", "a" * 4000),
    ("**/a/**/a/**/a/**/b", "a/" * 2000), ("{w:word}{n:int}{v:word}{m:int}b", "1" * 4000),
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "path"), SLOW)
def test_no_path_takes_a_pattern_long_unless_the_pattern_is_refused(pattern, path):
    began = time.monotonic()
    try:
        assert Pattern(pattern).match(path) is None
    except ValueError as error:
        assert "in too many ways" in str(error)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("template", ["*{a}*{a}*{a}*{a}b", "**{a}**{b}**{a}**x", "*a*a*a*a*{x}"])
def test_templates_with_too_many_wildcards_are_refused(template):
    with pytest.raises(ValueError, match="in too many ways"):
        compile_template(template)
