"""Patterns that take text out of a path, and templates that put it together again.

Pattern: ``{name}`` takes text within one folder or file name, as short as possible;
the same name again must take the same text; ``{name:int}`` takes digits only and gives
their number, without leading zeros; ``{name:word}`` takes text without a blank;
``*`` is any text within one name, ``**`` any number of folders. Template: ``{name}``
stands for the text taken.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from operator import itemgetter

PART = re.compile(
    r"\{(?P<name>[a-z][a-z0-9_]*)(:(?P<type>int|word))?\}"
    r"|(?P<folders>\*\*/)|(?P<rest>\*\*)|(?P<any>\*)"
)
FIELD = re.compile(r"\{([^{}]*)\}")
TYPES = {None: "[^/]+?", "int": "[0-9]+", "word": "[^/ ]+"}


class Pattern:
    """A compiled path pattern."""

    def __init__(self, pattern: str) -> None:
        self._regex = compile_pattern(pattern)
        found = [part for part in PART.finditer(pattern) if part["name"]]
        self.fields = {part["name"] for part in found}
        self._numbers = [part["name"] for part in found if part["type"] == "int"]

    def match(self, path: str) -> dict[str, str] | None:
        """Return field to text where the whole path matches, else ``None``."""
        found = self._regex.fullmatch(path)
        if found is None:
            return None
        values = found.groupdict()
        for name in self._numbers:
            values[name] = values[name].lstrip("0") or "0"
        return values


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Translate a path pattern into a regular expression for `re.Pattern.fullmatch`.

    `ValueError` unless a field's name is made of lower-case letters, digits and ``_``.
    """
    seen: set[str] = set()
    parts, last = [], 0
    for found in PART.finditer(pattern):
        parts.append(_literal(pattern, pattern[last : found.start()]))
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
    parts.append(_literal(pattern, pattern[last:]))
    return re.compile("".join(parts), re.DOTALL)


def compile_template(template: str) -> Callable[[str, Mapping[str, str]], bool]:
    """Return a function that tells whether a path matches a template with ``*``.

    It is called with the path and the values of the template's fields. They stand before
    the path in the text that is matched, so one regular expression serves all of them.
    """
    names = list(dict.fromkeys(FIELD.findall(template)))
    parts = ["([^\0]*)\0"] * len(names)
    for position, piece in enumerate(FIELD.split(template)):
        if position % 2:
            parts.append(f"(?:\\{names.index(piece) + 1})")
        else:
            parts.append(compile_pattern(piece).pattern)
    regex = re.compile("".join(parts), re.DOTALL)
    return lambda path, values: (
        regex.fullmatch("\0".join([*(values[name] for name in names), path])) is not None
    )


def check_fields(what: str, template: str, known: Collection[str]) -> None:
    """Raise `ValueError` when a template uses a field that nothing fills."""
    if strange := sorted({*FIELD.findall(template)} - set(known)):
        raise ValueError(
            f"{what} '{template}': field '{{{strange[0]}}}' is not known; expected one of "
            f"{', '.join(sorted(known)) or 'none'}"
        )


def filler(template: str) -> Callable[[Mapping[str, str]], str]:
    """Return a function that fills a template whose fields were checked."""
    if FIELD.fullmatch(template):  # most templates are one field, and there are millions
        return itemgetter(template[1:-1])
    return lambda values: FIELD.sub(lambda found: values[found[1]], template)


def _literal(pattern: str, text: str) -> str:
    if "{" in text or "}" in text:
        raise ValueError(
            f"pattern '{pattern}': expected fields like '{{class}}' (lower-case letters, digits, "
            f"'_'), got '{text}'"
        )
    return re.escape(text)
