"""The commands that tell what there is, and what a manifest may say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from autods.cli import complete, next_steps
from autods.cli.common import (
    Access,
    Exclude,
    Json,
    Manifests,
    MaxSize,
    Names,
    Root,
    chosen,
    open_catalogue,
    open_root,
)
from autods.core.console import print_json, print_next, print_table
from autods.core.output import counted, tell
from autods.errors import ManifestError

if TYPE_CHECKING:
    from autods.checks.inventory import Holding
    from autods.core.root import DataRoot


def list_datasets(
    names: Names = None,
    stream: Annotated[
        str | None,
        typer.Option(
            help="Only the datasets of this stream, in its order.", autocompletion=complete.streams
        ),
    ] = None,
    exclude: Exclude = None,
    max_size: MaxSize = None,
    access: Access = None,
    names_only: Annotated[
        bool, typer.Option("--names", help="Print only the names, one a line: for scripts.")
    ] = False,
    root: Root = None,
    manifests: Manifests = None,
    json: Json = False,
) -> None:
    """List the datasets that have a manifest: counts, licence, access, and what is here."""
    from autods.checks.inventory import take_inventory
    from autods.manifest.select import Selection

    data_root, everything = open_root(root), not names and stream is None
    catalogue = open_catalogue(manifests, data_root)
    wanted = Selection(names or (), everything, stream, exclude or (), max_size, access)
    found = chosen(wanted, catalogue)
    if names_only:
        print("\n".join(found))
        return
    holdings = take_inventory(catalogue, data_root, found)
    rows = [
        {
            "name": manifest.name,
            "title": manifest.title,
            "classes": manifest.expected.classes,
            "images": manifest.expected.images,
            "train": manifest.expected.train,
            "test": manifest.expected.test,
            "licence": manifest.licence,
            "access": manifest.access,
            "state": holding.state,
        }
        for holding in holdings
        if (manifest := holding.manifest) is not None
    ]
    if json:
        print_json(rows)
    else:
        shown = ("name", "classes", "images", "access", "state", "licence")
        table = [{key: row[key] for key in shown} for row in rows]
        print_table("Datasets ('?': unknown)", table, ["licence"])
        tell(_totals(rows))
        print_next("autods info NAME", next_steps.command("autods fetch", "NAME", root=root))
    if wrong := [holding.problem for holding in holdings if holding.manifest is None]:
        raise ManifestError("\n".join(map(str, wrong)))


def info(
    name: Annotated[
        str, typer.Argument(help="Name of the dataset.", autocompletion=complete.datasets)
    ],
    yaml: Annotated[bool, typer.Option("--yaml", help="Print the manifest as it is.")] = False,
    root: Root = None,
    manifests: Manifests = None,
    json: Json = False,
) -> None:
    """Show one dataset: sources, tasks, splits, counts, quirks, and what is here."""
    data_root = open_root(root)
    catalogue = open_catalogue(manifests, data_root)
    manifest = catalogue.dataset(name)
    values = manifest.model_dump(mode="json", by_alias=True)
    if json:
        print_json(values)
    elif yaml:
        from yaml import safe_dump

        print(safe_dump(values, sort_keys=False, allow_unicode=True, width=100), end="")
    else:
        import shutil

        from autods.checks.inventory import take_inventory
        from autods.cli.info import describe

        (holding,) = take_inventory(catalogue, data_root, [name])
        print(describe(manifest, holding, data_root, shutil.get_terminal_size().columns))
        print_next(next_steps.after([holding], root))


def manifest_schema(
    stream: Annotated[
        bool, typer.Option("--stream", help="That of stream files, not of manifests.")
    ] = False,
) -> None:
    """Print the JSON Schema of manifests, for editors that check YAML while you write."""
    from autods.manifest.schema import Manifest, StreamSpec

    schema = (StreamSpec if stream else Manifest).model_json_schema(by_alias=True)
    print_json({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})
    file = "stream.json" if stream else "manifest.json"
    asked = ["--stream"] if stream else []
    print_next(
        f"{next_steps.command('autods manifest-schema', *asked)} > {file}",
        f"Begin the YAML file with  # yaml-language-server: $schema={file}",
    )


def status(root: Root = None, manifests: Manifests = None, json: Json = False) -> None:
    """Show what is fetched, indexed and extracted under the root."""
    from autods.checks.inventory import take_inventory

    data_root = open_root(root)
    holdings = take_inventory(open_catalogue(manifests, data_root), data_root)
    if json:
        rows = [
            {
                "dataset": holding.dataset,
                "state": holding.state,
                "fetched": holding.fetched,
                "missing": holding.missing,
                "indexed": bool(holding.index),
                "samples": holding.index.get("samples"),
                "features": list(holding.features),
                "problem": _problem(holding, data_root),
            }
            for holding in holdings
        ]
        print_json({"root": str(data_root.path), "datasets": rows})
    elif holdings:
        print_table(
            f"Under {data_root.path}", [_status_row(holding, data_root) for holding in holdings]
        )
        for holding in holdings:
            if problem := _problem(holding, data_root):
                tell(f"{holding.dataset}: {problem}")
        print_next(next_steps.after(holdings, root))
    else:
        tell(f"Nothing under {data_root.path} yet. Start with `autods fetch NAME`.")


def _has_only_features(holding: Holding, root: DataRoot) -> bool:
    """Tell whether features were imported or fetched: these need no manifest."""
    return bool(holding.features) and holding.dataset not in root.datasets()


def _status_row(holding: Holding, root: DataRoot) -> dict[str, Any]:
    files = "-" if _has_only_features(holding, root) else "?"
    if holding.manifest is not None and holding.missing is not None:
        count = len(holding.manifest.files)
        files = f"{count - len(holding.missing)} of {count}"
    samples = holding.index.get("samples")
    return {
        "dataset": holding.dataset,
        "state": holding.state,
        "files": files,
        "samples": "-" if samples is None else f"{samples:,}",
        "features": list(holding.features),
    }


def _problem(holding: Holding, root: DataRoot) -> str | None:
    """Return what keeps a dataset from being used as it is, with the cure."""
    if holding.problem is not None:
        return holding.problem
    if holding.outdated:
        return f"its index is of another manifest or format; run 'autods index {holding.dataset}'."
    if holding.missing is None:
        if _has_only_features(holding, root):
            return None
        return "no manifest is known; add --manifests FOLDER."
    if holding.stale:
        folders = ", ".join(str(root.features(one, holding.dataset)) for one in holding.stale)
        return (
            f"features of another manifest, which no stream uses; move {folders} away and run "
            f"'autods extract {holding.dataset}' again."
        )
    return None


def _totals(rows: list[dict[str, Any]]) -> str:
    """Return the last line of the list: how many datasets, classes and images are known."""
    classes = [row["classes"] for row in rows if row["classes"] is not None]
    images = [row["images"] for row in rows if row["images"] is not None]
    return (
        f"{counted(len(rows), 'dataset')}; {sum(classes):,} classes ({len(classes)} datasets) and "
        f"{sum(images):,} images ({len(images)}) are known."
    )
