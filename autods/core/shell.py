"""Words of commands that messages suggest: a user copies them into a shell as they are."""

from __future__ import annotations

import shlex
from pathlib import Path


def quoted(*words: Path | str) -> str:
    """Return words as a shell reads them: those with blanks or special signs in quotes.

    A path that begins with a dash is no option.
    """
    return " ".join(shlex.quote(_no_option(word)) for word in words)


def _no_option(word: Path | str) -> str:
    text = str(word)
    return f"./{text}" if isinstance(word, Path) and text.startswith("-") else text
