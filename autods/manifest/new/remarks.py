"""Lines for the user about a folder of images: its classes with counts, the links followed."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autods.core.output import counted
from autods.core.splits import SPLITS
from autods.core.trees import Tree
from autods.layouts import RawSample
from autods.manifest.new.class_tree import Folders, Reading
from autods.manifest.new.common import TEST_FRACTION, single_images

SHOWN = 20  # classes that are shown with their counts


def class_table(
    reading: Reading, samples: Sequence[RawSample], rule: Mapping[str, Any]
) -> list[str]:
    """Return a table of the classes with counts by split."""
    of_split = {split: reading.splits.get(split, split) for split in reading.splits}
    counts = Counter((s.labels["class"], of_split.get(s.split or "", "images")) for s in samples)
    totals = Counter(sample.labels["class"] for sample in samples)
    columns = [split for split in SPLITS if any(split == found for _, found in counts)] or [
        "images"
    ]
    width = max(5, *(len(repr(name)) - 2 for name in totals)) if totals else 5
    width = min(width, 60)
    lines = [f"{'class':<{width}}  " + "  ".join(f"{column:>6}" for column in columns)]
    for name in sorted(totals)[:SHOWN]:
        cells = "  ".join(f"{counts[name, column]:>6,}" for column in columns)
        lines.append(f"{repr(name)[1:-1]:<{width}}  {cells}")
    if len(totals) > SHOWN:
        lines.append(f"... and {counted(len(totals) - SHOWN, 'more class', 'more classes')}")
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
    if rule["rule"] == "random":
        head += f"; {TEST_FRACTION:.0%} of each class is drawn for test"
    singles = single_images(totals) if rule["rule"] == "random" else _unequal(counts, totals)
    return [f"{head}.", *lines, *singles]


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
