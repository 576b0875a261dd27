"""From label keys to class numbers and from official splits to protocols.

One place for all layout families. Everything is a function of the samples in their
final order, so it does not depend on the machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autods.containers import Container
from autods.errors import LayoutError
from autods.layouts.base import RawSample
from autods.layouts.tables import TextFile, rows
from autods.manifest import ClassTable, Manifest, SplitRule, TaskSpec
from autods.splits import hold_out


@dataclass(frozen=True)
class TaskLabels:
    """Numbers of one task.

    Attributes
    ----------
    classes
        Class names; the position is the number.
    numbers
        int32 [n], one per sample; -1 where the sample has no label of this task.
    """

    classes: list[str]
    numbers: npt.NDArray[np.int32]


def number_labels(
    task: str,
    spec: TaskSpec,
    samples: Sequence[RawSample],
    containers: Mapping[str, Container],
) -> TaskLabels:
    """Give every sample its class number, by one list of classes for all splits.

    Without a list in the manifest the classes are those that occur: in sorted order of
    their names, or in the order of the rows of a `ClassTable`.

    Raises
    ------
    LayoutError
        For a label key that is not in the list or table; names the image.
    """
    keys = [sample.labels.get(task) for sample in samples]
    found = {key for key in keys if key is not None}
    if isinstance(spec.classes, ClassTable):
        table = _class_table(spec.classes, containers[spec.classes.file])
        order = [key for key in table if key in found]
        names = _distinct([table[key] for key in order], order)
    elif spec.classes is None:
        order = names = sorted(found)
    else:
        names = list(spec.classes)
        order = [str(i) for i in range(len(names))] if spec.keys == "index" else names
    number = {key: i for i, key in enumerate(order)}
    if strange := found - number.keys():
        sample = next(s for s in samples if s.labels.get(task) in strange)
        raise LayoutError(
            f"{sample.file}/{sample.member}: task '{task}': label '{sample.labels[task]}' is not "
            f"among the {len(names)} classes the manifest names ({', '.join(order[:5])}, ...); "
            "nothing was indexed. Correct 'classes' or 'labels' in the manifest."
        )
    return TaskLabels(names, np.array([-1 if k is None else number[k] for k in keys], np.int32))


def assign_splits(
    protocol: str,
    rule: SplitRule,
    official: Sequence[str | None],
    labels: npt.NDArray[np.int32],
) -> npt.NDArray[np.object_]:
    """Divide the samples by one protocol's rule.

    Parameters
    ----------
    official
        Split names as the layout gave them, one per sample.
    labels
        Class numbers of the default task, int32 [n]; samples with -1 are not used.

    Returns
    -------
    Array [n] of ``"train"``, ``"dev"``, ``"test"`` or ``""`` (not used).

    Raises
    ------
    LayoutError
        When the rule names an official split that no sample has.
    """
    splits = np.full(len(labels), "", dtype=object)
    labelled = labels >= 0
    if rule.rule == "official":
        _check_names(protocol, rule, official)
        given = np.array(["" if name is None else name for name in official], dtype=object)
        for split in ("train", "dev", "test"):
            splits[np.isin(given, getattr(rule, split)) & labelled] = split
    else:
        splits[labelled] = "train"
        # Every class is tested as long as it can spare a sample; dev may lack small ones.
        _move(splits, labels, "test", rule.test_fraction or 0.0, rule.seed, at_least=1)
    if not (rule.rule == "official" and rule.dev):
        _move(splits, labels, "dev", rule.dev_fraction, rule.seed)
    return splits


def needed_files(manifest: Manifest) -> list[str]:
    """Return the files that indexing opens: of the layout and of the class tables."""
    tables = [t.classes.file for t in manifest.tasks.values() if isinstance(t.classes, ClassTable)]
    return list(dict.fromkeys([*manifest.layout.files(), *tables]))


def _move(
    splits: npt.NDArray[np.object_],
    labels: npt.NDArray[np.int32],
    name: str,
    fraction: float,
    seed: int,
    at_least: int = 0,
) -> None:
    train = np.flatnonzero(splits == "train")
    splits[train[hold_out(labels[train], fraction, seed, at_least)]] = name


def _check_names(protocol: str, rule: SplitRule, official: Sequence[str | None]) -> None:
    found = set(official)
    for name in [*rule.train, *rule.dev, *rule.test]:
        if name not in found:
            known = ", ".join(sorted(f"'{split}'" for split in found if split is not None))
            raise LayoutError(
                f"splits: {protocol}: expected samples of the official split '{name}', got "
                f"splits {known or 'none at all'}; nothing was indexed. Correct the manifest."
            )


def _class_table(spec: ClassTable, container: Container) -> dict[str, str]:
    """Return key to class name in the order of the rows."""
    table = TextFile(file=spec.file, member=spec.member)
    names: dict[str, str] = {}
    for position, row in enumerate(rows(table, container, spec.delimiter, None)):
        if max(spec.key, spec.name) >= len(row.cells):
            raise LayoutError(
                f"{table.shown}: line {row.line}: expected columns {spec.key} and {spec.name} "
                f"(counted from 0), got {len(row.cells)} columns; nothing was indexed. Correct "
                "'classes' in the manifest."
            )
        if position == 0 and spec.header:
            continue
        key, name = row.cells[spec.key], row.cells[spec.name]
        if names.setdefault(key, name) != name:
            raise LayoutError(
                f"{table.shown}: line {row.line}: expected one class name for key '{key}', got "
                f"'{names[key]}' and '{name}'; nothing was indexed. Correct the manifest."
            )
    return names


def _distinct(names: list[str], keys: list[str]) -> list[str]:
    """Tell classes of the same name apart by their keys."""
    return [
        f"{name} ({key})" if names.count(name) > 1 else name
        for name, key in zip(names, keys, strict=True)
    ]
