"""From label keys to class numbers and from official splits to protocols, for all families.

Everything is a function of the samples in their final order, so the machine does not matter.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from unicodedata import normalize

import numpy as np
import numpy.typing as npt

from autods.containers import Container
from autods.core.patterns import Pattern
from autods.core.splits import SPLITS
from autods.errors import LayoutError
from autods.index.splits import hold_out, hold_out_groups
from autods.layouts.base import RawSample
from autods.layouts.tables import TextFile, rows
from autods.manifest.schema import ClassTable, Manifest, SplitRule, TaskSpec

WHOLE = re.compile(r"[+-]?[0-9]+")


@dataclass(frozen=True)
class TaskLabels:
    """Class names of one task, and the number of each sample."""

    classes: list[str]  # the position is the number
    numbers: npt.NDArray[np.int32]  # [n]; -1: no label of this task


def number_labels(
    task: str,
    spec: TaskSpec,
    samples: Sequence[RawSample],
    containers: Mapping[str, Container],
) -> TaskLabels:
    """Give every sample its class number, by one list of classes for all splits.

    Without a list in the manifest the classes are those that occur: in sorted order of
    their names, as numbers if they are, or in the order of a `ClassTable`. Names in another
    form of Unicode are the same. `LayoutError` names the image whose label is unknown.
    """
    keys = [sample.labels.get(task) for sample in samples]
    composed = {key: _composed(key) for key in set(keys) if key is not None}
    names, numbers = _numbering(spec, set(composed.values()), containers)
    number = {key: numbers.get(form, -1) for key, form in composed.items()}
    if strange := {key for key, value in number.items() if value < 0}:
        sample = next(s for s in samples if s.labels.get(task) in strange)
        raise LayoutError.at(
            f"{sample.file}/{sample.member}: task '{task}'",
            f"one of {len(numbers)} labels of the manifest ({', '.join(list(numbers)[:5])}, ...)",
            f"label '{sample.labels[task]}'",
            step="Correct 'classes', 'keys' or 'labels' in the manifest.",
        )
    return TaskLabels(names, np.array([-1 if k is None else number[k] for k in keys], np.int32))


def _numbering(
    spec: TaskSpec, found: set[str], containers: Mapping[str, Container]
) -> tuple[list[str], dict[str, int]]:
    """Return the class names in order, and label key to class number."""
    if isinstance(spec.classes, ClassTable):
        table = class_table(spec.classes, containers[spec.classes.file])
        order = [key for key in table if key in found]
        order = _sorted_numbers(order) or order
        names = _distinct([table[key] for key in order], order)
        return names, {key: i for i, key in enumerate(order)}
    given = [_composed(name) for name in spec.names() or _sorted_numbers(found) or sorted(found)]
    if isinstance(spec.keys, dict):
        of_name = {name: i for i, name in enumerate(given)}
        return given, {_composed(k): of_name[_composed(name)] for k, name in spec.keys.items()}
    keys = [str(i) for i in range(len(given))] if spec.keys == "index" else given
    return given, {key: i for i, key in enumerate(keys)}


def _sorted_numbers(keys: Collection[str]) -> list[str]:
    """Return label keys in the order of their numbers; empty if one is not a whole number."""
    if not all(WHOLE.fullmatch(key) for key in keys):
        return []
    return sorted(keys, key=lambda key: (int(key), key))


def _composed(text: str) -> str:
    """Return a name in one form of Unicode: archives packed on macOS use another than lists."""
    return normalize("NFC", text)


def strata(
    default: str, tasks: Mapping[str, TaskLabels]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return what splits are stratified by: class numbers and their tasks, both int32 [n].

    The class is that of the default task; if a sample has none (it belongs to a task with
    images of its own), that of the first task that labels it; -1: no label. Each task's images
    are divided on their own, so the split of one does not depend on the others.
    """
    names = [default, *(name for name in tasks if name != default)]
    numbers = np.full(len(tasks[default].numbers), -1, np.int32)
    owners = np.zeros_like(numbers)
    for owner, name in enumerate(names):
        mine = (numbers < 0) & (tasks[name].numbers >= 0)
        numbers[mine], owners[mine] = tasks[name].numbers[mine], owner
    return numbers, owners


def group_numbers(samples: Sequence[RawSample]) -> npt.NDArray[np.int64]:
    """Return the number of each sample's group, int64 [n]; without one, a sample is its own."""
    known: dict[str, int] = {}
    return np.array(
        [
            -1 - position if s.group is None else known.setdefault(s.group, len(known))
            for position, s in enumerate(samples)
        ],
        np.int64,
    )


