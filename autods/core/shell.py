"""Words of commands that messages suggest: a user copies them into a shell as they are."""

from __future__ import annotations

import shlex
from pathlib import Path


def quoted(*words: Path | str) -> str:
    """Return words as a shell reads them: those with blanks or special signs in quotes."""
    return " ".join(shlex.quote(str(word)) for word in words)
