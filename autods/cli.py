"""The command ``autods``: its commands, one file per group. Heavy imports stand inside them."""

from __future__ import annotations

import typer

from autods import cli_build, cli_catalogue, cli_checks, cli_export, cli_features, cli_fetch
from autods.console import run_app

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Turn image-classification datasets into streams of features: fetch, index, extract.",
)

cli_catalogue.register(app)
cli_fetch.register(app)
cli_build.register(app)
cli_features.register(app)
cli_export.register(app)
cli_checks.register(app)


def main() -> None:
    """Run ``autods``."""
    run_app(app)
