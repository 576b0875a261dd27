"""Export of feature sets: Hugging Face ``DatasetDict``, Parquet, npz.

One dataset becomes one folder (``hf``, ``parquet``) or file (``npz``), moved into place when
whole. What is written where is in `autods.interop.export_formats`.

Nothing has to be exported for Hugging Face ``datasets`` (4.1 on) to read features: it opens
the shards themselves, with the columns ``features``, ``label``, ``sample``,
``content_hash``, and ``labels`` and ``splits`` where there are further ones::

    from datasets import load_dataset

    folder = "ROOT/features/ViT-B-32.laion2b_s34b_b79k/aircraft"
    load_dataset("hdf5", data_files={"train": f"{folder}/train-*.h5"}, split="train")
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autods.core.files import locked, put_in_place
from autods.core.progress import Progress, Silent
from autods.core.registry import unknown
from autods.errors import UsageError
from autods.fetch.digests import remove
from autods.interop.export_formats import KINDS, Kind
from autods.interop.export_source import ExportSource, open_export
from autods.manifest.schema import PROTOCOLS

if TYPE_CHECKING:
    from autods.core.root import DataRoot
    from autods.manifest.catalogue import Catalogue

__all__ = ["ExportOutcome", "check_options", "export_features"]

DTYPES = ("float16", "float32")
PATIENCE = 5.0  # seconds to wait for another export into the same folder


@dataclass(frozen=True)
class ExportOutcome:
    """What an export did: ``written``, ``replaced`` or ``kept``, and the rows of each split.

    ``removed`` counts the rows that the protocol leaves out, by reason.
    """

    dataset: str
    task: str
    path: Path
    action: str
    counts: dict[str, int]
    removed: dict[str, int]


def export_features(
    name: str,
    root: DataRoot,
    encoder: str,
    kind: str,
    out: Path,
    *,
    task: str | None = None,
    protocol: str = "clean",
    dtype: str | None = None,
    overwrite: bool = False,
    catalogue: Catalogue | None = None,
    progress: Progress | None = None,
) -> ExportOutcome:
    """Export the features of one dataset to ``out/<name>``; needs little memory.

    The rows are those that a stream uses under the same protocol, in the order of the
    shards; features are as stored, not normalised. Errors are those of streams; `UsageError` if
    something else is in the way; `Busy` if another process exports into ``out``.

    Parameters
    ----------
    kind
        ``hf``, ``parquet`` or ``npz``.
    task
        Label set; one that is not the default is exported to ``out/<name>-<task>``.
    dtype
        Default: ``float16`` as stored; ``float32`` in Parquet, since many of its readers know
        no half precision. Both hold the same values.
    overwrite
        Replace another export; what is no export is never replaced.
    """
    progress = progress or Silent()
    check_options(kind, protocol, dtype)
    writer = KINDS[kind]
    source = open_export(
        name,
        root,
        encoder,
        kind=kind,
        task=task,
        protocol=protocol,
        dtype=dtype or writer.dtype,
        catalogue=catalogue,
    )
    path = out / f"{source.label}{writer.suffix}"
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out: expected a folder, {out} is a file; nothing was exported.")
    out.mkdir(parents=True, exist_ok=True)
    with locked(out / ".autods-export", timeout=PATIENCE):
        action = _export(source, writer, path, overwrite, progress)
    removed = dict(source.source.removed)
    return ExportOutcome(name, source.task, path, action, source.counts, removed)


def check_options(kind: str, protocol: str, dtype: str | None) -> None:
    """Raise `UnknownName` for an option that is none of those that exist."""
    for what, value, known in (
        ("kind of export", kind, KINDS),
        ("protocol", protocol, PROTOCOLS),
        ("type of features", dtype or DTYPES[0], DTYPES),
    ):
        if value not in known:
            raise unknown(what, value, known)


def _export(
    source: ExportSource, writer: Kind, path: Path, overwrite: bool, progress: Progress
) -> str:
    """Write one export unless it stands; return the action."""
    _restore(path)
    standing = writer.describe(path) if path.exists() else None
    if standing == source.description:
        return "kept"
    if path.exists() and (standing is None or not overwrite):
        raise UsageError(_in_the_way(path, standing))
    with _placed(path) as temporary:
        progress.start(f"exporting {source.label}", sum(source.counts.values()), "rows")
        try:
            writer.write(source, temporary, progress)
        finally:
            progress.finish()
    return "replaced" if standing else "written"


def _in_the_way(path: Path, standing: dict[str, Any] | None) -> str:
    """Say what stands where the export should go. Only exports are ever replaced."""
    if standing is None:
        what, cure = "is not an export by autods", "Move it away"
    else:
        what = (
            f"holds another export: {standing.get('dataset')}, task {standing.get('task')}, by "
            f"{standing.get('encoder_name')}, protocol {standing.get('protocol')}, as "
            f"{standing.get('kind')} {standing.get('dtype')}"
        )
        cure = "Replace it with --overwrite"
    return f"{path} {what}; it was not changed. {cure}, or name another folder with --out."


@contextmanager
def _placed(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; put it in its place when it is whole."""
    temporary, old = path.with_name(f".{path.name}.tmp"), _old(path)
    remove(temporary)
    try:
        yield temporary
        if path.exists():
            path.rename(old)
        put_in_place(temporary, path)
        remove(old)
    finally:
        remove(temporary)


def _restore(path: Path) -> None:
    """Tidy up after an export that was killed between the two renames, or right after them."""
    old = _old(path)
    if path.exists():
        remove(old)
    elif old.exists():
        old.rename(path)


def _old(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")
