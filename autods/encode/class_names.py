"""Embed class names: one text embedding per class, the mean over a list of prompts.

Class names are those of the feature shards, else of the sample index. The files, and how
they are loaded, are in `autods.features.class_names`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from autods.core.files import locked
from autods.core.halves import EXPECTED, unfit_rows, worst
from autods.core.progress import Progress, Silent
from autods.core.root import DataRoot
from autods.encode.encoders.interface import TextEncoder
from autods.errors import EncoderError, FeatureMismatch
from autods.features.class_names import (
    ClassTexts,
    Embeddings,
    first_shard,
    other_classes,
    read_texts,
    same_classes,
    write_texts,
)
from autods.features.shards import Shard
from autods.features.templates import Templates, readable_names
from autods.index.samples import load_samples

DECISIVE = ("weights_sha256", "quick_gelu", "precision")  # of the encoder's provenance
PROMPTS = 512  # given to the encoder at once


@dataclass(frozen=True)
class TextOutcome:
    """What `embed_classes` did."""

    dataset: str
    encoder: str
    action: str  # ``embedded`` or ``kept``
    classes: Mapping[str, int]  # task name to number of classes
    alike: Sequence[str]  # class names that read the same as another of their task


def embed_classes(
    dataset: str,
    root: DataRoot,
    encoder: object,
    templates: Templates,
    *,
    beside: str | None = None,
    readable: Mapping[str, Mapping[str, str]] | None = None,
    progress: Progress | None = None,
) -> TextOutcome:
    """Embed the class names of every label set of a dataset; finished ones are kept.

    ``beside`` names the features that the file is stored with, if not the encoder's own: imported
    features of the same model. ``readable`` has, for each task, how classes read in a sentence
    whose published names do not (`TaskSpec.readable` of the manifest).

    Raises `EncoderError` when the encoder is no `TextEncoder` or gives values that are not finite,
    `FeatureMismatch` when the features are of other weights or another width, or embeddings of
    other weights, templates, class names or readable names exist, and `IndexMissing` when the
    dataset has neither features nor a sample index.
    """
    progress = progress or Silent()
    if not isinstance(encoder, TextEncoder):
        raise EncoderError(
            f"encoder '{getattr(encoder, 'name', encoder)}' has no text side: expected an "
            "open_clip model; nothing was done."
        )
    folder = beside or encoder.name
    path = root.text(folder, dataset, templates.name)
    with locked(path):
        shard = first_shard(root, folder, dataset)
        if shard is not None:
            _check_features(shard, encoder, progress)
        default, classes = _classes(root, dataset, shard)
        given = readable or {}
        names = {task: readable_names(listed, given.get(task)) for task, listed in classes.items()}
        if path.exists():
            _check_same(path, read_texts(path), encoder, templates, classes, names)
            action = "kept"
        else:
            embeddings = _embed(dataset, names, encoder, templates, progress)
            texts = ClassTexts(
                dataset=dataset,
                default_task=default,
                class_names=classes,
                names=names,
                embeddings=embeddings,
                templates_name=templates.name,
                templates=templates.texts,
                templates_sha256=templates.sha256,
                encoder={**encoder.provenance, "name": encoder.name},
            )
            write_texts(path, texts)
            action = "embedded"
    alike = [f"{task}: {name}" for task, read in names.items() for name in _repeated(read)]
    counts = {task: len(listed) for task, listed in classes.items()}
    return TextOutcome(dataset, folder, action, counts, alike)


def _classes(
    root: DataRoot, dataset: str, shard: Shard | None
) -> tuple[str, Mapping[str, Sequence[str]]]:
    """Return the default task, and the class names of every task."""
    if shard is not None:
        return shard.info.default_task, shard.info.class_names
    index = load_samples(root, dataset)
    return index.default_task, index.classes


def _embed(
    dataset: str,
    names: Mapping[str, Sequence[str]],
    encoder: TextEncoder,
    templates: Templates,
    progress: Progress,
) -> dict[str, Embeddings]:
    """Embed every name once, whatever the number of tasks that use it."""
    every = sorted({name for read in names.values() for name in read})
    row = {name: i for i, name in enumerate(every)}
    at_once = max(1, PROMPTS // len(templates.texts))
    blocks = []
    progress.start(f"{dataset}: class names by {encoder.name}", len(every), "names")
    try:
        for start in range(0, len(every), at_once):
            chosen = every[start : start + at_once]
            prompts = [prompt for name in chosen for prompt in templates.prompts(name)]
            rows = encoder.encode_text(prompts)  # [names * templates, d]
            each = _unit(rows).reshape(len(chosen), len(templates.texts), -1)
            blocks.append(_unit(each.mean(axis=1)))  # [names, d]
            progress.advance(len(chosen))
    finally:
        progress.finish()
    unit = np.concatenate(blocks)
    if (unfit := unfit_rows(unit)).any():
        first = int(unfit.argmax())
        raise EncoderError(
            f"encoder {encoder.name} gave text embeddings that are not finite, or all zero: "
            f"class name '{every[first]}': expected {EXPECTED}, got {worst(unit[first])}; nothing "
            "was written. Check the weights, or use --precision fp32."
        )
    stored = unit.astype(np.float16)
    return {task: stored[[row[name] for name in read]] for task, read in names.items()}


def _unit(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Scale rows [n, d] to length 1."""
    with np.errstate(invalid="ignore", divide="ignore"):  # reported when they are stored
        unit: npt.NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def _check_features(shard: Shard, encoder: TextEncoder, progress: Progress) -> None:
    """Refuse to store embeddings beside features of another space."""
    theirs = shard.info.encoder.get("weights_sha256")
    ours = encoder.provenance.get("weights_sha256")
    width = int(shard.features.shape[1])
    if theirs not in (None, ours) or width != encoder.dim:
        raise FeatureMismatch(
            f"{shard.path.parent}: these features are not of encoder '{encoder.name}': expected "
            f"weights {ours} and {encoder.dim} dimensions, got {theirs or 'unknown weights'} and "
            f"{width}; nothing was embedded. Name their model and weights with --model and "
            "--pretrained."
        )
    if theirs is None:
        progress.note(
            f"NOTE: the features in {shard.path.parent} do not say which weights made them: the "
            f"embeddings of their class names are right only if it was '{encoder.name}'."
        )


def _check_same(
    path: Path,
    texts: ClassTexts,
    encoder: TextEncoder,
    templates: Templates,
    classes: Mapping[str, Sequence[str]],
    names: Mapping[str, Sequence[str]],
) -> None:
    """Raise `FeatureMismatch` unless a file holds what would be embedded."""
    if not same_classes(texts.class_names, classes):
        raise FeatureMismatch(other_classes(path))
    pairs = [(key, encoder.provenance.get(key), texts.encoder.get(key)) for key in DECISIVE]
    pairs.append(("sha256 of the templates", templates.sha256, texts.templates_sha256))
    pairs += [
        (f"names in prompts of {task}", _listed(names[task]), _listed(texts.names[task]))
        for task in names
    ]
    for what, expected, got in pairs:
        if expected != got:
            raise FeatureMismatch(
                f"{path}: was made otherwise: expected {what} {expected}, got {got}; it was not "
                "changed. Delete this file, or ask for what is in it."
            )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)


def _repeated(names: Sequence[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})
