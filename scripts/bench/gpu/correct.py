"""Correctness on a device: every method against the CPU, captured updates against eager ones.

Bounds are shares of the largest score. Trainings amplify the last bits of a sum, one method more
than another; so the bound between two devices is a multiple of what a change of the last bits does
to the same method on the CPU, measured here too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from gpu.compared import (
    CPU,
    DRAWN_ON_DEVICE,
    Way,
    agreement,
    bank_distance,
    distance,
    scores,
    stream,
    trained_names,
)  # fmt: skip
from gpu.findings import Findings
from torch import Tensor

from autods.streams.stream import Stream
from bmc.methods import METHODS

LAST_BITS = 1.3e-7  # by which the rows' length is changed: about one unit in the last place
AMPLIFIED, LEAST = 10.0, 1e-3  # the bound between devices: a multiple of the effect, at least this
SAME = 1e-3  # of one device: a library may choose another kernel for the same product
ROUNDED = {"tf32": 0.9, "bf16": 0.7}  # share of rows predicted as in float32, at least
TINY = ("bmc", "er", "slda")  # methods of a dry run
STREAMED = ("bmc", "er")  # whose captured updates are also given batches from the host


def bound(name: str, expected: Tensor, made: Stream) -> float:
    """Return how far scores of another device may be from those of the CPU."""
    changed = scores(name, Way(CPU, feature_norm=10.0 * (1 + LAST_BITS)), made)
    return max(LEAST, AMPLIFIED * distance(changed, expected))


def right(findings: Findings, device: torch.device, tiny: bool) -> None:
    """Compare every method; what is worth most is compared for all of them first."""
    made, kept = stream(), dict[tuple[str, Way], Tensor]()

    def of(name: str, way: Way) -> Tensor:
        """Return scores, computed once."""
        if (name, way) not in kept:
            kept[name, way] = scores(name, way, made)
        return kept[name, way]

    def against(name: str, way: Way, other: Way) -> float:
        return distance(of(name, way), of(name, other))

    names = TINY if tiny else METHODS.names()
    trained = [name for name in names if name in trained_names()]
    eager, noisy = Way(device), Way(device, dropout=0.3)
    for name in names:
        findings.measure(
            f"{name}: device beside CPU", partial(_beside_cpu, of, name, eager, made), most=1.0
        )
    for name in trained:
        captured = Way(device, dropout=0.3, capture=True)
        body = partial(against, name, captured, noisy)
        findings.measure(f"{name}: captured beside eager", body, most=SAME, needs=5)
    for name in names:
        body = partial(against, name, Way(device, on_host=True), eager)
        findings.measure(f"{name}: table on the host", body, most=SAME, needs=5)
    for name in STREAMED:
        way = Way(device, dropout=0.3, capture=True, on_host=True)
        body = partial(against, name, way, noisy)
        findings.measure(f"{name}: captured, table on the host", body, most=SAME, needs=5)
    for precision, least in ROUNDED.items():
        for name in trained:
            way = Way(device, precision=precision, capture=True)
            body = partial(lambda n, w: 1 - agreement(of(n, w), of(n, eager)), name, way)
            title = f"{name}: {precision}, rows predicted otherwise than in float32"
            findings.measure(title, body, most=1 - least, needs=5)


def _beside_cpu(of: Callable[[str, Way], Tensor], name: str, way: Way, made: Stream) -> float:
    """Return the distance from the CPU's scores, in bounds.

    Of methods that draw other numbers on CUDA, it is the share of rows predicted otherwise, in
    tenths.
    """
    expected, given = of(name, Way(CPU)), of(name, way)
    if name in DRAWN_ON_DEVICE:
        return round((1 - agreement(given, expected)) / 0.1, 4)
    return round(distance(given, expected) / bound(name, expected, made), 4)


def bank(findings: Findings, device: torch.device, tiny: bool) -> None:
    """Compare experts alone with experts in one program, from which copies leave on the way."""

    def far(**options: object) -> float:
        distant, equal = bank_distance(device, **options)
        if not equal:
            raise AssertionError("experts made other numbers of updates when stacked")
        return distant

    shared = {"precision": "float32"}
    for title, options in {
        "eager": {"capture": False},
        "captured": {"capture": True},
        "captured, early stopping": {"capture": True, "patience": 1, "epochs": 12},
    }.items():
        findings.measure(
            f"alone beside stacked, {title}", partial(far, **shared, **options), most=0.05
        )
