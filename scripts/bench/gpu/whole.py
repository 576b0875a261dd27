"""The whole Stream at its published size: one pass is measured, twenty are computed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest import mock

import torch
from gpu.findings import Findings, synchronise
from gpu.made import tasks_of

from autods.streams.synthetic_features import published_shape
from bmc.config import Config
from bmc.engines.base import use_precision
from bmc.methods import METHODS, config_for
from bmc.train.data import TaskTensors
from bmc.train.graph import Captured

PASSES = 20  # of the published runs
BY_PASSES = ("experts", "train")  # phases that take so many times as long; others: once a group
RUNS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "BMC, one group of 71": ("bmc", {"experts": 71}, {}),
    "fine-tuning": ("finetune", {}, {}),
    "BMC, groups of 16": ("bmc", {"experts": 16}, {}),
    "BMC, one group of 71, B = 1024": ("bmc", {"experts": 71}, {"batch_size": 1024}),
    "BMC, one group of 71, uncut": ("bmc", {"experts": 71, "expert_rows": 0}, {}),
}


def full(findings: Findings, device: torch.device, tiny: bool) -> None:
    """Measure BMC and fine-tuning on 6.77 million rows of 768 numbers, made on the device."""
    shapes, scale = published_shape().datasets[: 6 if tiny else None], 5e-5 if tiny else 1.0
    sizes = [max(70, int(scale * shape.train)) for shape in shapes]
    classes = [min(shape.classes, size // 4) for shape, size in zip(shapes, sizes, strict=True)]
    began = time.perf_counter()
    tasks = tasks_of(sizes, classes, 64 if tiny else 768, device)
    synchronise(device)
    findings.measure(
        "set", lambda: {"rows": sum(sizes), "s to make": round(time.perf_counter() - began, 2)}
    )
    for title, (name, own, shared) in RUNS.items():
        body = partial(one_pass, name, own, shared, tasks, device, findings)
        findings.measure(title, body, needs=15)
    findings.measure("beside fine-tuning", lambda: relative(findings.values))


def one_pass(
    name: str,
    own: dict[str, Any],
    shared: dict[str, Any],
    tasks: Sequence[TaskTensors],
    device: torch.device,
    findings: Findings,
) -> dict[str, Any]:
    """Learn all tasks in one pass; if time runs out, say how many, and compute nothing from it."""
    config = config_for(name, Config(epochs=1, **shared, **_fast(device)), {name: own})
    use_precision(config)
    method = METHODS.get(name)(tasks[0].train.features.shape[1], tasks[-1].stop, config, device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    first, began = 0, time.perf_counter()
    with timed_captures(device) as captures:
        for stop in method.group_ends(len(tasks)):
            method.learn(tasks[first:stop])
            first = stop
            if findings.left() < 5:
                break
    synchronise(device)
    seconds = time.perf_counter() - began
    phases = {phase: round(s, 3) for phase, s in method.watch.whole().items()}
    use_precision(Config(precision="float32"))
    row = {"tasks": first, "s of one pass": round(seconds, 2), "phases": phases}
    row |= {"updates": method.steps}
    if captures:
        row |= {"captures": len(captures), "s of captures": round(sum(captures), 2)}
    if device.type == "cuda":
        row["peak GiB of the device"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
    if first == len(tasks):
        many = sum(PASSES * s if phase in BY_PASSES else s for phase, s in phases.items())
        many -= (PASSES - 1) * sum(captures)  # of more passes there are no more captures
        row["minutes of 20 passes, computed"] = round(many / 60, 2)
    return row


@contextmanager
def timed_captures(device: torch.device) -> Iterator[list[float]]:
    """Note the seconds of each capture of an update, without those of what is queued before it."""
    seconds: list[float] = []
    plain = Captured.__init__

    def timed(captured: Captured, *arguments: Any) -> None:
        synchronise(device)
        began = time.perf_counter()
        plain(captured, *arguments)
        seconds.append(time.perf_counter() - began)

    with mock.patch.object(Captured, "__init__", timed):
        yield seconds


def _fast(device: torch.device) -> dict[str, Any]:
    cuda = device.type == "cuda"
    return {"capture": cuda, "precision": "tf32" if cuda else "float32"}


def relative(values: dict[str, Any]) -> dict[str, float]:
    """Return the computed minutes of 20 passes as a share of fine-tuning's."""
    key = "minutes of 20 passes, computed"
    minutes = {name: row[key] for name, row in values.items() if key in row}
    base = minutes.pop("fine-tuning", None)
    return {name: round(value / base, 3) for name, value in minutes.items()} if base else {}
