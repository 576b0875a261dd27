"""The command ``autods``: parse, call, print. Heavy imports stand inside the commands."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autods.console import print_json, print_table, run_app
from autods.errors import AutodsError, UsageError

if TYPE_CHECKING:
    from autods.catalogue import Catalogue
    from autods.root import DataRoot

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Turn image-classification datasets into streams of features: fetch, index, extract.",
)

Names = Annotated[list[str] | None, typer.Argument(help="Names of datasets.")]
Root = Annotated[
    Path | None, typer.Option(help="Data root; default AUTODS_ROOT, else the user's data folder.")
]
Manifests = Annotated[
    list[Path] | None, typer.Option(help="Further folder of manifests; can be repeated.")
]
All = Annotated[bool, typer.Option("--all", help="Every dataset that has a manifest.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@app.command("list")
def list_datasets(manifests: Manifests = None, json: Json = False) -> None:
    """List the datasets that have a manifest."""
    catalogue = _catalogue(manifests)
    rows = []
    for name in catalogue.datasets():
        manifest = catalogue.dataset(name)
        rows.append(
            {
                "name": name,
                "title": manifest.title,
                "classes": manifest.expected.classes,
                "train": manifest.expected.train,
                "test": manifest.expected.test,
                "licence": manifest.licence,
                "access": manifest.access,
            }
        )
    if json:
        print_json(rows)
    else:
        print_table("Datasets ('?': unknown)", rows)


@app.command()
def info(name: str, manifests: Manifests = None, json: Json = False) -> None:
    """Show one manifest: sources, tasks, splits, counts, quirks."""
    import yaml

    manifest = _catalogue(manifests).dataset(name)
    values = manifest.model_dump(mode="json", by_alias=True)
    if json:
        print_json(values)
    else:
        print(yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100), end="")


@app.command()
def fetch(
    names: Names = None,
    everything: All = False,
    mirror: Annotated[
        list[str] | None, typer.Option(help="URL or folder tried first; can be repeated.")
    ] = None,
    root: Root = None,
    manifests: Manifests = None,
) -> None:
    """Download the archives of datasets and verify them; resumes what was interrupted."""
    from autods.fetch import fetch_dataset
    from autods.progress import console_progress

    catalogue, data_root, progress = _catalogue(manifests), _root(root), console_progress()
    chosen = _chosen(names, everything, catalogue, "fetch")
    _each(
        chosen,
        lambda name: fetch_dataset(catalogue.dataset(name), data_root, progress, mirror or ()),
    )


@app.command()
def index(
    names: Names = None, everything: All = False, root: Root = None, manifests: Manifests = None
) -> None:
    """Write the sample index of fetched datasets: ids, splits, labels, places."""
    from autods.progress import console_progress
    from autods.samples import index_dataset

    catalogue, data_root, progress = _catalogue(manifests), _root(root), console_progress()
    rows: list[dict[str, Any]] = []

    def one(name: str) -> None:
        manifest = catalogue.dataset(name)
        found = index_dataset(manifest, data_root, progress)
        counts = found.counts["clean"]
        rows.append(
            {
                "dataset": name,
                "action": found.action,
                "samples": found.samples,
                "classes": found.classes[manifest.default_task],
                **counts,
            }
        )

    chosen = _chosen_here(names, everything, catalogue, data_root)
    _each(chosen, one, then=lambda: print_table("Index (protocol clean)", rows) if rows else None)


@app.command()
def extract(
    names: Names = None,
    everything: All = False,
    model: Annotated[str, typer.Option(help="An open_clip model.")] = "ViT-B-32",
    pretrained: Annotated[
        str | None, typer.Option(help="Tag of published weights, or a checkpoint file.")
    ] = None,
    random_weights: Annotated[
        int | None, typer.Option(help="Seed of random weights, to try the pipeline out.")
    ] = None,
    precision: Annotated[str, typer.Option(help="fp32, fp16 or bf16.")] = "fp32",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    batch_size: Annotated[int, typer.Option(min=1, help="Images encoded at once.")] = 64,
    workers: Annotated[int, typer.Option(min=0, help="Processes that decode images.")] = 0,
    shard_size: Annotated[int, typer.Option(min=1, help="Samples of one shard.")] = 16384,
    root: Root = None,
    manifests: Manifests = None,
) -> None:
    """Extract features of fetched datasets (all that are here, if none is named)."""
    from autods.progress import console_progress
    from autods.samples import index_dataset

    catalogue, data_root, progress = _catalogue(manifests), _root(root), console_progress()
    chosen = _chosen_here(names, everything, catalogue, data_root)

    from autods.encode.encoders import load_encoder
    from autods.encode.extract import extract_dataset

    encoder = load_encoder(
        model, pretrained, random_weights, precision, _device(device), progress=progress
    )

    def one(name: str) -> None:
        manifest = catalogue.dataset(name)
        index_dataset(manifest, data_root, progress)
        extract_dataset(
            manifest,
            data_root,
            encoder,
            batch_size=batch_size,
            workers=workers,
            shard_size=shard_size,
            progress=progress,
        )

    _each(chosen, one)
    print(f"Encoder: {encoder.name}")


@app.command()
def verify(
    names: Names = None,
    encoder: Annotated[str | None, typer.Option(help="Check this encoder's features only.")] = None,
    root: Root = None,
    manifests: Manifests = None,
) -> None:
    """Check archives, index and features of what is under the root; exit 1 on any problem."""
    from autods.feature_sets import list_encoders, list_features
    from autods.fetch import verify_archives
    from autods.samples import verify_index
    from autods.verify import verify_features

    catalogue, data_root = _catalogue(manifests), _root(root)
    stored = {n for e in list_encoders(data_root) for n in list_features(data_root, e)}
    recorded = set(data_root.datasets())
    for name in names or []:
        if name not in stored | recorded:
            catalogue.path(name)
            raise UsageError(f"nothing of '{name}' is here yet; run `autods fetch {name}` first.")
    problems = []
    for name in sorted(recorded if names is None else recorded & set(names)):
        if name not in catalogue.datasets():
            problems.append(f"{name}: not checked: no manifest is known; add --manifests FOLDER.")
            continue
        manifest = catalogue.dataset(name)
        problems += verify_archives(manifest, data_root)
        if data_root.samples(name).exists():
            problems += verify_index(manifest, data_root)
    if names is None or stored & set(names):
        problems += verify_features(data_root, encoder, sorted(stored & set(names or ())))
    for problem in problems:
        print(problem)
    if problems:
        raise AutodsError(f"{len(problems)} problem(s) found; nothing was changed.")
    looked = "No problem found" if recorded | stored else "Nothing to verify yet"
    print(f"{looked} under {data_root.path}.")


@app.command("import-features")
def import_features(
    folder: Annotated[Path, typer.Argument(help="Folder of NAME.npz files.")],
    encoder: Annotated[str, typer.Option(help="Name to give the encoder that made them.")],
    pad_to: Annotated[
        int | None, typer.Option(help="Fill narrower features up with zeros to this width.")
    ] = None,
    root: Root = None,
) -> None:
    """Turn a folder of .npz features into feature sets that streams can use."""
    from autods.import_features import import_npz_folder
    from autods.progress import console_progress

    outcome = import_npz_folder(
        folder, _root(root), encoder, pad_to=pad_to, progress=console_progress()
    )
    for name in outcome.imported:
        print(f"imported {name}")
    for name in outcome.kept:
        print(f"kept     {name}")


@app.command()
def status(root: Root = None, manifests: Manifests = None, json: Json = False) -> None:
    """Show what is fetched, indexed and extracted under the root."""
    from autods.feature_sets import list_encoders, list_features

    catalogue, data_root = _catalogue(manifests), _root(root)
    features = {encoder: list_features(data_root, encoder) for encoder in list_encoders(data_root)}
    fetched = _fetched(catalogue, data_root)
    rows = [
        {
            "dataset": name,
            "fetched": name in fetched if name in catalogue.datasets() else None,
            "indexed": data_root.samples(name).exists(),
            "features": [e for e, names in features.items() if name in names],
        }
        for name in sorted(
            {*data_root.datasets(), *(n for found in features.values() for n in found)}
        )
    ]
    if json:
        print_json({"root": str(data_root.path), "datasets": rows})
    elif rows:
        print_table(f"Under {data_root.path}", rows)
    else:
        print(f"Nothing under {data_root.path} yet. Start with `autods fetch NAME`.")


@app.command()
def new(
    name: str,
    folder: Annotated[Path, typer.Option(help="Folder of images, one folder per class.")],
    out: Annotated[Path, typer.Option(help="Folder for the manifest.")] = Path(),
) -> None:
    """Write a manifest for a folder of images."""
    from autods.new import new_manifest

    print(new_manifest(name, folder, out))


def _root(path: Path | None) -> DataRoot:
    from autods.root import DataRoot

    return DataRoot.open(path)


def _catalogue(folders: list[Path] | None) -> Catalogue:
    from autods.catalogue import Catalogue

    return Catalogue(folders or ())


def _chosen(
    names: list[str] | None, everything: bool, catalogue: Catalogue, command: str
) -> list[str]:
    if bool(names) == everything:
        raise UsageError(f"expected names of datasets or --all: autods {command} NAME...")
    for name in names or []:
        catalogue.path(name)
    return names or catalogue.datasets()


def _chosen_here(
    names: list[str] | None, everything: bool, catalogue: Catalogue, root: DataRoot
) -> list[str]:
    """Choose the datasets of a command that works on what is fetched already."""
    if names and everything:
        raise UsageError("expected names of datasets or --all, got both; nothing was done.")
    for name in names or []:
        catalogue.path(name)
    chosen = names or (catalogue.datasets() if everything else _fetched(catalogue, root))
    if not chosen:
        raise UsageError("no dataset is fetched under this root; start with `autods fetch NAME`.")
    return chosen


def _fetched(catalogue: Catalogue, root: DataRoot) -> list[str]:
    """List the datasets with a manifest whose files are all under the root."""
    from autods.fetch import missing_files

    recorded = [name for name in root.datasets() if name in catalogue.datasets()]
    return [name for name in recorded if not missing_files(catalogue.dataset(name), root)]


def _device(text: str) -> str:
    if text != "auto":
        return text
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _each(
    names: list[str], action: Callable[[str], object], then: Callable[[], None] | None = None
) -> None:
    """Do something with each dataset; one that fails does not stop the others."""
    failed = []
    for name in names:
        try:
            action(name)
        except AutodsError as error:
            failed.append(name)
            print(f"error: {name}: {error}", file=sys.stderr)
    if then is not None:
        then()
    if failed:
        raise AutodsError(f"{len(failed)} of {len(names)} datasets failed: {', '.join(failed)}")


def main() -> None:
    """Run ``autods``."""
    run_app(app)
