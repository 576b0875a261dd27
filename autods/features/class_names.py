"""Embedded class names beside the features, for zero-shot classification: write, read, check.

One HDF5 file per dataset and list of templates, ``text/<templates>.h5``. How class names
are embedded is in `autods.encode.class_names`; nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from autods.core.halves import EXPECTED, unfit_rows, worst
from autods.core.hdf5 import own_array
from autods.core.limited import call
from autods.core.registry import unknown
from autods.core.root import DataRoot
from autods.core.seals import CHANGED, BrokenSealError, is_whole
from autods.errors import AutodsError, FeatureMismatch, FeaturesMissing, StoreError
from autods.features.content import open_shards
from autods.features.shards import (
    SHARD_NAME,
    Shard,
    plain_values,
    read_values,
    write_hdf5,
)
from autods.features.templates import Templates

FORMAT = 1
UNIT = 5e-3  # how far from 1 the length of a row may be: float16 of a unit vector

Embeddings = npt.NDArray[np.float16]


@dataclass(frozen=True, eq=False)
class ClassTexts:
    """Embedded class names of one dataset."""

    dataset: str
    default_task: str
    class_names: Mapping[str, Sequence[str]]  # task name to its class names, as in the shards
    names: Mapping[str, Sequence[str]]  # task name to its class names, as in the prompts
    embeddings: dict[str, Embeddings]  # float16 [C, d]: normalised means of normalised prompts
    templates_name: str
    templates: Sequence[str]
    templates_sha256: str
    encoder: Mapping[str, Any]  # provenance of the encoder that embedded them


def load_text(
    root: DataRoot,
    encoder: str,
    dataset: str,
    task: str | None = None,
    templates: str = "default-v1",
) -> tuple[npt.NDArray[np.float32], list[str]]:
    """Load the embedded class names of one task (default: the dataset's default task).

    Return the embeddings float32 [C, d], of length 1 to the precision of float16, and the C class
    names; row c belongs to label c. Raises `FeaturesMissing` when they were not embedded (the
    message names the command that does it), `FeatureMismatch` when the features under the same
    name have other classes, and `StoreError` or `UnknownName` when the file is damaged or has no
    such task.
    """
    path = root.text(encoder, dataset, templates)
    if not path.is_file():
        raise FeaturesMissing(
            f"the class names of '{dataset}' were not embedded by '{encoder}' with templates "
            f"'{templates}' under {root.path}. Run `autods embed-classes {dataset} --templates "
            f"{templates}` with the --model and --pretrained of that encoder."
        )
    texts = read_texts(path)
    shard = first_shard(root, encoder, dataset)
    if shard is not None and not same_classes(texts.class_names, shard.info.class_names):
        raise FeatureMismatch(other_classes(path))
    task = task or texts.default_task
    if task not in texts.embeddings:
        raise unknown(f"task of dataset '{dataset}'", task, texts.embeddings)
    return texts.embeddings[task].astype(np.float32), list(texts.class_names[task])


def check_texts(root: DataRoot, encoder: str, dataset: str) -> Iterator[str]:
    """Yield what is wrong with the embedded class names beside one feature set."""
    for path in root.texts(encoder, dataset):
        try:
            texts = read_texts(path)
            shard = first_shard(root, encoder, dataset)
        except AutodsError as error:
            yield str(error)
            continue
        made = Templates(texts.templates_name, tuple(texts.templates))
        if path.stem != made.name or texts.dataset != dataset:
            yield f"{path}: it says it is {texts.dataset}, templates '{made.name}'."
        if made.sha256 != texts.templates_sha256:
            yield f"{path}: its templates do not have the hash {texts.templates_sha256[:12]}."
        if shard is not None and not same_classes(texts.class_names, shard.info.class_names):
            yield other_classes(path)
        for task, rows in texts.embeddings.items():
            lengths = np.linalg.norm(rows.astype(np.float32), axis=1)  # [C]
            if wrong := int((~(np.abs(lengths - 1) < UNIT)).sum()):
                yield f"{path}: {wrong} rows of task '{task}' are not of length 1."
            if len(rows) != len(texts.class_names[task]):
                yield f"{path}: task '{task}': {len(rows)} rows for its classes."
            if shard is not None and rows.shape[1] != shard.features.shape[1]:
                yield f"{path}: {rows.shape[1]} dimensions, the features have another width."


def read_texts(path: Path) -> ClassTexts:
    """Read one file; raise `StoreError` if it is absent, damaged, or of another format version."""
    try:
        if not is_whole(path):
            raise BrokenSealError(CHANGED)
        with path.open("rb") as handle:
            found: ClassTexts = call(f"{__name__}:texts_of", handle)
        return found
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{path}: cannot be read as embedded class names: {error}; it was not used and not "
            "changed. Delete this file and run `autods embed-classes` again."
        ) from None


def texts_of(handle: BinaryIO) -> ClassTexts:
    """Return the content of a file; for `autods.core.limited`."""
    import h5py

    with h5py.File(handle, "r") as file:
        if (version := int(file.attrs["format"])) != FORMAT:
            raise ValueError(f"format version {version}, expected {FORMAT}")
        record = read_values(file.attrs, ClassTexts, without="embeddings")
        made = ClassTexts(embeddings={}, **record)
        names = made.class_names
        if not isinstance(names, dict) or made.default_task not in names:
            raise ValueError("its class names are none of its label sets")
        for task, classes in names.items():
            array = own_array(file, f"embeddings/{task}")
            if array is None or array.dtype != np.float16 or array.ndim != 2:
                raise ValueError(f"it has no embeddings [C, d] of '{task}'")
            if len(array) != len(classes):
                raise ValueError(f"task '{task}': {len(array)} rows for its classes")
            made.embeddings[task] = array[()]
            if (told := _unfit(made.embeddings[task])) is not None:
                raise ValueError(f"task '{task}': {told}")
        return made


def write_texts(path: Path, texts: ClassTexts) -> None:
    """Write atomically; the same input gives the same bytes.

    Raises `ValueError` for rows that float16 does not hold.
    """
    for task, rows in texts.embeddings.items():
        if (told := _unfit(rows)) is not None:
            raise ValueError(f"embeddings of task '{task}': {told}")
    arrays = {f"embeddings/{task}": texts.embeddings[task] for task in sorted(texts.embeddings)}
    record = {name: value for name, value in vars(texts).items() if name != "embeddings"}
    write_hdf5(path, arrays, {**plain_values(record), "format": FORMAT})


def _unfit(rows: Embeddings) -> str | None:
    """Say which row float16 does not hold; ``None``: none."""
    if not (unfit := unfit_rows(rows)).any():
        return None
    row = int(unfit.argmax())
    return f"row {row}: expected {EXPECTED}, got {worst(rows[row])}"


def first_shard(root: DataRoot, encoder: str, dataset: str) -> Shard | None:
    """Return a shard of the feature set; all of them have the same classes and encoder."""
    found = sorted(p for p in root.features(encoder, dataset).glob("*.h5"))
    first = [path for path in found if SHARD_NAME.fullmatch(path.name)][:1]
    return next(iter(open_shards(first)), None)


def same_classes(one: Mapping[str, Sequence[str]], two: Mapping[str, Sequence[str]]) -> bool:
    """Tell whether two label sets have the same tasks with the same classes in the same order."""
    return {t: list(names) for t, names in one.items()} == {t: list(n) for t, n in two.items()}


def other_classes(path: Path) -> str:
    """Return the message for a file that does not fit the features."""
    return (
        f"{path}: its class names are not those of the features or index beside it; it was not "
        "used and not changed. Delete this file and run `autods embed-classes` again."
    )
