"""What all imports of features share: names, widths, hashes, and what may stand already."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from autods.core.root import DataRoot
from autods.errors import FeatureMismatch, UsageError
from autods.features.content import open_shards
from autods.features.sets import list_features, open_features
from autods.features.shards import ShardInfo

ENCODER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class ImportOutcome:
    """Names of the feature sets that an import made or kept, and ``notes`` for the user."""

    imported: list[str]
    kept: list[str]
    notes: tuple[str, ...] = ()


def check_request(encoder: str, dev_fraction: float, seed: int) -> None:
    """Raise `UsageError` for an encoder's name or a held-out part that cannot be."""
    if not ENCODER_NAME.fullmatch(encoder):
        raise UsageError(
            f"encoder name '{encoder}': expected letters, digits, '.', '_' and '-'; nothing "
            "was imported. Choose a name such as mobilenetv2.imagenet."
        )
    if not 0 <= dev_fraction < 1 or seed < 0:
        raise UsageError(
            "expected 0 <= dev fraction < 1 and a seed from 0 on, got "
            f"{dev_fraction} and {seed}; nothing was imported."
        )


def import_info(
    name: str,
    encoder: str,
    class_names: Mapping[str, Sequence[str]],
    fingerprint: str,
    origin: Mapping[str, Any],
    **facts: str,
) -> ShardInfo:
    """Return what the shards of an import have in common; the first label set is the default.

    ``fingerprint`` and ``origin`` as in `is_current`; ``facts``: what else describes the encoder.
    """
    return ShardInfo(
        dataset=name,
        split="train",
        default_task=next(iter(class_names)),
        class_names=class_names,
        encoder={"model": encoder, "pretrained": None, "imported": True, **facts},
        fingerprint=fingerprint,
        samples_sha256="",
        start=0,
        stop=0,
        index=0,
        count=1,
        hashed="features",
        origin=origin,
    )


def present_width(root: DataRoot, encoder: str) -> int | None:
    """Return the width of the features that an encoder has under the root; ``None``: none yet."""
    for name in list_features(root, encoder):
        return open_features(root, encoder, name).dim
    return None


def is_current(
    root: DataRoot, encoder: str, name: str, fingerprint: str, origin: Mapping[str, Any]
) -> bool:
    """Tell whether this very import stands finished; refuse to overwrite anything else.

    ``fingerprint`` is the sha256 of what is imported, ``origin`` how it is imported. Raises
    `FeatureMismatch` if the folder holds a shard of anything else, `StoreError` if a shard is
    damaged or missing.
    """
    folder = root.features(encoder, name)
    for shard in open_shards(sorted(folder.glob("*.h5"))):
        if difference := _difference(shard.info, fingerprint, origin):
            raise FeatureMismatch(
                f"{shard.path}: holds other features of '{name}': {difference}; they "
                "were kept, this file was not imported. Move that folder away, or import under "
                "another encoder name."
            )
    finished = name in list_features(root, encoder)
    if finished:
        open_features(root, encoder, name)  # raises when a shard is missing
    return finished


def hash_rows(features: npt.NDArray[np.float16]) -> npt.NDArray[np.uint64]:
    """Return the content hash of every row of features [n, d]: uint64 [n]."""
    row_bytes = features.shape[1] * features.itemsize
    data = np.ascontiguousarray(features).tobytes()
    digests = b"".join(
        hashlib.blake2b(data[start : start + row_bytes], digest_size=8).digest()
        for start in range(0, len(data), row_bytes)
    )
    return np.frombuffer(digests, "<u8").astype(np.uint64)


def _difference(info: ShardInfo, fingerprint: str, origin: Mapping[str, Any]) -> str:
    """Say in what a shard is not of this import; empty if it is."""
    if info.hashed != "features":
        return "extracted from images"
    if info.fingerprint != fingerprint:
        return f"made of sha256 {info.fingerprint[:12]}, now {fingerprint[:12]}"
    changed = [key for key in origin if info.origin.get(key) != origin[key]]
    return ", ".join(f"{key} was {info.origin.get(key)}, now {origin[key]}" for key in changed)
