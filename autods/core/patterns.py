"""Patterns that take text out of a path, and templates that put it together again.

Pattern: ``{name}`` takes text within one folder or file name, as short as possible;
the same name again must take the same text; ``{name:int}`` takes digits only and gives
their number, without leading zeros; ``{name:word}`` takes text without a blank;
``*`` is any text within one name, ``**`` any number of folders. Template: ``{name}``
stands for the text taken.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from operator import itemgetter

DIGITS = "0123456789"
PART = re.compile(
    r"\{(?P<name>[a-z][a-z0-9_]*)(:(?P<type>int|word))?\}"
    r"|(?P<folders>\*\*/)|(?P<rest>\*\*)|(?P<any>\*)"
)
FIELD = re.compile(r"\{([^{}]*)\}")
LAZY = {"any": "[^/]*?", "rest": ".*?", "field": "[^/]+?"}  # wildcards that can be bound
LOOSE, LOOSE_IN_NAME = 3, 1  # wildcards of which all combinations may have to be tried
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

    `ValueError` unless a field's name is made of lower-case letters, digits and ``_``, and if the
    pattern could divide a path in so many ways that looking for one takes for ever.
    """
    regex, loose = _translated(pattern)
    _check_loose(pattern, loose)
    return re.compile(regex, re.DOTALL)


@dataclass
class _Token:
    """A piece of a pattern: text, or a wildcard by the names of `PART`; ``field`` of a new one."""

    kind: str
    regex: str
    text: str = ""
    field: str = ""


def _tokens(pattern: str) -> list[_Token]:
    seen: set[str] = set()
    tokens, last = [], 0
    for found in PART.finditer(pattern):
        if text := pattern[last : found.start()]:
            tokens.append(_Token("text", _literal(pattern, text), text))
        last = found.end()
        name = found["name"]
        if name is not None and name in seen:
            tokens.append(_Token("same", f"(?P={name})"))
        elif name is not None:
            kind = found["type"] or "field"
            tokens.append(_Token(kind, f"(?P<{name}>{TYPES[found['type']]})", field=name))
            seen.add(name)
        elif found["folders"]:
            if not tokens or tokens[-1].kind != "folders":  # two are one
                tokens.append(_Token("folders", "(?:[^/]+/)*"))
        else:
            kind = "rest" if found["rest"] else "any"
            tokens.append(_Token(kind, ".*" if kind == "rest" else "[^/]*"))
    if text := pattern[last:]:
        tokens.append(_Token("text", _literal(pattern, text), text))
    return tokens


def _translated(pattern: str) -> tuple[str, int]:
    """Return a pattern as a regular expression, and how many of its wildcards are loose.

    A wildcard that another one follows, which takes whatever this one leaves, is bound to the first
    text between the two: it need not be tried again further on. Those of one folder or file name
    that are not bound multiply, as do the ``**``; wildcards of different names do not.
    """
    tokens, written = _tokens(pattern), []
    loose, in_name, most = 0, 0, 0
    bound_to: _Token | None = None
    for k, token in enumerate(tokens):
        following = tokens[k + 1] if k + 1 < len(tokens) else None
        between = following if following is not None and following.kind == "text" else None
        rest = tokens[k + 2 :] if between else tokens[k + 1 :]
        if token.kind == "text":
            in_name = 0 if "/" in token.text else in_name
            if token is not bound_to:
                written.append(token.regex)
        elif token.kind in LAZY and _is_bound(token, between, rest):
            named = f"(?P<{token.field}>{LAZY['field']})" if token.field else LAZY[token.kind]
            written.append(f"(?>{named}{between.regex if between else ''})")
            bound_to = between
        elif token.kind in ("int", "word") and len(tokens) == k + 2 and _takes_all(following):
            written.append(f"(?>{token.regex})")  # what it could leave, the last one takes
        else:
            written.append(token.regex)
            if token.kind in ("folders", "rest"):
                loose, in_name = loose + 1, 0
            elif rest and not _is_definite(token, between):
                in_name += 1
                most = max(most, in_name)
    return "".join(written), LOOSE + 1 if most > LOOSE_IN_NAME else loose + most


def _is_bound(token: _Token, between: _Token | None, rest: list[_Token]) -> bool:
    """Tell whether what follows the text after a wildcard takes all that this one leaves."""
    if not rest or rest[0].kind not in LAZY or (between and "/" in between.text):
        return False
    if token.kind == "rest":
        return rest[0].kind == "rest" and not any(other.field for other in rest)
    if token.kind == "any":  # it takes as much as it can: fields after it could tell
        name = itertools.takewhile(lambda other: "/" not in other.text, rest)
        return not any(other.field or other.kind == "same" for other in name)
    return all(other.kind != "same" for other in rest)  # which would tie one to the other


def _takes_all(token: _Token | None) -> bool:
    return token is not None and token.kind in ("any", "rest")


def _is_definite(token: _Token, between: _Token | None) -> bool:
    """Tell whether a wildcard can end at one place only, where a folder, number or word ends."""
    text = between.text if between else ""
    return (
        token.kind == "same"
        or "/" in text
        or (token.kind == "int" and bool(text) and text[0] not in DIGITS)
        or (token.kind == "word" and text.startswith(" "))
    )


def _check_loose(pattern: str, loose: int) -> None:
    if loose > LOOSE:
        raise ValueError(
            f"pattern '{pattern}': it divides a path in too many ways to look for one; expected "
            f"at most {LOOSE} of '**' and of '*' beside fields, {LOOSE_IN_NAME} of them in one name"
        )


def compile_template(template: str) -> Callable[[str, Mapping[str, str]], bool]:
    """Return a function that tells whether a path matches a template with ``*``.

    It is called with the path and the values of the template's fields. They stand before
    the path in the text that is matched, so one regular expression serves all of them.
    """
    names = list(dict.fromkeys(FIELD.findall(template)))
    parts, loose = ["([^\0]*)\0"] * len(names), 0
    for position, piece in enumerate(FIELD.split(template)):
        if position % 2:
            parts.append(f"(?:\\{names.index(piece) + 1})")
        else:
            parts.append(_translated(piece)[0])
            loose += sum(token.kind != "text" for token in _tokens(piece))
    _check_loose(template, loose)
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
