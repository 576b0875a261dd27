"""What must hold of stored features and tasks before they are opened as a stream."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from autods.core.root import DataRoot
from autods.errors import FeatureMismatch, FeaturesMissing, UsageError
from autods.features.sets import StoredFeatures, list_features
from autods.manifest.catalogue import Catalogue
from autods.manifest.schema import StreamSpec
from autods.streams.stream import Task

# Of an encoder's provenance: may differ from dataset to dataset of a stream, for they change
# last bits and not the meaning. Within one dataset they agree.
INFORMATIONAL = frozenset(
    {"batch_size", "device", "open_clip", "pillow", "timm", "torch", "torchvision"}
)


def differing_facts(one: Mapping[str, Any], two: Mapping[str, Any]) -> list[str]:
    """Return the facts of two encoders' provenances that features depend on and that differ."""
    keys = (one.keys() | two.keys()) - INFORMATIONAL
    return sorted(key for key in keys if one.get(key) != two.get(key))


def check_present(spec: StreamSpec, root: DataRoot, encoder: str) -> None:
    """Raise `FeaturesMissing` when several datasets lack features; name all of them at once."""
    here = set(list_features(root, encoder))
    names = list(dict.fromkeys(item.dataset for item in spec.datasets))
    missing = [name for name in names if name not in here]
    if len(missing) > 1:  # `open_features` reports a single one with its state
        found = [name for name in names if name in here]
        part = f"--stream {','.join(found[:3])}{',...' if len(found) > 3 else ''}"
        raise FeaturesMissing(
            f"stream '{spec.name}': expected finished features by '{encoder}' of all "
            f"{len(names)} datasets, {len(missing)} have none under {root.path}: "
            f"{', '.join(missing)}; nothing was opened. Extract or import them"
            + (f", or name those that are here: {part}." if found else ".")
        )


def check_current(features: Iterable[StoredFeatures], catalogue: Catalogue) -> None:
    """Raise `FeatureMismatch` for features of images whose manifest has changed since."""
    for stored in features:
        info, name = stored.info, stored.dataset
        if info.hashed != "image" or name not in catalogue.datasets():
            continue
        today = catalogue.dataset(name).fingerprint()
        if info.fingerprint != today:
            raise FeatureMismatch(
                f"features of '{name}' by '{stored.encoder}' were made from manifest "
                f"{info.fingerprint[:12]}, {catalogue.path(name)} is now {today[:12]}; nothing "
                f"was opened. Move the folder {stored.shards[0].path.parent} away and run `autods "
                f"index {name}` and `autods extract {name}` again, or name the folder of the "
                "manifest they were made from with --manifests."
            )


def check_one_encoder(features: Sequence[StoredFeatures]) -> None:
    """Raise `FeatureMismatch` for features of different encoders in one stream."""
    first = features[0]
    for other in features[1:]:
        one = {**first.info.encoder, "dimensions": first.dim}
        two = {**other.info.encoder, "dimensions": other.dim}
        if differing := differing_facts(one, two):
            key = differing[0]
            raise FeatureMismatch(
                f"features of '{first.dataset}' and '{other.dataset}' by '{first.encoder}' are "
                f"not of one encoder: {key} is {one.get(key)!s:.80} and {two.get(key)!s:.80}; "
                "nothing was opened. Extract one of the two again, or leave it out."
            )


def check_protocol(features: Iterable[StoredFeatures], protocol: str) -> None:
    """Raise `UsageError` where a protocol other than clean does not divide a dataset."""
    names = [
        f"'{stored.dataset}'"
        for stored in features
        if protocol != "clean" and not all(protocol in shard.splits for shard in stored.shards)
    ]
    if names:
        raise UsageError(
            f"there are no splits of {', '.join(names)} for protocol '{protocol}': expected a "
            "rule in the manifest they were extracted by; nothing was opened. Use protocol "
            "clean, or leave them out."
        )


def check_filled(tasks: Iterable[Task]) -> None:
    """Raise `UsageError` for a task with nothing to learn from or nothing to be tested on."""
    for task in tasks:
        for split, part in (("train", task.train), ("test", task.test)):
            if not len(part):
                raise UsageError(
                    f"task '{task.name}' has no sample in its {split} split; nothing was opened. "
                    f"Correct the splits in the manifest of '{task.dataset}', or leave it out; "
                    f"if its images are of another label set than the default one, extract them "
                    "with --all-tasks."
                )
