"""The command that probes: how well features tell classes apart."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autods.cli.common import (
    Json,
    Manifests,
    Root,
    check_report,
    command_line,
    open_catalogue,
    open_root,
)
from autods.core.console import print_json, print_table
from autods.core.output import tell
from autods.core.registry import unknown, unknown_dataset
from autods.errors import UsageError

if TYPE_CHECKING:
    from autods.checks.probe import Probe
    from autods.core.root import DataRoot
    from autods.features.sets import StoredFeatures
    from autods.manifest.catalogue import Catalogue

MODEL = "ViT-B-32"  # if nothing is named and nothing is extracted, as `extract` does
TOLD = 5  # confused pairs that the terminal names


def probe(
    what: Annotated[
        str, typer.Argument(metavar="NAME|FOLDER", help="A dataset, or a folder of images.")
    ],
    encoder: Annotated[
        str | None,
        typer.Option(help="Features of this encoder; extracted if they are not here."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="In place of --encoder: a model as of extract.")
    ] = None,
    pretrained: Annotated[
        str | None, typer.Option(help="Tag of published weights, or a checkpoint file.")
    ] = None,
    random_weights: Annotated[
        int | None, typer.Option(help="Seed of random weights, to try the pipeline out.")
    ] = None,
    device: Annotated[str, typer.Option(help="For extraction: auto, cpu, cuda.")] = "auto",
    report: Annotated[
        Path | None, typer.Option(help="HTML file with thumbnails of what is confused.")
    ] = None,
    root: Root = None,
    manifests: Manifests = None,
    json: Json = False,
) -> None:
    """Tell how well features tell classes apart: kNN, LDA and linear probe, what is confused.

    A folder of images, one for each class, is extracted first, under --root or a temporary one.
    """
    from autods.checks.probe import probe as probe_features
    from autods.core.progress import console_progress

    check_report(report)
    wanted = _wanted(encoder, model, pretrained, random_weights)
    with _prepared(what, root, manifests) as (name, data_root, catalogue):
        found, features = [], []
        for stored in _features(name, data_root, catalogue, wanted, device):
            found.append(probe_features(stored, progress=console_progress()))
            features.append(stored)
        best = max(range(len(found)), key=lambda i: found[i].best.chosen_on)
        if json:
            print_json([_facts(one) for one in found])
        else:
            _show(found, found[best])
        if report is not None:
            from autods.checks.probe_page import write_probe_page

            command = command_line()
            write_probe_page(report, data_root, features[best], found[best], command)
            print(f"Report: {report}", file=sys.stderr)
        elif not json:
            tell("--report FILE.html shows the images that are confused.")


def _wanted(
    encoder: str | None, model: str | None, pretrained: str | None, random_weights: int | None
) -> dict[str, Any]:
    """Return the options of extraction, with ``encoder`` if its name was given."""
    from autods.features.sets import encoder_options

    if encoder is not None and (model, pretrained, random_weights) != (None, None, None):
        raise UsageError("expected --encoder or --model and its options, got both.")
    if encoder is None and model is None and (pretrained, random_weights) != (None, None):
        raise UsageError("--pretrained and --random-weights go with --model; nothing was done.")
    if encoder is None:
        return {"model": model, "pretrained": pretrained, "random_weights": random_weights}
    options: dict[str, Any] = {"pretrained": None, "random_weights": None}
    options |= encoder_options(encoder)
    if options["random_weights"] is not None:
        seed = options["random_weights"]
        options["random_weights"] = int(seed) if seed.isdecimal() else 0
    return {"encoder": encoder, **options}


@contextmanager
def _prepared(
    what: str, root: Path | None, manifests: list[Path] | None
) -> Iterator[tuple[str, DataRoot, Catalogue]]:
    """Yield the dataset that is meant, its root and its catalogue; of a folder, make them."""
    data_root = open_root(root)
    catalogue = open_catalogue(manifests, data_root)
    here = {*data_root.datasets(), *(name for _, name in data_root.feature_sets())}
    folder = Path(what).expanduser()
    if what in here or (what in catalogue.datasets() and not folder.is_dir()):
        yield what, data_root, catalogue
    elif not folder.is_dir() and (os.sep in what or folder.exists()):
        raise UsageError(
            f"{what}: expected the name of a dataset or a folder of images; nothing was done."
        )
    elif not folder.is_dir():
        raise unknown_dataset("dataset or folder", what, {*catalogue.datasets(), *here})
    elif root is not None:
        yield _from_folder(folder, data_root)
    else:
        with tempfile.TemporaryDirectory(prefix="autods-probe-") as temporary:
            tell(
                "The index and the features are temporary; --root FOLDER keeps them.",
                sys.stderr,
            )
            yield _from_folder(folder, open_root(Path(temporary)))


def _from_folder(folder: Path, root: DataRoot) -> tuple[str, DataRoot, Catalogue]:
    """Make a dataset of a folder under a root, unless it is there; the folder may not change."""
    from autods import verbs
    from autods.core.files import hash_tree
    from autods.manifest.catalogue import Catalogue
    from autods.manifest.new.folder import manifest_from_folder

    name = re.sub(r"[^a-z0-9_-]+", "-", folder.resolve().name.lower()).strip("-_") or "images"
    if name in Catalogue().datasets():
        name = f"my-{name}"
    home = root.path / "manifests"
    if not (home / f"{name}.yaml").exists():
        _, remarks = manifest_from_folder(name, folder, home)
        tell("\n".join(remarks[:-2]), sys.stderr)  # without what `fetch` does, and the next command
    catalogue = Catalogue([home], root)
    manifest = catalogue.dataset(name)
    if manifest.files[0].checksum != f"tree:{hash_tree(folder)}":
        raise UsageError(
            f"{folder} is not what was probed under {root.path} as '{name}': its images changed, "
            f"or it is another folder of this name. Name another --root, or delete "
            f"{home / f'{name}.yaml'} and {root.dataset(name)}."
        )
    verbs.fetch(name, root, catalogue=catalogue, quiet=True)
    return name, root, catalogue


def _features(
    name: str, root: DataRoot, catalogue: Catalogue, wanted: dict[str, Any], device: str
) -> list[StoredFeatures]:
    """Return the features that are wanted; extract them if they are not here."""
    from autods import verbs
    from autods.features.sets import open_features

    here = [one for one, dataset in root.feature_sets() if dataset == name]
    encoder = wanted.pop("encoder", None)
    if encoder in here:
        return [open_features(root, encoder, name)]
    if encoder is None and wanted["model"] is None and here:
        return [open_features(root, one, name) for one in here]
    if name not in catalogue.datasets():  # imported: there are no images to extract from
        raise unknown(f"encoder with features of '{name}'", encoder or wanted["model"], here)
    if wanted["pretrained"] == "FILE":
        raise UsageError(
            f"features of '{name}' by '{encoder}' are not here, and its weights are a file: name "
            f"it by --model {wanted['model']} --pretrained FILE; nothing was done."
        )
    wanted["model"] = wanted["model"] or MODEL
    told = encoder or wanted["model"]
    tell(f"Extracting the features of {name} by {told}.", sys.stderr)
    outcome = verbs.extract(name, root, catalogue=catalogue, device=device, **wanted)[name]
    return [open_features(root, outcome.encoder, name)]


def _show(found: list[Probe], best: Probe) -> None:
    several = len(found) > 1
    rows = [
        {
            **({"encoder": one.encoder} if several else {}),
            "probe": answer.name,
            "accuracy": f"{answer.accuracy:.1%}",
            "95 % interval": "{:.1%} to {:.1%}".format(*answer.interval),
            "chosen": answer.setting,
            "seconds": round(answer.seconds, 1),
        }
        for one in found
        for answer in one.answers
    ]
    title = f"Probe of {best.dataset}" + ("" if several else f" by {best.encoder}")
    print_table(title, rows, names=2 if several else 1)
    chosen = "on a fifth of train" if best.drawn else "on dev"
    left = f" ({best.left_out:,} more left out)" if best.left_out else ""
    lines = [
        f"{len(best.rows):,} test images of {len(best.class_names):,} classes; learned from "
        f"{best.learned:,} of train and dev{left}; settings chosen {chosen}. Always the most "
        f"frequent class: {best.chance:.1%}."
    ]
    names = best.class_names
    pairs = [f"{names[a]} and {names[b]} ({count:,})" for a, b, count in best.confused()[:TOLD]]
    if pairs:
        lines.append(f"Most confused ({best.best.name}): {'; '.join(pairs)}.")
    width = shutil.get_terminal_size().columns
    print(*(textwrap.fill(line, width) for line in lines), sep="\n")


def _facts(found: Probe) -> dict[str, Any]:
    """Return a probe for programs."""
    names = found.class_names
    return {
        "dataset": found.dataset,
        "encoder": found.encoder,
        "classes": len(names),
        "learned_from": found.learned,
        "left_out": found.left_out,
        "test_images": len(found.rows),
        "most_frequent_class": found.chance,
        "probes": {
            answer.name: {
                "accuracy": answer.accuracy,
                "interval": list(answer.interval),
                "chosen": answer.setting,
                "chosen_on_accuracy": answer.chosen_on,
                "seconds": answer.seconds,
            }
            for answer in found.answers
        },
        "best": found.best.name,
        "confused": [
            {"classes": [names[a], names[b]], "images": count} for a, b, count in found.confused()
        ],
        "confusion": found.confusion().tolist(),
        "class_names": names,
    }
