"""The commands that give on what is here: mirror, publish."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autods.cli.common import (
    Access,
    Exclude,
    Json,
    Manifests,
    MaxSize,
    Names,
    Quiet,
    Root,
    Stream,
    check_folder,
    chosen,
    each,
    open_catalogue,
    open_root,
)
from autods.core.console import print_json, print_next, print_table
from autods.core.output import counted, tell
from autods.core.shell import quoted
from autods.errors import AutodsError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autods.fetch.mirror_folder import Mirrored
    from autods.interop.shared.publish import Outcome
    from autods.manifest.catalogue import Catalogue


def mirror(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the mirror.")],
    names: Names = None,
    stream: Stream = None,
    exclude: Exclude = None,
    max_size: MaxSize = None,
    access: Access = None,
    link: Annotated[
        bool, typer.Option("--link", help="Hard links instead of copies: on one disk, no space.")
    ] = False,
    root: Root = None,
    manifests: Manifests = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Copy what was fetched into a folder that `fetch --mirror` reads, with a recipe to serve it.

    All that is fetched, if nothing is named.
    """
    from autods.core.progress import console_board
    from autods.fetch.mirror_folder import check_mirror_folder, mirror_dataset
    from autods.manifest.select import Selection

    check_folder(folder, "DIR")
    data_root = open_root(root)
    catalogue, folder = open_catalogue(manifests, data_root), check_mirror_folder(folder, data_root)
    selection = Selection(names or (), False, stream, exclude or (), max_size, access)
    here = [name for name in data_root.datasets() if name in catalogue.datasets()]
    wanted = chosen(selection, catalogue, lambda: here)
    if not wanted:
        raise UsageError("no dataset is fetched under this root; start with `autods fetch NAME`.")
    done: list[Mirrored] = []

    def one(name: str) -> None:
        manifest = catalogue.dataset(name)
        done.append(mirror_dataset(manifest, data_root, folder, board.of(""), link=link))

    def finish() -> None:
        if done:
            _tell_mirror(done, folder, catalogue, json, quiet)

    with console_board(len(wanted), quiet=quiet, in_turn="dataset") as board:
        each(wanted, one, finish, board)
    lacking = [f"{one.dataset}/{file}" for one in done for file in one.missing]
    if lacking and (names or stream is not None):
        raise AutodsError(
            f"{counted(len(lacking), 'file')} not fetched and so not in the mirror; what is there "
            "is whole. Run `autods fetch` for these datasets, then this command again."
        )


def _tell_mirror(
    done: Sequence[Mirrored], folder: Path, catalogue: Catalogue, json: bool, quiet: bool
) -> None:
    """Write the recipe for all that the mirror holds; tell what this command did."""
    from dataclasses import asdict

    from rich.filesize import decimal

    from autods.fetch.mirror_folder import held_before, write_recipe

    others = held_before(folder, catalogue, without=[one.dataset for one in done])
    recipe = write_recipe(folder, sorted([*done, *others], key=lambda one: one.dataset))
    if json:
        print_json({"mirror": str(folder), "datasets": [asdict(one) for one in done]})
        return
    rows: list[dict[str, Any]] = [
        {
            "dataset": one.dataset,
            "files": f"{len(one.held)} of {len(one.held) + len(one.lacking)}",
            "copied": len(one.copied),
            "size": decimal(one.size),
            "missing": ", ".join(one.missing) or "-",
        }
        for one in done
    ]
    print_table(f"Mirror {folder}", rows, ["missing"])
    if git := [f"{one.dataset}/{file}" for one in done for file in one.git]:
        tell(f"Git repositories, which a mirror cannot hold: {', '.join(git)}.")
    print_next(f"{recipe} tells how to serve it and fetch from it.", quiet=quiet)


def publish(
    encoder: Annotated[str, typer.Option(help="Encoder whose features are published.")],
    to: Annotated[Path, typer.Option(metavar="DIR", help="Folder to publish into.")],
    names: Names = None,
    stream: Stream = None,
    exclude: Exclude = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the features manifest; default: the encoder's.")
    ] = None,
    push: Annotated[
        str | None,
        typer.Option(metavar="hf:OWNER/REPO", help="Upload the folder to the Hugging Face Hub."),
    ] = None,
    root: Root = None,
    manifests: Manifests = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Publish features as a folder that anyone can host: shards, hashes, licences, citations.

    All that have features by the encoder, if nothing is named.
    """
    from autods.core.progress import console_progress
    from autods.core.registry import unknown_encoder
    from autods.features.sets import list_encoders, list_features
    from autods.interop.shared.hub import parse_target
    from autods.interop.shared.hub import push as upload
    from autods.interop.shared.publish import publish as publish_features
    from autods.manifest.select import Selection

    check_folder(to, "--to")
    data_root, progress = open_root(root), console_progress(quiet=quiet)
    catalogue = open_catalogue(manifests, data_root)
    if encoder not in (encoders := list_encoders(data_root)):
        raise unknown_encoder(encoder, encoders, f"under {data_root.path}")
    selection = Selection(names or (), False, stream, exclude or ())
    here = list_features(data_root, encoder)
    wanted = chosen(selection, catalogue, lambda: here)
    folder, repository = to.expanduser().resolve(), parse_target(push) if push else None
    done = publish_features(
        wanted, data_root, encoder, folder, name=name, catalogue=catalogue, progress=progress
    )
    _tell_published(done, folder, json, quiet or repository is not None)
    if done.failed:
        raise AutodsError(
            f"{len(done.failed)} of {len(wanted)} datasets failed: {', '.join(done.failed)}"
            + (". Nothing was uploaded." if repository else "")
        )
    if repository is not None:
        print(f"Uploaded to {upload(folder, repository)}", file=sys.stderr)
        print(f"Others run: autods fetch --features hf:{repository}", file=sys.stderr)


def _tell_published(done: Outcome, folder: Path, json: bool, quiet: bool) -> None:
    from rich.filesize import decimal

    from autods.interop.shared.publish import told_left_out

    for name, error in done.failed.items():
        tell(f"error: {name}: {error}", sys.stderr)
    if json:
        failed = {name: str(error) for name, error in done.failed.items()}
        print_json({**vars(done), "folder": str(folder), "failed": failed})
        return
    rows = [
        {
            "dataset": name,
            "files": copied + done.kept[name],
            "copied": copied,
            "size": decimal(done.sizes[name]),
        }
        for name, copied in done.copied.items()
    ]
    print_table(f"Published in {folder}", rows)
    if done.left_out:
        tell(told_left_out(done.left_out))
    manifest = quoted(done.manifest or "MANIFEST")
    print_next(f"autods fetch --features {manifest}", f"Host {folder}.", quiet=quiet)
