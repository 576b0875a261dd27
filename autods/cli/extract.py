"""The commands that make something of fetched datasets: index, extract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autods.cli import next_steps
from autods.cli.common import (
    Access,
    All,
    Exclude,
    Json,
    Manifests,
    MaxSize,
    Model,
    Names,
    Precision,
    Pretrained,
    Quiet,
    RandomWeights,
    Root,
    Stream,
    chosen_here,
    each,
    open_catalogue,
    open_root,
)
from autods.core.console import print_json, print_next, print_table
from autods.core.output import tell
from autods.core.splits import SPLITS
from autods.errors import UsageError

if TYPE_CHECKING:
    from autods.core.root import DataRoot
    from autods.encode.extract import ExtractOutcome
    from autods.index.samples import IndexSummary
    from autods.manifest.catalogue import Catalogue
    from autods.manifest.schema import Manifest


ENGINES = ("local", "ray")
TOLD = 5  # unreadable images that are named


def index(
    names: Names = None,
    everything: All = False,
    stream: Stream = None,
    exclude: Exclude = None,
    max_size: MaxSize = None,
    access: Access = None,
    root: Root = None,
    manifests: Manifests = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Write the sample index of fetched datasets: ids, splits, labels, places."""
    from autods.core.progress import console_board
    from autods.index.samples import index_dataset
    from autods.manifest.select import Selection

    selection = Selection(names or (), everything, stream, exclude or (), max_size, access)
    data_root = open_root(root)
    catalogue = open_catalogue(manifests, data_root)
    found, absent = chosen_here(selection, catalogue, data_root)
    done: list[tuple[Manifest, IndexSummary]] = []

    def one(name: str) -> None:
        manifest = catalogue.dataset(name)
        done.append((manifest, index_dataset(manifest, data_root, board.of(""))))

    def finish() -> None:
        catalogue.remember(data_root, [manifest.name for manifest, _ in done])
        if json:
            print_json([_index_facts(*pair, catalogue, data_root) for pair in done])
        elif done:
            _tell_unused([summary for _, summary in done])
            print_table("Index (protocol clean)", [_index_row(*pair) for pair in done])
            _warn([manifest for manifest, _ in done], data_root)
            names = [manifest.name for manifest, _ in done]
            print_next(next_steps.extract(names, root), quiet=quiet)

    with console_board(len(found), quiet=quiet, in_turn="dataset") as board:
        each(found, one, finish, board, absent)


