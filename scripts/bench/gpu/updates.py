"""How long an update takes, how many kernels it has, and how busy the device is meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from gpu.findings import Findings, synchronise
from gpu.made import tasks_of
from gpu.whole import timed_captures

from bmc.config import Config
from bmc.engines.base import use_precision
from bmc.engines.local import train_experts
from bmc.methods import METHODS, config_for
from bmc.train.data import TaskTensors

COPIES, BATCHES = (1, 2, 4, 8, 16, 32, 71), (256, 1024, 4096)
CLASSES = 40  # of a task: 2,866 / 71
PLAIN = {"capture": False, "precision": "float32"}
CAPTURED = [{"capture": True, "precision": kind} for kind in ("float32", "tf32", "bf16")]


@dataclass(frozen=True)
class Scale:
    """Sizes of the measurements: the real ones, or those of a dry run."""

    dim: int = 768
    updates: int = 1000
    copies: Sequence[int] = COPIES
    batches: Sequence[int] = BATCHES
    profiled: int = 64

    @classmethod
    def tiny(cls) -> Scale:
        """Return the sizes of a dry run."""
        return cls(dim=64, updates=4, copies=(1, 2), batches=(128,), profiled=2)


def steps(findings: Findings, device: torch.device, tiny: bool) -> None:
    """Measure microseconds per update, by experts, batch size, precision, captured and not."""
    scale = Scale.tiny() if tiny else Scale()
    count = max(scale.copies)
    # each expert makes as many updates as another one
    tasks = tasks_of([64 * scale.updates] * count, [CLASSES] * count, scale.dim, device)
    ways = [PLAIN, *CAPTURED] if device.type == "cuda" else [PLAIN]
    copies = {k: partial(experts, tasks[:k], device) for k in scale.copies}
    for name in ("finetune", "er"):
        for way in ways:
            _note(findings, name, way, partial(second_task, name, tasks, device))
    # first what decides the design: one and all experts, captured and not
    for k in sorted(copies, key=lambda k: (k not in (1, 16, count), k)):
        for way in ways:
            _note(findings, f"BMC's experts, K = {k}", way, copies[k])
    for batch in scale.batches:
        for k in (1, min(16, count)):
            for way in ways:
                body = partial(experts, tasks[:k], device, batch_size=batch)
                _note(findings, f"BMC's experts, K = {k}, B = {batch}", way, body)


def _note(findings: Findings, what: str, way: dict[str, Any], body: Callable[..., Any]) -> None:
    kind = f"{'captured' if way['capture'] else 'eager'}, {way['precision']}"
    findings.measure(f"{what}, {kind}: us per update", partial(body, **way), needs=5)


def experts(tasks: Sequence[TaskTensors], device: torch.device, **options: Any) -> float:
    """Return microseconds per update of experts in one program, without the time of their start.

    That is the difference of a training and one of half as many updates.
    """
    epochs = max(1, options.get("batch_size", 64) // 256)  # of large batches a pass has few
    config = config_for("bmc", Config(epochs=epochs, **options), {})
    use_precision(config)
    dim, n_classes = tasks[0].train.features.shape[1], tasks[-1].stop
    net = METHODS.get("bmc")(dim, n_classes, config, device).net  # type: ignore[attr-defined]  # BMC has one
    halves = tasks_with_rows(tasks, len(tasks[0].train) // 2)
    seconds, made = [], []
    train_experts(net, halves, config, stack=len(tasks))  # for warmth
    for group in (halves, tasks):
        synchronise(device)
        began = time.perf_counter()
        made.append(max(train_experts(net, group, config, stack=len(tasks))[1]))
        synchronise(device)
        seconds.append(time.perf_counter() - began)
    use_precision(Config(precision="float32"))
    return round(1e6 * (seconds[1] - seconds[0]) / (made[1] - made[0]), 1)


def tasks_with_rows(tasks: Sequence[TaskTensors], rows: int) -> list[TaskTensors]:
    """Return the tasks with their first training rows only."""
    from gpu.compared import cut_to

    return [cut_to(task, rows) for task in tasks]


def second_task(
    name: str, tasks: Sequence[TaskTensors], device: torch.device, **options: Any
) -> float:
    """Return microseconds per update of a method that trains one network on its second task.

    Without the time of captures.
    """
    config = config_for(name, Config(epochs=1, **options), {})
    use_precision(config)
    method = METHODS.get(name)(tasks[0].train.features.shape[1], tasks[-1].stop, config, device)
    method.learn(tasks[:1])
    synchronise(device)
    before, began = method.steps, time.perf_counter()
    with timed_captures(device) as captures:
        method.learn(tasks[1:2])
    synchronise(device)
    seconds = time.perf_counter() - began - sum(captures)
    use_precision(Config(precision="float32"))
    return round(1e6 * seconds / (method.steps - before), 1)


def kernels(findings: Findings, device: torch.device, tiny: bool) -> None:
    """Count kernels and copies of an update, and the share of the time that the device works."""
    scale = Scale.tiny() if tiny else Scale()
    count = min(16, max(scale.copies))
    tasks = tasks_of([64 * scale.profiled] * count, [CLASSES] * count, scale.dim, device)
    for k in (1, count):
        for capture in (False, True) if device.type == "cuda" else (False,):
            name = f"K = {k}, {'captured' if capture else 'eager'}"
            findings.measure(name, partial(profiled, tasks[:k], device, capture), needs=3)


def profiled(tasks: Sequence[TaskTensors], device: torch.device, capture: bool) -> dict[str, Any]:
    """Return launches and microseconds of one update, from torch's profiler."""
    from torch.profiler import ProfilerActivity, profile

    config = config_for("bmc", Config(epochs=2, capture=capture, precision="float32"), {})
    dim, n_classes = tasks[0].train.features.shape[1], tasks[-1].stop
    net = METHODS.get("bmc")(dim, n_classes, config, device).net  # type: ignore[attr-defined]  # BMC has one
    train_experts(net, tasks, config, stack=len(tasks))
    synchronise(device)
    on_cuda = device.type == "cuda"
    watched = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_cuda else [])]
    with profile(activities=watched) as profiler:
        began = time.perf_counter()
        made = max(train_experts(net, tasks, config, stack=len(tasks))[1])
        synchronise(device)
        wall = time.perf_counter() - began
    here = [e for e in profiler.events() if e.device_type.name == ("CUDA" if on_cuda else "CPU")]
    if not on_cuda:
        return {"updates": made, "operations per update": round(len(here) / made, 1)}
    busy = sum(event.device_time for event in here)
    return {
        "updates": made,
        "kernels and copies per update": round(len(here) / made, 1),
        "us of the device per update": round(busy / made, 1),
        "us of wall time per update, profiled": round(1e6 * wall / made, 1),
        "share of the wall time that the device works": round(busy / (1e6 * wall), 3),
    }
