"""From a stream's definition to its tasks: which classes of which dataset, in which order.

Nothing here knows where class names or samples come from: features, an index, a manifest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autods.core.registry import unknown
from autods.errors import UsageError
from autods.manifest.schema import StreamItem

Order = str | int | Sequence[str]

SHOWN = 6  # class numbers in the name of a task that nobody named


@dataclass(frozen=True, eq=False)
class Piece:
    """The classes of one dataset that make one task."""

    name: str
    shown: str  # name of the dataset, and of the label set unless it is the default one
    classes: npt.NDArray[np.int64]  # int64 [c], of the dataset, in the order of the task
    item: StreamItem  # the definition of this task alone
    source: int  # position, in the stream's definition, of the item that it is cut from


@dataclass(frozen=True)
class LabelSet:
    """What is known of the label set that an item of a stream names."""

    shown: str  # name of the dataset, and of the label set unless it is the default one
    classes: Sequence[str] | int  # their names in order, or their number alone

    @property
    def count(self) -> int:
        """Number of classes."""
        return self.classes if isinstance(self.classes, int) else len(self.classes)


def shown_name(item: StreamItem, default_task: str | None) -> str:
    """Return the name of a dataset, and of the label set unless it is the default one."""
    return item.dataset if item.task in (None, default_task) else f"{item.dataset}/{item.task}"


def plan_tasks(
    items: Sequence[StreamItem],
    label_sets: Sequence[LabelSet],
    order: Order,
    classes_per_task: int | None,
    max_tasks: int | None,
) -> list[Piece]:
    """Cut every item of a stream into its tasks; return the first ``max_tasks`` in order.

    ``classes_per_task`` is for items that say nothing of their own. Raises `UnknownName` for a
    class that a label set does not have, and `UsageError` when two tasks have one name or share
    a class, or the order does not name them all.
    """
    pieces = [
        piece
        for source, (item, label_set) in enumerate(zip(items, label_sets, strict=True))
        for piece in _cut(item, label_set, item.classes_per_task or classes_per_task, source)
    ]
    names = [piece.name for piece in pieces]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(
            f"task '{twice}' is in the stream twice; nothing was opened. Name every dataset "
            "once, or give its tasks different classes or names."
        )
    _check_disjoint(pieces)
    places = ordered(names, [piece.shown for piece in pieces], order)
    return [pieces[place] for place in places][:max_tasks]


def _cut(
    item: StreamItem, label_set: LabelSet, classes_per_task: int | None, source: int
) -> list[Piece]:
    """Cut one item into its tasks: as given, or of nearly equal numbers of classes."""
    count, shown = label_set.count, label_set.shown
    names = None if isinstance(label_set.classes, int) else label_set.classes
    everything = np.arange(count)
    if item.classes is not None:
        cuts = [_chosen(item, names or ())]
    else:
        size = classes_per_task if classes_per_task and item.name is None else max(1, count)
        cuts = np.array_split(everything, max(1, round(count / size)))
    pieces = []
    for classes in cuts:
        plain = f"{shown}{_numbers(classes, count)}"
        whole = np.array_equal(classes, everything)
        name = item.name or plain
        definition = StreamItem(
            dataset=item.dataset,
            task=None if shown == item.dataset else item.task,
            classes=None if whole or names is None else [names[c] for c in classes],
            name=None if name == plain else name,
        )
        pieces.append(Piece(name, shown, classes, definition, source))
    return pieces


def ordered(names: Sequence[str], datasets: Sequence[str], order: Order) -> list[int]:
    """Return the positions of a stream's tasks, all of different names, in the order wanted.

    ``paper``: as defined; an integer: permuted by that seed (PCG64); or names, where that of a
    dataset stands for all its tasks. Raises `UnknownName` or `UsageError` when a name is not one
    of the stream's, or not every task is named exactly once.
    """
    if isinstance(order, int) and order >= 0:
        generator = np.random.Generator(np.random.PCG64(order))
        return [int(i) for i in generator.permutation(len(names))]
    if order == "paper":
        return list(range(len(names)))
    if isinstance(order, str | int):
        raise UsageError(
            f"order: expected 'paper', a seed (0 or more) or a list of names, got '{order}'; "
            "nothing was opened. Correct --order."
        )
    chosen: list[int] = []
    for wanted in order:
        matching = [i for i, pair in enumerate(zip(names, datasets, strict=True)) if wanted in pair]
        if not matching:
            raise unknown("task in the order", wanted, {*names, *datasets})
        chosen.extend(matching)
    if sorted(chosen) != list(range(len(names))):
        left = [name for i, name in enumerate(names) if i not in chosen]
        what = f"it leaves out {', '.join(left[:5])}" if left else "it names a task twice"
        raise UsageError(f"order: expected every task exactly once; {what}. Correct --order.")
    return chosen


def _chosen(item: StreamItem, names: Sequence[str]) -> npt.NDArray[np.int64]:
    place = {name: number for number, name in enumerate(names)}
    for name in item.classes or ():
        if name not in place:
            raise unknown(f"class of dataset '{item.dataset}'", name, names)
    return np.array([place[name] for name in item.classes or ()], np.int64)


def _numbers(classes: npt.NDArray[np.int64], count: int) -> str:
    """Return what tells a task's classes within its dataset; nothing for all of them."""
    if np.array_equal(classes, np.arange(count)):
        return ""
    first, last = int(classes[0]), int(classes[-1])
    if np.array_equal(classes, np.arange(first, last + 1)):
        return f"[{first}:{last + 1}]"
    rest = [f"+{len(classes) - SHOWN}"] if len(classes) > SHOWN else []
    return f"[{','.join([*map(str, classes[:SHOWN]), *rest])}]"


def _check_disjoint(pieces: Iterable[Piece]) -> None:
    """Raise `UsageError` for a class that two tasks would give different numbers."""
    owner: dict[tuple[str, int], Piece] = {}
    for piece in pieces:
        for number in piece.classes.tolist():
            other = owner.setdefault((piece.shown, number), piece)
            if other is not piece:
                raise UsageError(
                    f"class '{_class_name(number, piece, other)}' of '{piece.shown}' is in "
                    f"the tasks '{other.name}' and '{piece.name}'; expected each class once; "
                    "nothing was opened. Take it out of one of them."
                )


def _class_name(number: int, *pieces: Piece) -> str:
    """Return the name of a class, or its number if no piece lists its classes."""
    for piece in pieces:
        if piece.item.classes is not None:
            return piece.item.classes[int(np.flatnonzero(piece.classes == number)[0])]
    return str(number)
