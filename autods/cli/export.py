"""The commands that take features further: embed-classes, export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autods.cli import complete, next_steps
from autods.cli.common import (
    Json,
    Manifests,
    Model,
    Precision,
    Pretrained,
    Quiet,
    RandomWeights,
    Root,
    check_folder,
    each,
    one_encoder,
    open_catalogue,
    open_root,
)
from autods.core.console import print_json, print_next, print_table
from autods.core.registry import unknown_encoder
from autods.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autods.core.root import DataRoot
    from autods.manifest.catalogue import Catalogue

Names = Annotated[
    list[str] | None,
    typer.Argument(help="Names of datasets with features.", autocompletion=complete.datasets),
]


READ = {  # how Python reads an export
    "hf": 'datasets.load_from_disk("{path}")',
    "npz": 'numpy.load("{path}")',
    "parquet": 'pandas.read_parquet("{path}/train.parquet")',
}


def embed_classes(
    names: Names = None,
    model: Model = "ViT-B-32",
    pretrained: Pretrained = None,
    random_weights: RandomWeights = None,
    precision: Precision = "fp32",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    encoder: Annotated[
        str | None,
        typer.Option(help="Features to store them with, if named otherwise: imported ones."),
    ] = None,
    templates: Annotated[
        str, typer.Option(help="default-v1, plain, or a file: one template with {} a line.")
    ] = "default-v1",
    root: Root = None,
    manifests: Manifests = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Embed class names with prompt templates, for zero-shot (all with features, if none named)."""
    from autods.core.progress import console_board, console_progress
    from autods.features.sets import list_encoders, list_features
    from autods.features.templates import find_templates

    data_root, found = open_root(root), find_templates(templates)
    progress, catalogue = console_progress(quiet=quiet), open_catalogue(manifests, data_root)
    asked = _datasets(names or (), catalogue, data_root)
    if encoder is not None and encoder not in (here := list_encoders(data_root)):
        raise unknown_encoder(encoder, here, f"under {data_root.path}")

    from autods.encode import class_names
    from autods.encode.encoders.open_clip import load_encoder

    by = load_encoder(model, pretrained, random_weights, precision, device, progress=progress)
    chosen = asked or list_features(data_root, encoder or by.name)
    if not chosen:
        raise UsageError(
            f"no dataset has features by encoder '{encoder or by.name}' under {data_root.path}; "
            "nothing was done. Name datasets, or run `autods extract` first."
        )
    rows: list[dict[str, Any]] = []

    def one(name: str) -> None:
        outcome = class_names.embed_classes(
            name,
            data_root,
            by,
            found,
            beside=encoder,
            readable=_readable(name, catalogue),
            progress=board.of(""),
        )
        if outcome.alike:
            board.note(f"{name}: read alike, and so embedded alike: {', '.join(outcome.alike)}")
        rows.append(
            {
                "dataset": name,
                "action": outcome.action,
                "label sets": len(outcome.classes),
                "classes": sum(outcome.classes.values()),
                "encoder": outcome.encoder,
                "templates": found.name,
            }
        )

    def finish() -> None:
        _show("Class names", rows, json)
        if rows and not json:
            step = next_steps.run([row["dataset"] for row in rows], rows[0]["encoder"], root)
            print_next(f"{step} --method zero-shot", quiet=quiet)

    with console_board(len(chosen), quiet=quiet, in_turn="dataset") as board:
        each(chosen, one, finish, board)


def _datasets(names: Sequence[str], catalogue: Catalogue, root: DataRoot) -> list[str]:
    """Return the datasets that names and globs stand for; globs match those with features."""
    from autods.manifest.select import expand, named

    with_features = {dataset for _, dataset in root.feature_sets()}
    known = {*catalogue.datasets(), *root.datasets(), *with_features}
    return expand(named(names), known, with_features)


def _readable(name: str, catalogue: Catalogue) -> dict[str, dict[str, str]]:
    """Return task to readable class names; none for features of a dataset without manifest."""
    if name not in catalogue.datasets():
        return {}
    return {task: spec.readable for task, spec in catalogue.dataset(name).tasks.items()}


def export(
    out: Annotated[Path, typer.Option(help="Folder to export into.")],
    names: Names = None,
    encoder: Annotated[
        str | None, typer.Option(help="Whose features; needed if there are several.")
    ] = None,
    to: Annotated[str, typer.Option(help="hf, parquet or npz.")] = "hf",
    stream: Annotated[
        str | None, typer.Option(help="Every dataset of a stream; 'all': all with features.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="Label set, if not the default one.")] = None,
    protocol: Annotated[str, typer.Option(help="clean or paper.")] = "clean",
    dtype: Annotated[
        str | None, typer.Option(help="float16 or float32; parquet: float32, else float16.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace other exports.")] = False,
    root: Root = None,
    manifests: Manifests = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Export features to Hugging Face datasets, Parquet or npz, one folder or file each."""
    from autods.core.progress import console_board
    from autods.interop.export import check_options, export_features

    check_options(to, protocol, dtype)
    check_folder(out)
    data_root = open_root(root)
    catalogue = open_catalogue(manifests, data_root)
    if bool(names) == bool(stream):
        raise UsageError("expected names of datasets or --stream: autods export NAME...")
    if encoder is None:
        named = _datasets(names or (), catalogue, data_root)
        of = named or sorted({dataset for _, dataset in data_root.feature_sets()})
        encoder = one_encoder(stream or " ".join(named), of, None, data_root, "exported")
    wanted = _to_export(names, stream, task, encoder, catalogue, data_root)
    rows: list[dict[str, Any]] = []

    def one(name: str) -> None:
        dataset, label_set = wanted[name]
        outcome = export_features(
            dataset,
            data_root,
            encoder,
            to,
            out,
            task=label_set,
            protocol=protocol,
            dtype=dtype,
            overwrite=overwrite,
            catalogue=catalogue,
            progress=board.of(""),
        )
        rows.append(
            {
                "dataset": name,
                "action": outcome.action,
                **outcome.counts,
                "left out": sum(outcome.removed.values()),
                "path": str(outcome.path),
            }
        )

    def finish() -> None:
        _show(f"Exported (protocol {protocol})", rows, json)
        if rows and not json:
            print_next(READ[to].format(path=rows[-1]["path"]), quiet=quiet)

    with console_board(len(wanted), quiet=quiet, in_turn="dataset") as board:
        each(list(wanted), one, finish, board)


def _to_export(
    names: list[str] | None,
    stream: str | None,
    task: str | None,
    encoder: str,
    catalogue: Catalogue,
    root: DataRoot,
) -> dict[str, tuple[str, str | None]]:
    """Return what is exported: a name to show, dataset and label set (``None``: the default)."""
    if stream is None:
        return {name: (name, task) for name in _datasets(names or (), catalogue, root)}
    if task is not None:
        raise UsageError("--stream says which label sets are meant; leave --task out.")
    from autods.streams.resolve import resolve

    items = resolve(stream, root, encoder, catalogue=catalogue).spec.datasets
    return {
        f"{item.dataset}/{item.task}" if item.task else item.dataset: (item.dataset, item.task)
        for item in items
    }


def _show(title: str, rows: list[dict[str, Any]], json: bool) -> None:
    if json:
        print_json(rows)
    elif rows:
        print_table(title, rows)
