"""What every reader of features yields, and what all of them check the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from autods.core.registry import unknown
from autods.core.strict import repeated
from autods.errors import LayoutError

Array = npt.NDArray[Any]

USUAL = {
    "train": 0, "training": 0, "dev": 1, "val": 1, "valid": 1, "validation": 1,
    "test": 2, "testing": 2,
}  # fmt: skip
ROWS = 8192  # of a block


@dataclass(frozen=True, eq=False)
class Table:
    """Features of one dataset, n rows of width ``dim``, opened but not read.

    ``labels`` are int32 [n]; ``splits`` int8 [n], positions in `SPLITS`, ``None`` if the file has
    no splits. ``blocks`` yields all rows in order, floating point [m, d] each; call it again to
    start anew. ``where`` names a row in messages: ``features.npy: row 17``.
    """

    dim: int
    labels: npt.NDArray[np.int32]
    splits: npt.NDArray[np.int8] | None
    class_names: list[str]
    blocks: Callable[[], Iterator[Array]]
    where: Callable[[int], str]
    notes: tuple[str, ...] = ()


class Reader(NamedTuple):
    """One format: ``matches`` tells whether a path is one dataset's features in it.

    ``files`` returns the files whose content decides what is imported; ``open`` checks a source,
    without reading its features if it can.
    """

    matches: Callable[[Path], bool]
    files: Callable[[Path], Sequence[Path]]
    open: Callable[[Path], Table]


def wrong(path: Path, key: str, expected: str, got: object) -> LayoutError:
    """Build the error for a file that is not as described."""
    return LayoutError(
        f"{path}: {key}: expected {expected}, got {got}; this file was not imported. Correct it "
        "and run the same command again: what was imported before is kept."
    )


def split_numbers(path: Path, texts: Sequence[str], where: Callable[[int], str]) -> Array:
    """Turn names of splits into positions in `SPLITS`, int8 [n]; unknown ones are an error."""
    known = {text: USUAL.get(text.strip().lower(), -1) for text in dict.fromkeys(texts)}
    numbers = np.array([known[text] for text in texts], np.int8)
    if len(strange := np.flatnonzero(numbers < 0)):
        row = int(strange[0])
        raise LayoutError(
            f"{path}: {where(row)}: {unknown('split', texts[row], USUAL)}; this file was not "
            "imported. Correct it and run the same command again."
        )
    return numbers


def numbered(
    path: Path, labels: Sequence[Any], names: list[str] | None, where: Callable[[int], str]
) -> tuple[npt.NDArray[np.int32], list[str], tuple[str, ...]]:
    """Return class numbers int32 [n], the class names, and notes.

    Labels are texts (the classes are those that occur, sorted, as numbers if all are whole
    numbers; or their places in ``names``), or whole numbers, which count ``names`` from 0.
    Numbers with gaps need ``names``.
    """
    values = np.asarray(labels)
    if values.ndim != 1 or values.dtype.kind not in "iuUO":
        raise wrong(path, "labels", "whole numbers or texts [n]", f"{values.dtype} {values.shape}")
    if again := repeated(names or ()):
        raise wrong(path, "class_names", "distinct names", f"'{again}' twice")
    if values.dtype.kind not in "iu":
        texts = [str(value) for value in values]
        if "" in texts:
            raise wrong(path, where(texts.index("")), "a label", "nothing")
        names = names or _sorted(set(texts))
        place = {name: number for number, name in enumerate(names)}
        strange = next((row for row, text in enumerate(texts) if text not in place), None)
        if strange is not None:
            raise wrong(path, where(strange), "one of the class names", f"'{texts[strange]}'")
        values = np.array([place[text] for text in texts])
    if len(values) and int(values.max()) > np.iinfo(np.int32).max:
        raise wrong(path, where(int(values.argmax())), "a label below 2^31", int(values.max()))
    values = values.astype(np.int64)  # so that no sum or comparison overflows
    count = len(names) if names is not None else int(values.max(initial=-1)) + 1
    if len(outside := np.flatnonzero((values < 0) | (values >= count))):
        row = int(outside[0])
        raise wrong(path, where(row), f"a label from 0 to {count - 1}", int(values[row]))
    if names is None and count > len(values):
        row = int(values.argmax())
        raise wrong(path, where(row), f"labels from 0 without gaps below {len(values)}", count - 1)
    empty = np.flatnonzero(np.bincount(values, minlength=count) == 0)
    if len(empty) and names is None:
        row = int(np.flatnonzero(values > empty[0])[0])
        raise wrong(
            path, where(row), f"labels without gaps ({int(empty[0])} never occurs) or class names",
            int(values[row]),
        )  # fmt: skip
    notes: tuple[str, ...] = ()
    if len(empty) and names is not None:
        shown = ", ".join(f"'{names[k]}'" for k in empty[:3]) + (", ..." if len(empty) > 3 else "")
        notes = (f"{path.name}: {len(empty)} of {count} classes have no sample: {shown}.",)
    return values.astype(np.int32), names or [str(k) for k in range(count)], notes


def float_type(path: Path, key: str, kind: str) -> tuple[str, ...]:
    """Check the type of features and return notes: ``kind`` is its name as numpy has it."""
    if kind not in ("float16", "bfloat16", "float32", "float64"):
        raise wrong(path, key, "floating point", kind)
    return (f"{path.name}: float64 was rounded to float16.",) if kind == "float64" else ()


def _sorted(names: set[str]) -> list[str]:
    if all(name.isascii() and name.isdecimal() for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)
