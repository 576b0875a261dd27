"""What mkdocs calls while it builds: pages that only the site has join those of docs/.

Those are the references of the packages, which mkdocstrings fills in, and CONTRIBUTING.md.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from architecture import REPOSITORY
from docs_code import api_page

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files


def contributing_page() -> str:
    """Return CONTRIBUTING.md, whose links to docs/ are links to pages here."""
    return (REPOSITORY / "CONTRIBUTING.md").read_text("utf-8").replace("](docs/", "](")


PAGES = {
    "api/autods.md": lambda: api_page("autods"),
    "api/bmc.md": lambda: api_page("bmc"),
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
    """Add the pages that only the site has."""
    from mkdocs.structure.files import File

    for path, page in PAGES.items():
        files.append(File.generated(config, path, content=page()))


def on_page_content(html: str, **_: Any) -> str:
    """Make headers of tables that say nothing plain cells; a screen reader would read out a gap."""
    return re.sub(r"<th( [^>]*)?></th>", r"<td\1></td>", html)
