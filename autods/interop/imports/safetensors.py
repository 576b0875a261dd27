"""``NAME.safetensors``: ``features`` [n, d], ``labels`` [n], perhaps ``split`` [n].

Class names are in the metadata as ``class_names`` (a JSON list) or beside it in ``NAME.json``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from autods.core.json_texts import parse_json
from autods.core.splits import SPLITS
from autods.errors import ContainerError
from autods.interop.imports.base import (
    ROWS,
    Array,
    Reader,
    Table,
    float_type,
    numbered,
    wrong,
)


def open_safetensors(path: Path) -> Table:
    """Open a file; features are read block by block from where they lie."""
    from safetensors import SafetensorError, safe_open

    try:
        file: Any = safe_open(path, framework="pt")
        keys = set(file.keys())
        for key in ("features", "labels"):
            if key not in keys:
                raise wrong(path, key, "this tensor", f"only {', '.join(sorted(keys)) or 'none'}")
        stored = file.get_slice("features")
        labels = file.get_tensor("labels").numpy()
        splits = file.get_tensor("split").numpy() if "split" in keys else None
    except (OSError, SafetensorError) as error:
        raise ContainerError(
            f"{path}: cannot be read as safetensors: {error}; it was not imported. Save it again."
        ) from None
    shape = tuple(stored.get_shape())
    if len(shape) != 2 or 0 in shape:
        raise wrong(path, "features", "[n, d]", shape)
    kind = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}
    notes = float_type(path, "features", kind.get(stored.get_dtype(), stored.get_dtype()))
    for key, array in (("labels", labels), ("split", splits)):
        if array is not None and (array.dtype.kind not in "iu" or array.shape != shape[:1]):
            raise wrong(path, key, f"integers ({shape[0]},)", f"{array.dtype} {array.shape}")
    if splits is not None and len(strange := np.flatnonzero((splits < 0) | (splits > 2))):
        codes = ", ".join(f"{number} ({name})" for number, name in enumerate(SPLITS))
        raise wrong(path, f"split: row {strange[0]}", codes, int(splits[strange[0]]))
    names = _class_names(path, file.metadata() or {})
    numbers, named, more = numbered(path, labels, names, lambda row: f"labels: row {row}")

    def blocks() -> Iterator[Array]:
        for start in range(0, shape[0], ROWS):
            part = stored[start : start + ROWS]
            yield (part.float() if stored.get_dtype() == "BF16" else part).numpy()

    return Table(
        shape[1], numbers, None if splits is None else splits.astype(np.int8), named, blocks,
        lambda row: f"features: row {row}", (*notes, *more),
    )  # fmt: skip


def _sidecar(path: Path) -> Path:
    return path.with_suffix(".json")


def _class_names(path: Path, metadata: dict[str, str]) -> list[str] | None:
    place, text = f"{path}: metadata", metadata.get("class_names")
    if text is None and _sidecar(path).is_file():
        place, text = str(_sidecar(path)), _sidecar(path).read_text(encoding="utf-8")
    if text is None:
        return None
    try:
        value: Any = parse_json(text)
    except ValueError as error:
        raise wrong(path, f"{place}: class_names", "JSON", error) from None
    names = value.get("class_names") if isinstance(value, dict) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise wrong(path, f"{place}: class_names", "a JSON list of texts", str(names)[:60])
    return names


def _files(path: Path) -> list[Path]:
    return [path, *([_sidecar(path)] if _sidecar(path).is_file() else [])]


READER = Reader(
    lambda path: path.suffix == ".safetensors" and path.is_file(), _files, open_safetensors
)
