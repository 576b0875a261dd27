"""Which samples go into which feature shard, and which existing shards are kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autods.core.root import DataRoot
from autods.core.splits import SPLITS
from autods.errors import FeatureMismatch
from autods.features.shards import CODES, SHARD_SPLITS, Shard
from autods.index.samples import SampleIndex

# Keys of the provenance; a finished set that differs in one of these is another set.
DECISIVE = ("weights_sha256", "preprocessing", "quick_gelu", "precision", "decoding")
BLOCK = 16_384  # rows made into Python objects at once


@dataclass(frozen=True, eq=False)
class ShardPlan:
    """The samples of one shard."""

    path: Path
    split: str
    index: int  # number of the shard within its split
    count: int  # shards of the split
    start: int  # position of its first sample within the split
    rows: npt.NDArray[np.int64]  # of the sample index, int64 [n], ascending

    @property
    def stop(self) -> int:
        """Position after its last sample within the split."""
        return self.start + len(self.rows)


def plan_shards(
    samples: SampleIndex, root: DataRoot, encoder: str, shard_size: int, all_tasks: bool = False
) -> list[ShardPlan]:
    """Cut every split of protocol clean into shards of ``shard_size`` samples, by sample id.

    Samples that clean leaves out and another protocol uses make the split ``extra``. With
    ``all_tasks``, so do images that only tasks other than the default one have.
    """
    plans = []
    members, labels = _members(samples), samples.labels()
    for split in SHARD_SPLITS:
        chosen = members[split] if all_tasks else members[split] & (labels >= 0)
        rows = np.flatnonzero(chosen).astype(np.int64)
        count = -(-len(rows) // shard_size)
        for index in range(count):
            start = index * shard_size
            path = root.shard(encoder, samples.dataset, split, index, count)
            part = rows[start : start + shard_size]
            plans.append(ShardPlan(path, split, index, count, start, part))
    return plans


def split_codes(samples: SampleIndex) -> dict[str, npt.NDArray[np.uint8]]:
    """Return protocol to uint8 [N], the `CODES` of all samples, for all protocols but clean."""
    codes = np.array([0, *(CODES[name] for name in SPLITS)], np.uint8)
    return {
        protocol: codes[samples.split_numbers(protocol) + 1]
        for protocol in samples.protocols
        if protocol != "clean"
    }


def digest_samples(samples: SampleIndex) -> str:
    """Return the sha256 of what features take from the sample index.

    These are the classes, and the path, splits and labels of every sample in the order of
    ids. Where and how the bytes lie in an archive is left out.
    """
    head = [samples.dataset, samples.default_task, samples.classes, samples.protocols, len(samples)]
    digest = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    for column in ["path", *(f"split_{protocol}" for protocol in samples.protocols)]:
        for number, part in enumerate(samples.table.select([column]).to_batches(BLOCK)):
            texts = "\0".join(part.column(0).to_pylist())  # of a part at once
            digest.update(f"\0{texts}".encode() if number else texts.encode())
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
    """Raise `FeatureMismatch` for a folder that holds shards of another extraction.

    Any shard that is not one of ``plans``, or was made with another encoder, manifest (its
    ``fingerprint``) or index, is one. ``found`` has the planned shards that exist.
    """
    names = {plan.path.name for plan in plans}
    strangers = sorted(p.name for p in folder.glob("*.h5") if p.name not in names)
    if strangers:
        known = f"{plans[0].path.name} to {plans[-1].path.name}" if plans else "none"
        raise _mismatch(folder, strangers[0], "shard", f"one of {known}", strangers[0])
    # A finished set is what it is, whatever device and versions made it; new shards must
    # be made exactly as those beside them.
    keys = provenance.keys() if len(found) < len(plans) else DECISIVE
    for plan in plans:
        if (shard := found.get(plan.path)) is None:
            continue
        info = shard.info
        pairs = [(f"encoder's {key}", provenance.get(key), info.encoder.get(key)) for key in keys]
        pairs.append(("manifest sha256", fingerprint, info.fingerprint))
        pairs.append(("sample index sha256", samples_sha256, info.samples_sha256))
        pairs.append(("rows", (plan.start, plan.stop), (info.start, info.stop)))
        for what, expected, got in pairs:
            if expected != got:
                raise _mismatch(folder, plan.path.name, what, expected, got)


def _members(samples: SampleIndex) -> dict[str, npt.NDArray[np.bool_]]:
    """Return shard split to bool [N]: which samples clean puts there, or leaves to others."""
    numbers = samples.split_numbers("clean")
    members = {name: numbers == number for number, name in enumerate(SPLITS)}
    used = np.zeros(len(samples), np.bool_)
    for codes in split_codes(samples).values():
        used |= codes > 0
    return {**members, "extra": used & (numbers < 0)}


def _mismatch(folder: Path, name: str, what: str, expected: object, got: object) -> FeatureMismatch:
    return FeatureMismatch(
        f"{folder / name} belongs to another extraction: expected {what} {expected}, got {got}; "
        f"nothing was changed. Move the folder {folder} away, or ask for what is in it."
    )
