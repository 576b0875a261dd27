"""From a stream's definition to its parts: which classes of which dataset make which task.

Nothing here knows where class names or samples come from: features, an index, a manifest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autods.core.registry import unknown
from autods.errors import UsageError
from autods.manifest.schema import StreamItem, StreamSpec

Order = str | int | Sequence[str]  # as published, drawn from a seed, or given by name
SHOWN = 6  # class numbers in the name of a task that nobody named


@dataclass(frozen=True, eq=False)
class Part:
    """One task before it has a place in the order.

    Attributes
    ----------
    shown
        Name of the dataset, and of the label set where it is not the default one.
    classes
        int64 [c], the dataset's own class numbers, in the order of the task.
    item
        The definition of this task alone.
    source
        Position of the item, in the stream's definition, that it is cut from.
    """

    name: str
    shown: str
    classes: npt.NDArray[np.int64]
    item: StreamItem
    source: int


def shown_name(item: StreamItem, default_task: str | None) -> str:
    """Return the name of a dataset, and of the label set where it is not the default one."""
    return item.dataset if item.task in (None, default_task) else f"{item.dataset}/{item.task}"


def cut(
    item: StreamItem,
    shown: str,
    names: Sequence[str] | int,
    classes_per_task: int | None,
    source: int = 0,
) -> list[Part]:
    """Cut one item into its tasks: as given, or of nearly equal numbers of classes.

    Parameters
    ----------
    names
        Class names of the label set in their order; their number alone where they are not
        known, which cannot resolve ``item.classes``.
    classes_per_task
        For an item that says nothing of its own.

    Raises
    ------
    UnknownName
        For a class that the label set does not have.
    """
    count = names if isinstance(names, int) else len(names)
    everything = np.arange(count)
    if item.classes is not None:
        known = [] if isinstance(names, int) else list(names)
        pieces = [_chosen(item, known)]
    else:
        wanted = item.classes_per_task or classes_per_task
        number = max(1, round(count / wanted)) if wanted and item.name is None else 1
        pieces = np.array_split(everything, number)
    parts = []
    for classes in pieces:
        plain = f"{shown}{_numbers(classes, count)}"
        whole = np.array_equal(classes, everything)
        listed = None if whole or isinstance(names, int) else [names[c] for c in classes]
        name = item.name or plain
        own = StreamItem(
            dataset=item.dataset,
            task=None if shown == item.dataset else item.task,
            classes=listed,
            name=None if name == plain else name,
        )
        parts.append(Part(name, shown, classes, own, source))
    return parts


def arrange(parts: Sequence[Part], spec: StreamSpec, order: Order) -> list[Part]:
    """Return the parts of a stream in the order wanted; ``paper`` is that of the definition.

    Raises
    ------
    UsageError
        When two tasks have one name or share a class, or the order does not name them all.
    """
    names = [part.name for part in parts]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(
            f"task '{twice}' stands twice in the stream; nothing was opened. Name every dataset "
            "once, or give its tasks different classes or names."
        )
    _check_disjoint(parts)
    wanted = spec.order if order == "paper" else order
    return [parts[i] for i in ordered(names, [part.shown for part in parts], wanted)]


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


def _check_disjoint(parts: Iterable[Part]) -> None:
    """Raise `UsageError` for a class that two tasks would give different numbers."""
    owner: dict[tuple[str, int], Part] = {}
    for part in parts:
        for number in part.classes.tolist():
            other = owner.setdefault((part.shown, number), part)
            if other is not part:
                raise UsageError(
                    f"class '{_class_name(number, part, other)}' of '{part.shown}' is in the tasks "
                    f"'{other.name}' and '{part.name}'; expected each class once; nothing was "
                    "opened. Take it out of one of them."
                )


def _class_name(number: int, *parts: Part) -> str:
    """Return the name of a class, its number where all parts are whole and list none."""
    for part in parts:
        if part.item.classes is not None:
            return part.item.classes[int(np.flatnonzero(part.classes == number)[0])]
    return str(number)


def ordered(names: Sequence[str], datasets: Sequence[str], order: Order) -> list[int]:
    """Return the positions of a stream's tasks in the order wanted.

    Parameters
    ----------
    names, datasets
        Of each task as the stream defines it: its own name, all different, and its dataset's.
    order
        ``paper``: as defined; an integer: permuted by that seed (PCG64); or names. The name of
        a dataset stands for all its tasks.

    Raises
    ------
    UnknownName, UsageError
        When a name is not one of the stream's, or not every task is named exactly once.
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
        found = [i for i, pair in enumerate(zip(names, datasets, strict=True)) if wanted in pair]
        if not found:
            raise unknown("task in the order", wanted, {*names, *datasets})
        chosen.extend(found)
    if sorted(chosen) != list(range(len(names))):
        left = [name for i, name in enumerate(names) if i not in chosen]
        what = f"it leaves out {', '.join(left[:5])}" if left else "it names a task twice"
        raise UsageError(f"order: expected every task exactly once; {what}. Correct --order.")
    return chosen
