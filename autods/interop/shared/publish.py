"""Make a folder of feature sets that anyone can host.

Whatever is copied is hashed from the copy; the manifest is written when all its files are there.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autods.checks.features import verify_features
from autods.core.files import atomic, hash_file, held
from autods.core.progress import Progress
from autods.core.root import DataRoot
from autods.errors import AutodsError, StoreError, UsageError
from autods.features.sets import StoredFeatures, describe_features, open_features
from autods.interop.shared.manifest import (
    FOLDER,
    RECORD,
    SET_NAME,
    FeatureFile,
    SharedFeatures,
    SharedSet,
)
from autods.interop.shared.readme import write_readme
from autods.manifest.catalogue import Catalogue, load
from autods.manifest.schema import Manifest
from autods.streams.checks import check_current, differing_facts


@dataclass
class Outcome:
    """What publishing did.

    ``copied`` and ``kept`` count files by dataset; ``left_out`` has the licence of each dataset
    whose features may not be given on, ``failed`` what is wrong with the others.
    """

    manifest: Path | None = None
    copied: dict[str, int] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)  # bytes
    left_out: dict[str, str] = field(default_factory=dict)
    failed: dict[str, AutodsError] = field(default_factory=dict)


def publish(
    names: Sequence[str],
    root: DataRoot,
    encoder: str,
    folder: Path,
    *,
    name: str | None = None,
    catalogue: Catalogue,
    progress: Progress,
) -> Outcome:
    """Publish feature sets into a folder, beside what it holds already.

    ``name`` is that of the features manifest; default: the encoder's. A dataset whose manifest
    says that features must not be given on is left out. Running the same again completes what was
    ended, and gives the same bytes.

    A dataset whose features are absent, of another manifest or encoder, or damaged does not stop
    the others. Raises `UsageError` if no dataset is left.
    """
    name, outcome = name or encoder, Outcome()
    if not SET_NAME.fullmatch(name) or name == FOLDER:
        raise UsageError(
            f"name '{name}': expected letters, digits, '.', '_' and '-', and not '{FOLDER}'; "
            "nothing was published."
        )
    with held(folder / FOLDER / f"{name}.yaml", f"{folder}/{name}", progress.note):
        before = read_before(folder, name)
        sets = {} if before is None else {one.dataset: one for one in before.datasets}
        for dataset in names:
            manifest = _manifest(dataset, catalogue)
            target = folder / name / dataset
            if manifest is not None and manifest.share_features is False:
                outcome.left_out[dataset] = manifest.licence or "unknown"
                sets.pop(dataset, None)
                shutil.rmtree(target, ignore_errors=True)
                continue
            try:
                stored = _sound(root, encoder, dataset, catalogue)
                _check_same(before, stored, name, folder)
            except AutodsError as error:
                outcome.failed[dataset] = error
                continue
            files = _copy(root.features(encoder, dataset), stored, target, outcome)
            sets[dataset] = _described(stored, manifest, files)
            before = before or _first(name, stored, sets[dataset])
            progress.note(f"published {dataset}")
        if before is None or not sets:
            raise _nothing(outcome)
        ordered = [sets[dataset] for dataset in sorted(sets)]
        outcome.manifest = before.model_copy(update={"datasets": ordered}).write(folder)
        write_readme(folder)
    return outcome


def told_left_out(left_out: Mapping[str, str]) -> str:
    """Return a sentence about the datasets whose licences forbid it; empty if there is none."""
    if not left_out:
        return ""
    shown = ", ".join(f"{name} ({licence})" for name, licence in left_out.items())
    return (
        f"Left out, for their licences forbid giving features on: {shown}. If the owner permits it "
        "to you, copy the manifest, set 'share_features: true' there, and name its folder with "
        "--manifests."
    )


def read_before(folder: Path, name: str) -> SharedFeatures | None:
    """Return the features manifest that a published folder has already."""
    path = folder / FOLDER / f"{name}.yaml"
    return load(path, SharedFeatures) if path.exists() else None


def _manifest(dataset: str, catalogue: Catalogue) -> Manifest | None:
    return catalogue.dataset(dataset) if dataset in catalogue.datasets() else None


def _sound(root: DataRoot, encoder: str, dataset: str, catalogue: Catalogue) -> StoredFeatures:
    """Open features; refuse those that are damaged, or that no stream would use."""
    stored = open_features(root, encoder, dataset)
    check_current([stored], catalogue)
    if problems := verify_features(root, encoder, [dataset]):
        raise StoreError(
            "\n".join([*problems, f"{dataset}: nothing of it was published; what was is whole."])
        )
    return stored


def _check_same(
    before: SharedFeatures | None, stored: StoredFeatures, name: str, folder: Path
) -> None:
    """Refuse to mix encoders under one name."""
    if before is None:
        return
    one = {**before.provenance, "dimensions": before.dim, "encoder": before.encoder}
    two = {**stored.info.encoder, "dimensions": stored.dim, "encoder": stored.encoder}
    if differing := differing_facts(one, two):
        key = differing[0]
        raise UsageError(
            f"{folder / FOLDER / name}.yaml is of another encoder than the features of "
            f"'{stored.dataset}': {key} is {one.get(key)!s:.80} there and {two.get(key)!s:.80} "
            "here; it was not changed. Choose another --name or folder."
        )


def _copy(
    origin: Path, stored: StoredFeatures, target: Path, outcome: Outcome
) -> list[FeatureFile]:
    """Copy the files of one feature set; return their sizes and hashes, read from the copies."""
    shards = [shard.path.name for shard in stored.shards]
    texts = [f"text/{path.name}" for path in sorted(origin.glob("text/*.h5"))]
    files, copied = [], 0
    for name in [RECORD, *shards, *texts]:
        digest = hash_file(origin / name, "sha256")
        place = target / name
        if not place.is_file() or hash_file(place, "sha256") != digest:
            with atomic(place) as temporary:
                shutil.copyfile(origin / name, temporary)
                if hash_file(temporary, "sha256") != digest:
                    raise StoreError(
                        f"{place}: the copy has other bytes than {origin / name}; it was removed. "
                        "Check the disk, then run the same command again."
                    )
            copied += 1
        files.append(FeatureFile(name=name, size=place.stat().st_size, sha256=digest))
    for path in [*target.glob("*.h5"), *target.glob("text/*.h5")]:
        if path.relative_to(target).as_posix() not in {file.name for file in files}:
            path.unlink()  # of features that were published before these
    outcome.copied[stored.dataset] = copied
    outcome.kept[stored.dataset] = len(files) - copied
    outcome.sizes[stored.dataset] = sum(file.size for file in files)
    return files


def _described(
    stored: StoredFeatures, manifest: Manifest | None, files: list[FeatureFile]
) -> SharedSet:
    record = describe_features(stored)
    facts = {
        key: getattr(manifest, key, None) for key in ("title", "homepage", "citation", "licence")
    }
    return SharedSet(
        dataset=stored.dataset,
        **facts,
        fingerprint=record["fingerprint"],
        samples_sha256=record["samples_sha256"],
        splits=record["splits"],
        classes=record["classes"],
        files=files,
    )


def _first(name: str, stored: StoredFeatures, one: SharedSet) -> SharedFeatures:
    return SharedFeatures(
        name=name,
        encoder=stored.encoder,
        provenance=dict(stored.info.encoder),
        dim=stored.dim,
        datasets=[one],
    )


def _nothing(outcome: Outcome) -> AutodsError:
    if len(outcome.failed) == 1 and not outcome.left_out:
        (error,) = outcome.failed.values()
        return error
    lines = [f"{dataset}: {error}" for dataset, error in outcome.failed.items()]
    lines += [told_left_out(outcome.left_out)] if outcome.left_out else []
    return UsageError("\n".join(["no dataset is left to publish; nothing was written.", *lines]))
