"""The command ``autods``: its commands, one file per group. Heavy imports stand inside them."""

from __future__ import annotations

import typer

from autods.cli import catalogue, checks, export, extract, features, fetch, streams
from autods.core.console import add_version, run_app

app = typer.Typer(
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    help="Turn image-classification datasets into streams of features: fetch, index, extract.",
)

add_version(app)
catalogue.register(app)
fetch.register(app)
extract.register(app)
features.register(app)
export.register(app)
streams.register(app)
checks.register(app)


def main() -> None:
    """Run ``autods``."""
    run_app(app)
