"""Which samples go into which feature shard, and which shards may stay."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autods.errors import FeatureMismatch
from autods.root import DataRoot
from autods.samples import SampleIndex
from autods.store import CODES, SPLITS, Shard

DECISIVE = ("weights_sha256", "preprocessing", "quick_gelu", "precision")  # of the provenance


@dataclass(frozen=True, eq=False)
class ShardPlan:
    """The samples of one shard.

    Attributes
    ----------
    index, count
        Number of the shard, and of all shards of its split.
    start
        Place of its first sample within the split.
    rows
        Rows of the sample index, int64 [n], ascending.
    """

    path: Path
    split: str
    index: int
    count: int
    start: int
    rows: npt.NDArray[np.int64]

    @property
    def stop(self) -> int:
        """Place behind its last sample within the split."""
        return self.start + len(self.rows)


def plan_shards(
    samples: SampleIndex, root: DataRoot, encoder: str, shard_size: int, all_tasks: bool = False
) -> list[ShardPlan]:
    """Cut every split of protocol clean into shards of ``shard_size`` samples, by sample id.

    Samples that clean leaves out and another protocol uses make the split ``extra``.

    Parameters
    ----------
    all_tasks
        Also take images that have no label of the default task: those of tasks with images
        of their own.
    """
    plans = []
    for split in SPLITS:
        rows = _extra(samples) if split == "extra" else samples.rows(split)
        if not all_tasks:
            rows = rows[samples.labels()[rows] >= 0]
        count = -(-len(rows) // shard_size)
        for index in range(count):
            start = index * shard_size
            path = root.shard(encoder, samples.dataset, split, index, count)
            part = rows[start : start + shard_size]
            plans.append(ShardPlan(path, split, index, count, start, part))
    return plans


def split_codes(samples: SampleIndex) -> dict[str, npt.NDArray[np.uint8]]:
    """Return protocol to uint8 [N], the `CODES` of all samples, for all protocols but clean."""
    codes = {}
    for protocol in samples.protocols:
        if protocol != "clean":
            names = samples.splits(protocol)
            codes[protocol] = np.array([CODES.get(name, 0) for name in names], np.uint8)
    return codes


def digest_samples(samples: SampleIndex) -> str:
    """Return the sha256 of what features take from the sample index.

    These are the classes, and the path, splits and labels of every sample in the order of
    ids. Where and how the bytes lie in an archive is left out.
    """
    head = [samples.dataset, samples.default_task, samples.classes, samples.protocols, len(samples)]
    digest = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    for column in ["path", *(f"split_{protocol}" for protocol in samples.protocols)]:
        digest.update("\0".join(samples.table[column].to_pylist()).encode())
    for task in sorted(samples.classes):
        digest.update(samples.labels(task).astype("<i4").tobytes())
    return digest.hexdigest()


def check_kept(
    folder: Path,
    plans: Sequence[ShardPlan],
    found: Mapping[Path, Shard],
    provenance: Mapping[str, Any],
    fingerprint: str,
    samples_sha256: str,
) -> None:
    """Refuse a folder that holds shards of another extraction.

    Parameters
    ----------
    folder
        That of the feature set.
    found
        The planned shards that are there.
    provenance, fingerprint, samples_sha256
        Of the encoder, of the manifest, and of the sample index.

    Raises
    ------
    FeatureMismatch
        When any shard is not one of ``plans``, or was made with another encoder,
        manifest or index.
    """
    names = {plan.path.name for plan in plans}
    strangers = sorted(p.name for p in folder.glob("*.h5") if p.name not in names)
    if strangers:
        raise _mismatch(folder, strangers[0], "shard", f"one of {_range(plans)}", strangers[0])
    # A finished set is what it is, whatever device and versions made it; new shards must
    # be made exactly as those beside them.
    keys = provenance.keys() if len(found) < len(plans) else DECISIVE
    for plan in plans:
        if (shard := found.get(plan.path)) is None:
            continue
        info = shard.info
        pairs = [(f"encoder's {key}", provenance[key], info.encoder.get(key)) for key in keys]
        pairs.append(("manifest sha256", fingerprint, info.fingerprint))
        pairs.append(("sample index sha256", samples_sha256, info.samples_sha256))
        pairs.append(("rows", (plan.start, plan.stop), (info.start, info.stop)))
        for what, expected, got in pairs:
            if expected != got:
                raise _mismatch(folder, plan.path.name, what, expected, got)


def _extra(samples: SampleIndex) -> npt.NDArray[np.int64]:
    used = np.zeros(len(samples), dtype=np.bool_)
    for protocol in samples.protocols:
        if protocol != "clean":
            used |= samples.splits(protocol) != ""
    return np.flatnonzero(used & (samples.splits("clean") == "")).astype(np.int64)


def _range(plans: Sequence[ShardPlan]) -> str:
    return f"{plans[0].path.name} to {plans[-1].path.name}" if plans else "none"


def _mismatch(folder: Path, name: str, what: str, expected: object, got: object) -> FeatureMismatch:
    return FeatureMismatch(
        f"{folder / name} belongs to another extraction: expected {what} {expected}, got {got}; "
        f"nothing was changed. Move the folder {folder} away, or ask for what is in it."
    )
