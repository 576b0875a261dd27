"""The order of a stream's tasks: as published, drawn from a seed, or given by name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autods.core.registry import unknown
from autods.errors import UsageError

Order = str | int | Sequence[str]


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
