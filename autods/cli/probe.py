"""The command that probes: how well features tell classes apart."""

from __future__ import annotations

import shutil
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autods.cli import next_steps
from autods.cli.common import (
    Json,
    Manifests,
    Quiet,
    Root,
    check_report,
    command_line,
    open_root,
)
from autods.cli.probe_source import Layout, features_of, prepared, wanted_features
from autods.core.console import print_json, print_next, print_table
from autods.core.output import tell
from autods.features.encoder_names import remark_on

if TYPE_CHECKING:
    from autods.checks.probe import Probe

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
    splits: Annotated[
        str | None, typer.Option(help="Of a folder: folders that are splits, as of new.")
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="Of a deep folder: first, last or path, as of new.")
    ] = None,
    device: Annotated[str, typer.Option(help="For extraction: auto, cpu, cuda.")] = "auto",
    report: Annotated[
        Path | None, typer.Option(help="HTML file with thumbnails of what is confused.")
    ] = None,
    root: Root = None,
    manifests: Manifests = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Tell how well features tell classes apart: kNN, LDA and linear probe, what is confused.

    A folder of images, one for each class, is extracted first, under --root or a temporary one.
    """
    from autods.checks.probe import probe as probe_features
    from autods.core.progress import console_progress

    check_report(report)
    wanted = wanted_features(encoder, model, pretrained, random_weights, device, quiet)
    layout = Layout(splits, classes)
    with prepared(what, root, manifests, wanted, layout) as (name, data_root, catalogue):
        found, features = [], []
        for stored in features_of(name, data_root, catalogue, wanted):
            found.append(probe_features(stored, progress=console_progress(quiet=quiet)))
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
        if not json:
            kinds = len(found[best].class_names)
            step = next_steps.run([name], found[best].encoder, root, classes=kinds)
            if data_root.path != open_root(root).path:  # a temporary one
                step = next_steps.command("autods new", name, "--folder", what, *layout.words())
            print_next(step, quiet=quiet)


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
    if remark := remark_on(best.encoder):
        lines.append(remark)
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
