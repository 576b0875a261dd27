"""The command ``autods``: its commands, one file per group. Heavy imports stand inside them."""

from __future__ import annotations

import typer

from autods import (
    cli_build,
    cli_catalogue,
    cli_checks,
    cli_export,
    cli_features,
    cli_fetch,
    cli_streams,
)
from autods.console import run_app
from autods.versions import add_version

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Turn image-classification datasets into streams of features: fetch, index, extract.",
)

add_version(app)
cli_catalogue.register(app)
cli_fetch.register(app)
cli_build.register(app)
cli_features.register(app)
cli_export.register(app)
cli_streams.register(app)
cli_checks.register(app)


def main() -> None:
    """Run ``autods``."""
    run_app(app)
