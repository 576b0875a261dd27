"""Names of splits as people write them: ``01_train``, ``TestImages``, ``valid``, ``hold-out``."""

from __future__ import annotations

import re
from collections.abc import Iterable

USUAL = {  # split to its names in folders and tables
    "train": ("train", "training", "trn"),
    "dev": ("val", "valid", "validation", "validate", "dev", "devel", "development"),
    "test": ("test", "testing", "tst", "holdout", "heldout"),
    # the test split, unless another one is there: then it is dev
    "eval": ("eval", "evaluation"),
}
FILLERS = frozenset(
    (
        *("all", "clean", "data", "dataset", "datasets", "file", "files", "final", "folder"),
        *("for", "image", "images", "img", "imgs", "jpeg", "jpg", "my", "new", "of", "only"),
        *("part", "photo", "photos", "pic", "pics", "picture", "pictures", "png", "raw"),
        *("sample", "samples", "set", "sets", "split", "subset", "the"),
    )
)  # words beside the name of a split
_SPLIT_OF = {word: split for split, words in USUAL.items() for word in words}
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_COMPOUND = re.compile(
    f"({'|'.join(sorted(_SPLIT_OF, key=len, reverse=True))})({'|'.join(FILLERS)})"
)


def splits_of(names: Iterable[str]) -> dict[str, str]:
    """Return those of several names that are names of splits, with ``train``, ``dev`` or ``test``.

    What a name means can depend on the others: ``eval`` is dev beside ``test``, and words that
    all names have (``seg_train``, ``seg_test``) tell nothing.
    """
    words = {name: _words(name) for name in names}
    common = set.intersection(*map(set, words.values())) if len(words) > 1 else set()
    found = {}
    for name, of_name in words.items():
        telling = [word for word in of_name if word not in FILLERS | common and len(word) > 1]
        if (split := _SPLIT_OF.get("".join(telling))) is not None:
            found[name] = split
    final = "dev" if "test" in found.values() else "test"
    return {name: final if split == "eval" else split for name, split in found.items()}


def _words(name: str) -> list[str]:
    """Return the words of a name in lower case; a filler that is joined to a split is dropped."""
    if re.search(r"[^\W\d_]", re.sub(r"[A-Za-z]", "", name)):  # letters of other alphabets
        return [name]
    words = [word.lower() for word in _WORD.findall(name)]
    return [match[1] if (match := _COMPOUND.fullmatch(word)) else word for word in words]
