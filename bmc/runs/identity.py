"""What determines the numbers of a run, and the name of its folder, which follows from that."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from autods.core.version import __version__
from autods.streams.stream import Stream
from bmc.config import Config
from bmc.methods import METHODS
from bmc.runs.grid import effective_step, group_size
from bmc.train.costs import MEGABYTE

FORMAT = 2
HASH_DIGITS = 8


def on_device(method: str, config: Config, device: torch.device) -> Config:
    """Return a configuration as it is carried out on a device, which is what a run records.

    By default TF32 rounds the products of a network in training, not those of closed forms,
    whose sums cancel. Updates are captured on CUDA alone.
    """
    trains = device.type == "cuda" and METHODS.get(method).reads("capture")
    precision = config.precision
    if precision == "auto":
        precision = "tf32" if trains else "float32"
    return replace(config, precision=precision, capture=config.capture and trains)


def effective(method: str, config: Config, stream: Stream) -> Config:
    """Return the configuration of a run: all options and the evaluation grid filled in.

    Plain features are not rescaled. A memory given in megabytes is counted in samples. What
    follows from the device, `on_device` fills in.
    """
    kind = METHODS.get(method)
    config, n_tasks = kind.configured(config), len(stream.tasks)
    if config.memory_mb and kind.reads("memory"):
        size = kind.sample_bytes(stream.dim, stream.n_classes, config)
        config = replace(config, memory=max(1, int(config.memory_mb * MEGABYTE / size)))
    step = effective_step(config.evaluate_every, group_size(method, config, n_tasks), n_tasks)
    config = replace(config, evaluate_every=step)
    return replace(config, feature_norm=1.0) if stream.normalize == "none" else config


def identity_of(
    stream: Stream, method: str, config: Config, device: torch.device
) -> dict[str, Any]:
    """Return all that determines a run's numbers, and the versions that computed them."""
    config = on_device(method, effective(method, config, stream), device)
    return {
        "format": FORMAT,
        "method": method,
        "scenario": stream.scenario,
        "stream": stream.name,
        "config": config.as_dict(),
        "provenance": stream.provenance,
        "device": device.type,
        "versions": {"autods": __version__, "bmc": __version__, "torch": torch.__version__},
    }


def without_versions(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return an identity without the versions of the software."""
    plain = {key: value for key, value in identity.items() if key != "versions"}
    provenance = plain.get("provenance")
    if isinstance(provenance, Mapping):
        plain["provenance"] = {k: v for k, v in provenance.items() if k != "version"}
    return plain


def run_name(label: str, identity: Mapping[str, Any], threads: int = 1) -> str:
    """Return the name of a run's folder: a label for people and a hash of what determines it.

    The last bits of sums depend on the number of threads, which counts if it is chosen.
    """
    determined = without_versions(identity) | ({"threads": threads} if threads != 1 else {})
    text = json.dumps(determined, sort_keys=True, default=str)
    return f"{label}-{hashlib.sha256(text.encode()).hexdigest()[:HASH_DIGITS]}"


def label_of(method: str, order: str | int, seed: int, *changes: str) -> str:
    """Return what people call a run: its method, settings worth naming, order and seed."""
    return "-".join([method, *changes, f"order-{order}", f"seed-{seed}"])
