"""Lines for the user about a folder of images: its classes with counts, the links followed."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from unicodedata import normalize

from autods.core.output import counted
from autods.core.splits import SPLITS
from autods.core.trees import Tree
from autods.layouts import RawSample
from autods.manifest.new.class_tree import Folders, Reading
from autods.manifest.new.common import TEST_FRACTION, single_images

SHOWN = 20  # classes that are shown with their counts
DIGITS = 20  # of a name that is read as a number


def folder_classes(
    reading: Reading, samples: Sequence[RawSample], rule: Mapping[str, Any]
) -> list[str]:
    """Return lines about the classes of a folder: how many, by split, and what is odd."""
    pairs = [(s.labels["class"], reading.splits.get(s.split or "", "")) for s in samples]
    totals = Counter(label for label, _ in _composed(pairs))
    head = f"{counted(len(samples), 'image')} in {counted(len(totals), 'class', 'classes')}"
    head += f", below '{reading.top}'" if reading.top else ""
    if reading.splits:
        named = (
            split if name == split else f"{split} is {name!r}"
            for name, split in sorted(
                reading.splits.items(), key=lambda pair: SPLITS.index(pair[1])
            )
        )
        head += f"; splits: {', '.join(named)}"
    return [f"{head}{drawn(pairs, rule)}.", *class_table(pairs, rule)]


def drawn(pairs: Sequence[tuple[str, str]], rule: Mapping[str, Any]) -> str:
    """Say what is drawn for test, and that splits without a test part are not kept."""
    if rule["rule"] != "random":
        return ""
    anew = any(split for _, split in pairs)
    text = f"{TEST_FRACTION:.0%} of each class is drawn for test"
    return f"; there are no images of a test split, so {text}, of all images" * anew or f"; {text}"


def class_table(pairs: Sequence[tuple[str, str]], rule: Mapping[str, Any]) -> list[str]:
    """Return a table of the classes with counts by split, and lines about odd classes.

    ``pairs`` are the class of each image and its split, ``""`` if it has none.
    """
    counts = Counter((label, split or "images") for label, split in _composed(pairs))
    totals = Counter(label for label, _ in _composed(pairs))
    columns = [c for c in (*SPLITS, "images") if any(c == found for _, found in counts)]
    width = max(5, *(len(repr(name)) - 2 for name in totals)) if totals else 5
    width = min(width, 60)
    lines = [f"{'class':<{width}}  " + "  ".join(f"{column:>6}" for column in columns)]
    for name in sorted(totals)[:SHOWN]:
        cells = "  ".join(f"{counts[name, column]:>6,}" for column in columns)
        lines.append(f"{repr(name)[1:-1]:<{width}}  {cells}")
    if len(totals) > SHOWN:
        lines.append(f"... and {counted(len(totals) - SHOWN, 'more class', 'more classes')}")
    singles = single_images(totals) if rule["rule"] == "random" else _unequal(counts, totals)
    return [*lines, *singles, *_nearly_alike(totals)]


def _composed(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return pairs with the classes as indexing names them: in one form of Unicode."""
    return [(normalize("NFC", label), split) for label, split in pairs]


def _nearly_alike(names: Iterable[str]) -> list[str]:
    """Return a line about classes whose names differ in little, so that they may be one."""
    groups: dict[str, list[str]] = {}
    for name in sorted(names):
        alike = " ".join(normalize("NFKC", name).casefold().split()).strip(" ._-")
        alike = str(int(alike)) if alike.isdecimal() and len(alike) < DIGITS else alike
        groups.setdefault(alike, []).append(name)
    found = [", ".join(map(repr, group)) for group in groups.values() if len(group) > 1]
    if not found:
        return []
    more = "; ..." if found[3:] else ""
    return [f"Names that are nearly alike, each a class of its own: {'; '.join(found[:3])}{more}."]


def _unequal(counts: Mapping[tuple[str, str], int], totals: Mapping[str, int]) -> list[str]:
    """Return lines about classes that only some splits have."""
    lines = []
    for here, missing in (("test", "train"), ("train", "test")):
        only = [c for c in sorted(totals) if counts[c, here] and not counts[c, missing]]
        if only:
            shown = ", ".join(map(repr, only[:3])) + (", ..." if only[3:] else "")
            classes = counted(len(only), "class has", "classes have")
            lines.append(f"{classes} images in {here}, but none in {missing}: {shown}.")
    return lines


def merged_classes(reading: Reading, folders: Folders) -> list[str]:
    """Return a line about folders in several places that became one class by their name."""
    if reading.classes != "last":
        return []
    places: dict[str, set[str]] = {}
    for root in reading.roots():
        for leaf in folders.leaves(root):
            place = leaf[len(root) :].strip("/")
            places.setdefault(place.rpartition("/")[2], set()).add(place)
    names = [name for name, of_name in sorted(places.items()) if len(of_name) > 1]
    if not names:
        return []
    shown = ", ".join(map(repr, names[:3])) + (", ..." if names[3:] else "")
    return [
        f"{counted(len(names), 'class has', 'classes have')} folders in several places: {shown}."
    ]


def empty_folders(folders: Folders) -> list[str]:
    """Return a line about folders without any image, the outermost of them."""
    outer = [f for f in folders.empty if f.rpartition("/")[0] not in folders.empty]
    outer = [folder for folder in outer if "/." not in f"/{folder}"]
    if not outer:
        return []
    shown = ", ".join(map(repr, outer[:3])) + (", ..." if outer[3:] else "")
    return [f"{counted(len(outer), 'folder has', 'folders have')} no image: {shown}."]


def followed_links(folder: Path, tree: Tree) -> list[str]:
    """Return a line about the links that were followed, those out of the folder by name."""
    if not tree.links:
        return []
    inside = f"{os.path.realpath(folder)}/"
    outside = [n for n in tree.links if not os.path.realpath(folder / n).startswith(inside)]
    text = f"{counted(len(tree.links), 'link was', 'links were')} followed"
    if outside:
        shown = ", ".join(map(repr, outside[:3])) + (", ..." if outside[3:] else "")
        text += f", {len(outside)} of them out of the folder ({shown})"
    return [f"{text}; fetch copies what they lead to."]