def extract(
    names: Names = None,
    everything: All = False,
    stream: Stream = None,
    exclude: Exclude = None,
    max_size: MaxSize = None,
    access: Access = None,
    model: Model = "ViT-B-32",
    pretrained: Pretrained = None,
    random_weights: RandomWeights = None,
    precision: Precision = "fp32",
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda, or several: cuda:0,cuda:1.")
    ] = "auto",
    batch_size: Annotated[int, typer.Option(min=1, help="Images encoded at once.")] = 64,
    workers: Annotated[
        str, typer.Option(help="Processes that decode images for each device: auto, 0, 1 ...")
    ] = "auto",
    shard_size: Annotated[int, typer.Option(min=1, help="Samples of one shard.")] = 16384,
    engine: Annotated[
        str, typer.Option(help="Who makes the shards: local, or a ray cluster.")
    ] = "local",
    ray_address: Annotated[
        str | None,
        typer.Option(help="host:port of a Ray cluster, or auto; default: this machine alone."),
    ] = None,
    draft: Annotated[
        bool, typer.Option("--draft", help="JPEG at reduced scale: faster, other features.")
    ] = False,
    gpu_decode: Annotated[
        bool, typer.Option("--gpu-decode", help="JPEG by the GPU: faster, other features.")
    ] = False,
    all_tasks: Annotated[
        bool,
        typer.Option("--all-tasks", help="Also images that only other label sets have."),
    ] = False,
    root: Root = None,
    manifests: Manifests = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Extract features of fetched datasets (all that are here, if none is named)."""
    from contextlib import closing
    from functools import partial

    from autods.core.progress import console_board
    from autods.index.samples import index_dataset
    from autods.manifest.select import Selection

    selection = Selection(names or (), everything, stream, exclude or (), max_size, access)
    data_root = open_root(root)
    catalogue = open_catalogue(manifests, data_root)
    found, absent = chosen_here(selection, catalogue, data_root)
    count, decoding = _workers(workers), _decoding(draft, gpu_decode)
    _check_engine(engine, ray_address)

    from autods.encode.encoders.open_clip import load_encoder
    from autods.encode.engines.devices import choose_devices, local_engine
    from autods.encode.extract import extract_dataset, write_record

    board = console_board(len(found), quiet=quiet, in_turn="dataset")
    progress = board.of("")
    factory = partial(load_encoder, model, pretrained, random_weights, precision)
    if engine == "ray":
        from autods.encode.engines.ray_engine import cluster_engine

        encoder, makers = cluster_engine(factory, ray_address, device, count, progress)
    else:
        encoder, makers = local_engine(factory, choose_devices(device), count, progress)
    if decoding == "gpu" and encoder.provenance["device"] != "cuda":
        raise UsageError("--gpu-decode needs a GPU (--device cuda); nothing was done.")
    board.weigh(_work(found, encoder.name, catalogue, data_root))
    indexed: list[tuple[Manifest, IndexSummary]] = []
    outcomes: list[ExtractOutcome] = []
    classes: dict[str, int] = {}  # of each dataset

    def one(name: str) -> None:
        manifest = catalogue.dataset(name)
        summary = index_dataset(manifest, data_root, progress)
        classes[name] = summary.classes[manifest.default_task]
        if summary.action == "indexed":
            indexed.append((manifest, summary))
        outcome = extract_dataset(
            manifest,
            data_root,
            encoder,
            batch_size=batch_size,
            shard_size=shard_size,
            all_tasks=all_tasks,
            decoding=decoding,
            engine=makers,
            progress=progress,
        )
        outcomes.append(outcome)
        write_record(data_root, outcomes)

    def finish() -> None:
        catalogue.remember(data_root, [outcome.dataset for outcome in outcomes])
        if json:
            print_json([outcome.record() for outcome in outcomes])
        else:
            _tell_unused([summary for _, summary in indexed])
            _warn([manifest for manifest, _ in indexed], data_root)
            _tell_unreadable(outcomes, data_root)
            print(f"Encoder: {encoder.name}")
            _tell_run(outcomes, classes, root, stream, quiet)

    with closing(makers), board:
        each(found, one, finish, board, absent)


def _check_engine(engine: str, ray_address: str | None) -> None:
    from autods.core.registry import unknown

    if engine not in ENGINES:
        raise unknown("engine", engine, ENGINES)
    if ray_address and engine != "ray":
        raise UsageError("--ray-address goes with --engine ray; nothing was done.")


def _work(names: Sequence[str], encoder: str, catalogue: Catalogue, root: DataRoot) -> list[float]:
    """Return about how many images of each dataset are to be encoded, 0 if it is done."""
    from autods.checks.inventory import take_inventory

    work: list[float | None] = []
    for holding in take_inventory(catalogue, root, names):
        expected = None if holding.manifest is None else holding.manifest.expected.images
        done = encoder in holding.features and encoder not in holding.stale
        work.append(0.0 if done else holding.index.get("samples") or expected)
    known = [images for images in work if images]
    usual = sum(known) / len(known) if known else 1.0
    return [usual if images is None else images for images in work]


def _tell_unreadable(outcomes: Sequence[ExtractOutcome], root: DataRoot) -> None:
    """Name the images that have no features."""
    for outcome in outcomes:
        images = [f"{path} ({why})" for _, path, why in outcome.unreadable]
        more = f" and {len(images) - TOLD} more, see {root.extract_record()}" * (len(images) > TOLD)
        if images:
            tell(f"{outcome.dataset}: unreadable, left out: {', '.join(images[:TOLD])}{more}")


def _tell_run(
    outcomes: Sequence[ExtractOutcome],
    classes: Mapping[str, int],
    root: Path | None,
    stream: str | None,
    quiet: bool,
) -> None:
    """Print the command that learns what was extracted."""
    if ready := [outcome.dataset for outcome in outcomes]:
        encoder, count = outcomes[0].encoder, classes[ready[0]]
        step = next_steps.run(ready, encoder, root, stream=stream, classes=count)
        print_next(step, quiet=quiet)


SHOWN = (*SPLITS, "unused")


def _index_row(manifest: Manifest, summary: IndexSummary) -> dict[str, Any]:
    counts = summary.counts["clean"]  # a record has them in alphabetical order
    return {
        "dataset": manifest.name,
        "action": summary.action,
        "samples": summary.samples,
        "classes": summary.classes[manifest.default_task],
        **{name: counts[name] for name in sorted(counts, key=SHOWN.index)},
    }


def _index_facts(
    manifest: Manifest, summary: IndexSummary, catalogue: Catalogue, root: DataRoot
) -> dict[str, Any]:
    """Return what is known of an index, for programs."""
    from autods.checks.inventory import take_inventory
    from autods.index.counts import count_differences

    (holding,) = take_inventory(catalogue, root, [manifest.name])
    return {
        "dataset": manifest.name,
        "action": summary.action,
        "state": holding.state,
        "samples": summary.samples,
        "classes": summary.classes[manifest.default_task],
        "counts": summary.counts,
        "members": summary.members,
        "differences": [asdict(found) for found in count_differences(manifest, root)],
    }


def _tell_unused(summaries: Sequence[IndexSummary]) -> None:
    """Print what of the archives is no sample, and why."""
    from autods.containers.base import Why
    from autods.layouts.accounting import not_used

    lines = [line for summary in summaries for line in not_used(summary.dataset, summary.members)]
    if any(Why.UNSUPPORTED in line for line in lines):
        lines.append("Images with other endings: list the endings in 'suffixes' of the layout.")
    if lines:
        tell("\n".join(lines) + "\n")


def _warn(manifests: Sequence[Manifest], root: DataRoot) -> None:
    """Print where the counts of indexes are not those that the manifests expect."""
    from autods.index.counts import count_differences

    rows = [
        {
            "dataset": manifest.name,
            "what": difference.what,
            "expected": difference.expected,
            "found": difference.found,
            "expected by": difference.source or "the manifest",
        }
        for manifest in manifests
        for difference in count_differences(manifest, root)
    ]
    if rows:
        print()
        print_table("Warning: counts that are not as expected", rows, cut=["expected by"])


def _workers(text: str) -> int | None:
    """Return the number of processes that decode, ``None`` for as many as suit."""
    if text == "auto":
        return None
    if not text.isdecimal():
        raise UsageError(f"--workers: expected auto or a number from 0 on, got '{text}'.")
    return int(text)


def _decoding(draft: bool, gpu_decode: bool) -> str:
    if draft and gpu_decode:
        raise UsageError("expected --draft or --gpu-decode, got both; nothing was done.")
    return "draft" if draft else "gpu" if gpu_decode else "reference"