def assign_splits(
    protocol: str,
    rule: SplitRule,
    official: Sequence[str | None],
    labels: npt.NDArray[np.int32],
    owners: npt.NDArray[np.int32],
    groups: npt.NDArray[np.int64],
) -> npt.NDArray[np.object_]:
    """Divide the samples by one protocol's rule: [n] of a name of `SPLITS`, or ``""`` (not used).

    ``official`` are the split names of the layout, [n]; ``labels`` and ``owners`` are what is
    stratified by, int32 [n], see `strata` (-1: not used); ``groups`` int64 [n] for rules with
    ``grouped``. `LayoutError` if the rule names an official split that no sample has.
    """
    splits = np.full(len(labels), "", dtype=object)
    labelled = labels >= 0

    def move(name: str, fraction: float, at_least: int = 0) -> None:
        for owner in np.unique(owners[splits == "train"]):
            train = np.flatnonzero((splits == "train") & (owners == owner))
            if rule.grouped:
                mask = hold_out_groups(labels[train], groups[train], fraction, rule.seed, at_least)
            else:
                mask = hold_out(labels[train], fraction, rule.seed, at_least)
            splits[train[mask]] = name

    if rule.rule == "official":
        _check_names(protocol, rule, official)
        given = np.array(["" if name is None else name for name in official], dtype=object)
        for split in SPLITS:
            splits[np.isin(given, getattr(rule, split)) & labelled] = split
        if rule.grouped:
            tested = np.isin(groups, groups[splits == "test"])
            splits[tested & (splits != "test")] = ""
    else:
        splits[labelled] = "train"
        # Every class is tested as long as it can spare a sample; dev may lack small ones.
        move("test", rule.test_fraction or 0.0, at_least=1)
    if not (rule.rule == "official" and rule.dev):
        move("dev", rule.dev_fraction)
    return splits


def needed_files(manifest: Manifest) -> list[str]:
    """Return the files that indexing opens: of the layout and of the class tables."""
    tables = [t.classes.file for t in manifest.tasks.values() if isinstance(t.classes, ClassTable)]
    return list(dict.fromkeys([*manifest.layout.files(), *tables]))


def _check_names(protocol: str, rule: SplitRule, official: Sequence[str | None]) -> None:
    found = set(official)
    for name in [*rule.train, *rule.dev, *rule.test]:
        if name not in found:
            known = ", ".join(sorted(f"'{split}'" for split in found if split is not None))
            expected, got = f"samples of the official split '{name}'", known or "none at all"
            raise LayoutError.at(f"splits: {protocol}", expected, got, "splits")


def class_table(spec: ClassTable, container: Container) -> dict[str, str]:
    """Return label key to class name in the order of the rows.

    `LayoutError` names file and line.
    """
    table = TextFile(file=spec.file, member=spec.member)
    if spec.variable is not None:
        from autods.containers.array_files import read_names

        listed = read_names(table.data(container), table.shown, spec.variable, spec.format)
        return {str(key): _composed(name) for key, name in enumerate(listed, start=spec.first)}
    names: dict[str, str] = {}
    width = max(spec.key, spec.name) + 1
    pattern = Pattern(spec.take or "{name}")
    found = rows(table, container, spec.delimiter, width if spec.delimiter is None else None)
    for position, row in enumerate(found):
        if width > len(row.cells):
            expected = f"columns {spec.key} and {spec.name} (counted from 0)"
            got = f"{len(row.cells)} columns"
            raise LayoutError.at(table.at(row.line), expected, got, "classes")
        if position == 0 and spec.header:
            continue
        key = _composed(_shifted(row.cells[spec.key], spec, table, row.line))
        name = _composed(_taken(row.cells[spec.name], pattern, spec, table, row.line))
        if names.setdefault(key, name) != name:
            expected, got = f"one class name for key '{key}'", f"'{names[key]}' and '{name}'"
            raise LayoutError.at(table.at(row.line), expected, got, "classes")
    return names


def _shifted(key: str, spec: ClassTable, table: TextFile, line: int) -> str:
    if not spec.key_offset:
        return key
    if not key.isdecimal():
        raise LayoutError.at(table.at(line), "a number as key", f"'{key}'", "classes")
    return str(int(key) + spec.key_offset)


def _taken(cell: str, pattern: Pattern, spec: ClassTable, table: TextFile, line: int) -> str:
    if spec.take is None:
        return cell
    if (values := pattern.match(cell)) is None:
        raise LayoutError.at(table.at(line), f"a match of '{spec.take}'", f"'{cell}'", "take")
    return values["name"]


def _distinct(names: list[str], keys: list[str]) -> list[str]:
    """Make equal class names distinct by appending their keys."""
    times = Counter(names)
    return [
        f"{name} ({key})" if times[name] > 1 else name
        for name, key in zip(names, keys, strict=True)
    ]
