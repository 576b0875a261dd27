"""What mkdocs calls while it builds: pages that are made from the code join those of docs/.

A page is made when the site is built and stands in no commit, so it cannot differ from the code.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from architecture import REPOSITORY, drawing
from docs_cli import command_page
from docs_code import api_page, errors_page, examples_page, metrics_page
from docs_methods import methods_page

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files


def contributing_page() -> str:
    """Return CONTRIBUTING.md, whose links to docs/ are links to pages here."""
    return (REPOSITORY / "CONTRIBUTING.md").read_text("utf-8").replace("](docs/", "](")


PAGES = {
    "reference/autods.md": lambda: command_page("autods"),
    "reference/bmc-stream.md": lambda: command_page("bmc-stream"),
    "api/autods.md": lambda: api_page("autods"),
    "api/bmc.md": lambda: api_page("bmc"),
    "errors.md": errors_page,
    "examples.md": examples_page,
    "methods.md": methods_page,
    "metrics.md": metrics_page,
    "rooms-autods.svg": lambda: drawing(REPOSITORY / "autods"),
    "rooms-bmc.svg": lambda: drawing(REPOSITORY / "bmc"),
    "contributing.md": contributing_page,
}


def on_config(config: MkDocsConfig) -> None:
    """Add every page of docs/benchmarks to the navigation, by its heading."""
    docs = Path(config.docs_dir)
    pages = sorted(docs.glob("benchmarks/*.md"))
    headings = {page.read_text(encoding="utf-8").split("\n", 1)[0][2:]: page for page in pages}
    nav = [{title: page.relative_to(docs).as_posix()} for title, page in headings.items()]
    assert config.nav is not None
    config.nav.append({"Benchmarks": nav})


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the pages that are made from the code."""
    from mkdocs.structure.files import File

    for path, page in PAGES.items():
        files.append(File.generated(config, path, content=page()))
