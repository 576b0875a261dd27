"""The kinds of export: how each is written, block by block, and recognised again.

===========  ==================================================================
``hf``       A ``DatasetDict`` saved to disk: columns ``features`` (fixed-size list),
             ``label`` (``ClassLabel``), ``sample``; splits train, dev, test.
``parquet``  ``train.parquet``, ``dev.parquet``, ``test.parquet`` with the same columns; class
             names and provenance in the metadata of the schema.
``npz``      What ``autods import-features`` reads: ``x_train``, ``y_train``, ``x_val``,
             ``y_val`` (the development part, where there is one), ``x_test``, ``y_test``,
             ``class_names``; also ``sample_train`` ..., and ``provenance`` as JSON text.
===========  ==================================================================
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autods.core.json_texts import parse_json
from autods.core.progress import Progress
from autods.interop.export_source import Block, ExportSource

DESCRIPTION = "autods.json"  # beside the data, in exported folders
NPZ_NAMES = {"train": "train", "dev": "val", "test": "test"}
EPOCH = (1980, 1, 1, 0, 0, 0)  # the first date of zip: equal exports have equal bytes


@dataclass(frozen=True)
class Kind:
    """One kind of export: how a source is written, and how its description is read back.

    A folder has no ``suffix``; ``dtype`` is the default one of the features. ``describe`` returns
    ``None`` for anything that is not such an export.
    """

    suffix: str
    dtype: str
    write: Callable[[ExportSource, Path, Progress], None]
    describe: Callable[[Path], dict[str, Any] | None]


def _write_npz(source: ExportSource, path: Path, progress: Progress) -> None:
    """Write the members of a zip one after another; `numpy.savez` would hold all in memory."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for split in source.splits:
            n, name = source.counts[split], NPZ_NAMES[split]
            blocks = (block.features for block in _counted(source.blocks(split), progress))
            _add(archive, f"x_{name}", np.dtype(source.dtype), (n, source.dim), blocks)
            for key, array in (("y", source.labels(split)), ("sample", source.sample(split))):
                _add(archive, f"{key}_{name}", array.dtype, array.shape, [array])
        described = np.array(json.dumps(source.description, sort_keys=True))
        for key, array in (
            ("class_names", np.array(source.class_names)),
            ("provenance", described),
        ):
            _add(archive, key, array.dtype, array.shape, [array])


def _add(
    archive: zipfile.ZipFile,
    key: str,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    parts: Iterable[npt.NDArray[Any]],
) -> None:
    """Add one array, given in parts, to an npz file."""
    head = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    with archive.open(zipfile.ZipInfo(f"{key}.npy", EPOCH), "w", force_zip64=True) as file:
        np.lib.format.write_array_header_1_0(file, head)
        for part in parts:
            file.write(part.tobytes())


def _describe_npz(path: Path) -> dict[str, Any] | None:
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(parse_json(str(file["provenance"])))
    except (OSError, KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile):
        return None


def _write_parquet(source: ExportSource, path: Path, progress: Progress) -> None:
    import pyarrow.parquet as pq

    path.mkdir()
    schema = _schema(source)
    for split in source.splits:
        # Features hardly repeat: dictionaries would only cost time.
        with pq.ParquetWriter(path / f"{split}.parquet", schema, use_dictionary=False) as writer:
            for block in _counted(source.blocks(split), progress):
                writer.write_table(_table(block, schema))
    _write_description(source, path)


def _write_hf(source: ExportSource, path: Path, progress: Progress) -> None:
    """Save a `DatasetDict`, by way of Arrow files that ``datasets`` maps into memory."""
    import pyarrow as pa
    from datasets import Dataset, DatasetDict, DatasetInfo, NamedSplit

    schema = _schema(source)
    arrow, parts = path / "arrow", {}
    arrow.mkdir(parents=True)
    with quiet_datasets():
        info = DatasetInfo(description=json.dumps(source.description, sort_keys=True))
        for split in source.splits:
            file = arrow / f"{split}.arrow"
            with pa.ipc.new_stream(file, schema) as writer:
                for block in _counted(source.blocks(split), progress):
                    writer.write_table(_table(block, schema))
            parts[split] = Dataset.from_file(str(file), info=info, split=NamedSplit(split))
        DatasetDict(parts).save_to_disk(str(path))
    shutil.rmtree(arrow)
    _write_description(source, path)


def _write_description(source: ExportSource, path: Path) -> None:
    text = json.dumps(source.description, indent=2, sort_keys=True)
    (path / DESCRIPTION).write_text(text + "\n", encoding="utf-8")


def _describe_folder(path: Path) -> dict[str, Any] | None:
    try:
        return dict(parse_json((path / DESCRIPTION).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _schema(source: ExportSource) -> Any:
    """Return the Arrow schema; ``datasets`` finds its own types in the metadata."""
    from datasets import Features, Value

    columns = column_types(source.dtype, source.dim, source.class_names)
    schema = Features({**columns, "sample": Value("int64")}).arrow_schema
    ours = {
        "class_names": json.dumps(source.class_names),
        "autods": json.dumps(source.description, sort_keys=True),
    }
    return schema.with_metadata({**(schema.metadata or {}), **ours})


def column_types(dtype: str, dim: int, class_names: list[str]) -> dict[str, Any]:
    """Return the types, of ``datasets``, of columns ``features`` [dim] and ``label``."""
    from datasets import ClassLabel, Sequence, Value

    return {
        "features": Sequence(Value(dtype), length=dim),
        "label": ClassLabel(names=class_names),
    }


def fixed_rows(features: npt.NDArray[Any], type_: Any) -> Any:
    """Return features [n, d] as an Arrow array of fixed-size lists, without a copy."""
    import pyarrow as pa

    return pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), type=type_)


def _table(block: Block, schema: Any) -> Any:
    import pyarrow as pa

    rows = fixed_rows(block.features, schema.field("features").type)
    return pa.Table.from_arrays(
        [rows, pa.array(block.labels), pa.array(block.sample)], schema=schema
    )


def _counted(blocks: Iterable[Block], progress: Progress) -> Iterator[Block]:
    for block in blocks:
        yield block
        progress.advance(len(block.labels))


@contextmanager
def quiet_datasets() -> Iterator[None]:
    """Hide the progress bars of ``datasets``: we show our own."""
    from datasets import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    before = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not before:
            enable_progress_bars()


KINDS: Mapping[str, Kind] = {
    "hf": Kind("", "float16", _write_hf, _describe_folder),
    "npz": Kind(".npz", "float16", _write_npz, _describe_npz),
    "parquet": Kind("", "float32", _write_parquet, _describe_folder),
}
