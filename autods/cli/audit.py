"""The command that audits: copies, near-duplicates, labels, imbalance, unreadable images."""

from __future__ import annotations

import shutil
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autods.cli.common import (
    PAGES,
    Exclude,
    Json,
    Manifests,
    Names,
    Quiet,
    Root,
    Stream,
    check_report,
    chosen,
    command_line,
    each,
    open_catalogue,
    open_root,
)
from autods.core.console import print_json, print_table
from autods.core.output import tell
from autods.core.registry import unknown_encoder
from autods.errors import UsageError
from autods.features.encoder_names import remark_on

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autods.checks.audit_scan import Scanner
    from autods.core.progress import Progress
    from autods.core.root import DataRoot
    from autods.manifest.catalogue import Catalogue
    from autods.manifest.select import Selection

SHARED = 10  # pairs of datasets that the terminal names
BY_FEATURES = (
    "near: images with a near-duplicate that is no exact copy; near test: those of train and dev "
    "whose near-duplicate is in test; two classes: those with one under another class; labels: "
    "suspicious ones; agree: labels that the other images give as well."
)


def audit(
    names: Names = None,
    encoder: Annotated[
        str | None,
        typer.Option(help="Also near-duplicates and suspicious labels, by these features."),
    ] = None,
    stream: Stream = None,
    exclude: Exclude = None,
    threshold: Annotated[
        float | None, typer.Option(help="Least cosine of near-duplicates; default 0.95.")
    ] = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="Only hash the images; do not decode them.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Audit anew what was audited before.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that read images; default: all cores.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="File for the findings: .html with thumbnails, else Markdown."),
    ] = None,
    root: Root = None,
    manifests: Manifests = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Look for copies, wrong labels, imbalance and unreadable images in indexed datasets."""
    from autods.checks.audit import audit_dataset
    from autods.checks.audit_report import flawed
    from autods.checks.audit_scan import Scanner
    from autods.core.cores import usable_cores
    from autods.core.progress import console_board
    from autods.manifest.select import Selection

    data_root = open_root(root)
    catalogue = open_catalogue(manifests, data_root)
    if threshold is not None and encoder is None:
        raise UsageError("--threshold goes with --encoder; nothing was done.")
    check_report(report)
    selection = Selection(names or (), False, stream, exclude or ())
    wanted = _wanted(selection, encoder, catalogue, data_root)
    indexed = wanted
    if encoder is not None:  # imported features have no images
        indexed = [name for name in wanted if data_root.samples(name).is_file()]
    board = console_board(len(indexed), quiet=quiet, in_turn="dataset")
    progress = board.of("")
    if without := [name for name in wanted if name not in indexed]:
        progress.note(f"not indexed, so only features are looked at: {', '.join(without)}")
    found: list[dict[str, Any]] = []

    def finish() -> None:
        features = None
        if encoder is not None:
            features = _by_features(data_root, encoder, wanted, threshold, progress, scanner)
        if json and encoder is None:
            print_json(found)
        elif json:
            print_json({"datasets": found, "features": features})
        else:
            _show(found, features)
        if report is not None and (found or features):
            _write(report, data_root, found, features)
            print(f"Report: {report}", file=sys.stderr)
        elif not json and (features or any(flawed(findings) for findings in found)):
            tell("--report FILE.html shows these images.")
        if not json and encoder is None and (one := _encoder_of(data_root, wanted)):
            tell(f"--encoder {one} also finds near-duplicates and suspicious labels.")

    workers = workers or usable_cores()
    with Scanner(workers, decode=not fast, small=encoder is not None) as scanner, board:

        def one(name: str) -> None:
            manifest = catalogue.dataset(name) if name in catalogue.datasets() else None
            found.append(audit_dataset(data_root, name, manifest, scanner, progress, again=again))

        each(indexed, one, finish, board)


def _by_features(
    root: DataRoot,
    encoder: str,
    names: Sequence[str],
    threshold: float | None,
    progress: Progress,
    scanner: Scanner,
) -> dict[str, Any]:
    from autods.checks.audit_features import audit_features
    from autods.checks.near import THRESHOLD

    return audit_features(
        root, encoder, names, progress, THRESHOLD if threshold is None else threshold, scanner
    )


def _show(found: Sequence[dict[str, Any]], features: dict[str, Any] | None) -> None:
    from autods.checks.audit_report import LEGEND, features_row, pixels_line, row

    width = shutil.get_terminal_size().columns
    if found:
        print_table("Audit ('?': not looked at)", [row(findings) for findings in found])
        print(textwrap.fill(LEGEND, width))
    if features is None:
        return
    if found:
        print()
    rows = [features_row(name, findings) for name, findings in features["datasets"].items()]
    print_table(f"By the features of {features['encoder']}", rows)
    print(textwrap.fill(BY_FEATURES, width))
    print(textwrap.fill(pixels_line(features["pixels"]), width))
    if remark := remark_on(features["encoder"]):
        print(textwrap.fill(remark, width))
    if features["between"]:
        print()
        shared = features["between"]
        title = f"Datasets that share near-duplicates ({len(shared)} pairs of datasets)"
        print_table(
            title,
            [
                {"dataset": one, "and": other, "pairs": item["pairs"]}
                for item in shared[:SHARED]
                for one, other in [item["datasets"]]
            ],
            names=2,
        )


def _write(
    report: Path,
    root: DataRoot,
    found: Sequence[dict[str, Any]],
    features: dict[str, Any] | None,
) -> None:
    from autods.checks.audit_report import write_report
    from autods.core.files import atomic

    if report.suffix.lower() in PAGES:
        from autods.checks.audit_page import write_audit_page

        command = command_line()
        write_audit_page(report, root, found, features, command)
        return
    with atomic(report) as temporary:
        temporary.write_text(write_report(found, features), encoding="utf-8")


def _wanted(
    selection: Selection, encoder: str | None, catalogue: Catalogue, root: DataRoot
) -> list[str]:
    """Return the datasets of a selection; of a stream, those that are here."""
    sets = root.feature_sets()
    if encoder is not None and encoder not in (encoders := {one for one, _ in sets}):
        raise unknown_encoder(encoder, encoders, f"under {root.path}")
    here = [name for name in root.datasets() if root.samples(name).is_file()]
    if encoder is not None:
        here = [name for one, name in sets if one == encoder]
    found = chosen(selection, catalogue, lambda: here)
    if selection.stream is not None:
        found = [name for name in found if name in here]
    told = f"of stream '{selection.stream}'" if selection.stream else "under this root"
    if not found and encoder is not None:
        raise UsageError(f"no dataset {told} has features by {encoder}; nothing was done.")
    if not found:
        raise UsageError(f"no dataset {told} is indexed; start with `autods index`.")
    return found


def _encoder_of(root: DataRoot, names: Sequence[str]) -> str | None:
    """Return an encoder that has features of all these datasets."""
    sets = root.feature_sets()
    for encoder in sorted({one for one, _ in sets}):
        if all((encoder, name) in sets for name in names):
            return encoder
    return None
