"""The command ``autods``: its commands, one file per group. Heavy imports go inside them."""

from __future__ import annotations

from collections.abc import Callable

import typer

from autods.cli import (
    audit,
    catalogue,
    checks,
    export,
    extract,
    feature_map,
    features,
    fetch,
    new,
    preview,
    probe,
    share,
    streams,
)
from autods.core.console import AppCommand, AppGroup, add_version, run_app
from autods.core.cores import NUMPY, one_thread_by_default

app = typer.Typer(
    cls=AppGroup,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    help="Turn image-classification datasets into streams of features: fetch, index, extract.",
)

COMMANDS: dict[str, Callable[..., None]] = {
    "list": catalogue.list_datasets,
    "info": catalogue.info,
    "status": catalogue.status,
    "manifest-schema": catalogue.manifest_schema,
    "fetch": fetch.fetch,
    "import": fetch.import_files,
    "index": extract.index,
    "extract": extract.extract,
    "new": new.new,
    "import-features": features.import_features,
    "embed-classes": export.embed_classes,
    "export": export.export,
    "mirror": share.mirror,
    "publish": share.publish,
    "verify": checks.verify,
    "audit": audit.audit,
    "preview": preview.preview,
    "map": feature_map.draw_map,
    "probe": probe.probe,
    "doctor": checks.doctor,
}  # in the order of --help

add_version(app)
for name, command in COMMANDS.items():
    app.command(name, cls=AppCommand)(command)
app.add_typer(streams.group, name="stream")


def main() -> None:
    """Run ``autods``."""
    one_thread_by_default(NUMPY)
    run_app(app)
