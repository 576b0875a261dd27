"""After which tasks a run is measured: the same ones for all methods that are compared.

Methods learn groups of tasks of different sizes; forgetting and averages compare only if they
are taken over the same evaluations.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from bmc.config import Config
from bmc.methods import METHODS, Method


def group_size(method: str, config: Config, n_tasks: int) -> int:
    """Return how many of a stream's tasks a method learns at once under a configuration."""
    made = METHODS.get(method)
    if made.group_size is Method.group_size:
        return 1
    return made(1, 1, config, torch.device("cpu")).group_size(n_tasks)  # of the least size


def at_once(methods: Iterable[tuple[str, Config]], n_tasks: int) -> list[str]:
    """Return a line about each method, references aside, that learns several tasks as one group.

    ``methods`` are names and configurations.
    """
    found = {}
    for method, config in methods:
        made = METHODS.get(method)
        if n_tasks > 1 and not made.reference and group_size(method, config, n_tasks) >= n_tasks:
            cure = f" Give it fewer experts: -o {method}.experts=N."
            found[method] = (
                f"{made.title} learns all {n_tasks} tasks at once: nothing is learned after them, "
                f"so nothing can be forgotten.{cure if 'experts' in made.Options.names() else ''}"
            )
    return list(found.values())


def common_step(sizes: Iterable[tuple[int, int]]) -> int:
    """Return the step of the grid that several runs share, 0 if none of them prescribes one.

    ``sizes`` are group size and number of tasks of each. A group of all tasks, as of joint
    training, does not count: it would leave the last evaluation only.
    """
    return max((size for size, n_tasks in sizes if size < n_tasks), default=0)


def effective_step(every: int, size: int, n_tasks: int) -> int:
    """Return the step that is recorded, one for all that measure a run at the same points.

    Steps up to the group size measure each group, steps from the number of tasks on the last.
    """
    return min(max(every, size), n_tasks)


def measured_after(every: int, ends: Sequence[int]) -> list[int]:
    """Return after how many tasks a run is measured whose groups have these ends.

    That is at the first end of a group at or beyond each multiple of ``every``, and at the last.
    """
    return [
        end
        for before, end in zip([0, *ends], ends, strict=False)
        if end == ends[-1] or end // every > before // every
    ]
