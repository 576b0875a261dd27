"""Prompts for zero-shot classification: templates, and class names as people write them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autods.core.registry import unknown
from autods.errors import UsageError

PLAIN = ("a photo of a {}.",)

# General views of a thing: none supposes a kind of image or a field.
DEFAULT = (
    "a photo of a {}.",
    "a photo of the {}.",
    "a picture of one {}.",
    "a picture of several {}.",
    "an image that shows a {}.",
    "a clear photo of a {}.",
    "a blurred photo of a {}.",
    "a bright photo of a {}.",
    "a dark photo of a {}.",
    "a close-up of a {}.",
    "a {} seen from a distance.",
    "a small image of a {}.",
    "a cropped photo showing part of a {}.",
    "a black and white photo of a {}.",
    "a drawing of a {}.",
    "an example of {}.",
)

SHIPPED = {"default-v1": DEFAULT, "plain": PLAIN}

_NUMBERED = re.compile(r"\d+[\s._-]+(?=.*[^\W\d_])")  # and a letter somewhere behind it
_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])")


@dataclass(frozen=True)
class Templates:
    """Prompt templates under a name that is safe as a file name."""

    name: str  # of a shipped list, or ``file-<8 hex digits>`` of the hash
    texts: tuple[str, ...]  # with ``{}`` where the class goes

    @property
    def sha256(self) -> str:
        """Hash of the texts in their order."""
        return _hash(self.texts)

    def prompts(self, name: str) -> list[str]:
        """Return the prompts of one class, one per template."""
        return [text.replace("{}", name) for text in self.texts]


def find_templates(name: str) -> Templates:
    """Return the shipped templates of a name, or those of a file, one per line.

    Raises `UnknownName` for a name that is neither, and `UsageError` when a line of the file does
    not hold ``{}`` once, or there is no line.
    """
    if name in SHIPPED:
        return Templates(name, SHIPPED[name])
    path = Path(name)
    if not path.is_file():
        raise unknown("list of templates (or file)", name, SHIPPED)
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError:
        raise UsageError(f"{path}: expected UTF-8 text; nothing was done.") from None
    texts = []
    for number, line in enumerate(lines, start=1):
        if not (text := line.strip()):
            continue
        if text.count("{}") != 1:
            raise UsageError(
                f"{path}:{number}: expected a template with '{{}}' once, got '{text[:80]}'; "
                "nothing was done."
            )
        texts.append(text)
    if not texts:
        raise UsageError(f"{path}: expected at least one template, got none; nothing was done.")
    return Templates(f"file-{_hash(texts)[:8]}", tuple(texts))


def readable_names(names: Sequence[str], readable: Mapping[str, str] | None = None) -> list[str]:
    """Return the class names of one task as they read in a sentence.

    ``readable`` has the names that the manifest gives for some of them. Of the others,
    underscores become blanks, and joined words (``AnnualCrop``) come apart where the name has
    no blank, ``_`` or ``-``. A leading number (``001.Sparrow``, ``2_cataract``) goes only if
    all names of the task have one and stay different without it: only then is it numbering,
    and not a part of the name (``5_o_clock_shadow``, ``707-320``).
    """
    numbered = all(_NUMBERED.match(name) for name in names)
    bare = [_NUMBERED.sub("", name, count=1) for name in names] if numbered else list(names)
    plain = _plain(bare if len(set(_plain(bare))) == len(names) else names)
    given = readable or {}
    return [given.get(name, words) for name, words in zip(names, plain, strict=True)]


def _plain(names: Sequence[str]) -> list[str]:
    apart = [name if re.search(r"[\s_-]", name) else _WORDS.sub(" ", name) for name in names]
    # A name of underscores alone stays what it is.
    return [" ".join(name.replace("_", " ").split()) or name for name in apart]


def _hash(texts: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(list(texts), ensure_ascii=False).encode()).hexdigest()
