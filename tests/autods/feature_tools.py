"""Feature sets of made-up arrays, written as an import would."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from shard_tools import shard_info

from autods.core.root import DataRoot
from autods.features.sets import StoredFeatures, seal_features
from autods.features.shards import ShardData, write_shard


def write_set(
    root: DataRoot,
    name: str,
    splits: Mapping[str, tuple[npt.ArrayLike, Sequence[int]]],
    *,
    encoder: str = "tiny.a",
    classes: Sequence[str] = ("a", "b"),
    hashes: Mapping[str, Sequence[int]] | None = None,
    samples: Mapping[str, Sequence[int]] | None = None,
    samples_sha256: str = "",
    provenance: Mapping[str, Any] | None = None,
) -> StoredFeatures:
    """Write a finished feature set: split to features [n, d] and labels [n].

    With ``samples`` [n] and the digest of the index, the rows are those of an index.
    """
    start = 0
    for split, (features, labels) in splits.items():
        n = len(labels)
        sample = np.asarray((samples or {}).get(split, np.arange(start, start + n)), np.int64)
        content = (hashes or {}).get(split, sample + 1000)
        info = shard_info(
            n, {"class": list(classes)}, dataset=name, split=split,
            samples_sha256=samples_sha256, encoder=provenance or {"model": "tiny"},
            hashed="image" if samples else "features",
        )  # fmt: skip
        data = ShardData(
            np.asarray(features, np.float16), {"class": np.asarray(labels, np.int32)}, sample,
            np.asarray(content, np.uint64),
        )  # fmt: skip
        write_shard(root.shard(encoder, name, split, 0, 1), data, info)
        start += n
    return seal_features(root, encoder, name)


def features_of_index(
    root: DataRoot, name: str, features: npt.ArrayLike, encoder: str = "tiny.a"
) -> StoredFeatures:
    """Write features [n, d] of all samples of an index, as extraction does."""
    from autods.encode.plan import digest_samples
    from autods.index.samples import load_samples

    index = load_samples(root, name)
    labels, x = index.labels(), np.asarray(features)
    rows = {split: index.rows(split) for split in ("train", "dev", "test")}
    rows = {split: of for split, of in rows.items() if len(of)}
    return write_set(
        root, name, {split: (x[of], labels[of].tolist()) for split, of in rows.items()},
        encoder=encoder, classes=index.classes[index.default_task],
        hashes={split: (of + 1).tolist() for split, of in rows.items()},
        samples={split: of.tolist() for split, of in rows.items()},
        samples_sha256=digest_samples(index),
    )  # fmt: skip
