"""Runs whose numbers are not results: how they are recognised, marked, and kept out of tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autods.core.json_texts import parse_json
from autods.errors import AutodsError
from bmc.methods.base import Method
from bmc.train.data import Split, TaskTensors

# what computing with numbers that are not finite ends in, if it ends
ERRORS = (RuntimeError, ValueError, ArithmeticError, IndexError, np.linalg.LinAlgError)
_linalg: Any = torch.linalg  # whose stubs do not export the class
SINGULAR = (_linalg.LinAlgError, np.linalg.LinAlgError)
ROWS = 8192  # feature rows looked at at once
REPEATS = frozenset({"seed", "evaluate_every"})  # of the configuration: a repeat may differ in them


class RunDiverged(AutodsError):
    """The weights, statistics or scores of a run are no longer finite numbers.

    Its folder is marked, it has no results, and no table ranks it. Lower the learning rate, or
    mend the features, as the message says.
    """


def guarded(method: Method, group: Sequence[TaskTensors], compute: Callable[[], Any]) -> Any:
    """Return what ``compute`` returns; raise `RunDiverged` if it fails for numbers not finite.

    Without an error this costs nothing. Other errors are raised as they are.
    """
    begun = method.steps
    try:
        return compute()
    except ERRORS as error:
        what = "a system of equations that it solves became singular"
        if not isinstance(error, SINGULAR):
            bad = _named(method)
            if bad is None and _bad_features(method, group) is None:
                raise
            what = _words(bad)
        raise RunDiverged(_sentence(method, group, what, begun)) from error


def check_finite(
    method: Method, group: Sequence[TaskTensors], state: Mapping[str, Tensor], begun: int
) -> None:
    """Raise `RunDiverged` if the state after a group holds numbers that are not finite.

    One answer from the device for all tensors. ``begun`` is the number of updates before it.
    """
    if (bad := not_finite(state)) is not None:
        raise RunDiverged(_sentence(method, group, _words(bad), begun))


def scores_diverged(
    method: Method, tasks: Sequence[TaskTensors], group: Sequence[TaskTensors], begun: int
) -> RunDiverged:
    """Return the error of scores of ``tasks`` that are not finite after ``group`` was learned."""
    return RunDiverged(_sentence(method, group, "its scores are not finite", begun, tasks))


def not_finite(state: Mapping[str, Tensor]) -> str | None:
    """Return the name of the first tensor that holds NaN or infinity; ``None``: none does."""
    floating = {
        name: tensor for name, tensor in state.items()
        if tensor.is_floating_point() and tensor.numel()
    }  # fmt: skip
    if not floating:
        return None
    finite = torch.stack([tensor.isfinite().all() for tensor in floating.values()]).tolist()
    return next((name for name, good in zip(floating, finite, strict=True) if not good), None)


def _named(method: Method) -> str | None:
    try:
        return not_finite(method.state())
    except ERRORS:  # interrupted while learning, a method may have no whole state
        return None


def _words(bad: str | None) -> str:
    name = f" ({bad})" if bad else ""
    return f"its weights or statistics{name} are not finite"


def _sentence(
    method: Method,
    group: Sequence[TaskTensors],
    what: str,
    begun: int,
    measured: Sequence[TaskTensors] = (),
) -> str:
    """Say what happened, where, why as far as that is known, and what to do next."""
    first, last = group[0], group[-1]
    names = f"'{first.name}'" if first is last else f"'{first.name}' to '{last.name}'"
    number = f"task {first.index + 1}" if first is last else (
        f"tasks {first.index + 1} to {last.index + 1}")  # fmt: skip
    updates = ""
    if method.steps > begun:
        updates = f", between updates {begun + 1} and {method.steps}"
    elif method.reads("learning_rate"):
        updates = f", after update {begun}"
    where = f"while it learned {number} ({names}){updates}"
    cause = _bad_features(method, group) or _bad_features(method, measured, "test")
    if cause is not None:
        step = (
            f"{cause} Run `autods verify` on its dataset, and extract or import its features again."
        )
    elif method.reads("learning_rate"):
        step = (
            f"Its learning rate is {method.config.learning_rate:g}. Lower --learning-rate, or "
            "the options of the method that weigh its losses."
        )
    else:
        step = "Give it a stronger regulariser if it has one (`bmc-stream methods NAME` shows it)."
    return (
        f"{method.name} diverged: {what}, {where}. It has no results and no table ranks it. {step}"
    )


def _bad_features(
    method: Method, tasks: Sequence[TaskTensors], only: str | None = None
) -> str | None:
    """Say which task has feature rows that are not finite; ``None``: none has."""
    for task in tasks:
        for name in (only,) if only else ("train", "dev"):
            split: Split = getattr(task, name)
            bad = 0
            for start in range(0, len(split), ROWS):
                rows = split.features[start : start + ROWS]
                bad += int((~torch.isfinite(rows).all(dim=1)).sum())
            if bad:
                return (
                    f"{bad} of the {len(split)} {name} rows of task '{task.name}' hold features "
                    "that are not finite."
                )
    return None


def ranked(finished: Iterable[Path], diverged: Iterable[Path]) -> tuple[list[Path], list[str]]:
    """Return the finished runs that may be ranked, and a line about each setting that diverged.

    A setting of which one repeat (another order or seed) diverged is left out: the mean of the
    others would flatter it.
    """
    settings: dict[str, list[Path]] = {}
    for folder in diverged:
        settings.setdefault(_setting(folder), []).append(folder)
    kept: list[Path] = []
    others: dict[str, int] = dict.fromkeys(settings, 0)
    for folder in finished:
        setting = _setting(folder) if settings else ""
        if setting in settings:
            others[setting] += 1
        else:
            kept.append(folder)
    notes = []
    for setting, folders in settings.items():
        runs = len(folders) + others[setting]
        names = ", ".join(folder.name for folder in folders)
        notes.append(f"Not ranked: {len(folders)} of {runs} runs of one setting diverged, {names}.")
    return kept, notes


def _setting(folder: Path) -> str:
    """Return what repeats share: method, stream, scenario and configuration, as text."""
    try:
        identity = parse_json((folder / "config.json").read_text(encoding="utf-8"))
        config = {k: v for k, v in identity["config"].items() if k not in REPEATS}
        shared = [identity[key] for key in ("method", "stream", "scenario")]
        encoder = identity["provenance"].get("encoder_name")
    except (AttributeError, KeyError, OSError, TypeError, ValueError):
        return str(folder)  # a damaged run is like no other
    return json.dumps([*shared, encoder, config], sort_keys=True)
