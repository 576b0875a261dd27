"""Write the pages of docs/ that are made from the code and the manifests.

They are committed, so that they can be read as files; a test compares them with what this writes:

    python docs/build/pages.py
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dataset_tables
from architecture import REPOSITORY, drawing
from dataset_pages import dataset_pages
from docs_cli import command_page
from docs_code import errors_page, examples_page, metrics_page
from docs_methods import methods_page
from notebook import notebook_pages

DOCS = REPOSITORY / "docs"
MARK = "<!-- Written by `python docs/build/pages.py`; do not edit it by hand. -->\n"

PAGES: dict[str, Callable[[], str]] = {
    "reference/autods.md": lambda: command_page("autods"),
    "reference/bmc-stream.md": lambda: command_page("bmc-stream"),
    "datasets.md": dataset_tables.page,
    "errors.md": errors_page,
    "examples.md": examples_page,
    "methods.md": methods_page,
    "metrics.md": metrics_page,
}
PICTURES = {f"rooms-{name}.svg": REPOSITORY / name for name in ("autods", "bmc")}


def written() -> dict[str, bytes]:
    """Return every page and picture, by its path below docs/."""
    pages = {path: page() for path, page in PAGES.items()} | dataset_pages()
    pages |= {path: drawing(package) for path, package in PICTURES.items()}
    return {path: _bytes(path, page) for path, page in (pages | notebook_pages()).items()}


def write(folder: Path = DOCS) -> list[str]:
    """Write all that differ, remove pages of datasets that are gone; return their paths."""
    pages = written()
    changed = [path for path, content in pages.items() if _content(folder / path) != content]
    for path in changed:
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(pages[path])
    gone = [p for p in (folder / "datasets").glob("*.md") if f"datasets/{p.name}" not in pages]
    for path in gone:
        path.unlink()
    return [*changed, *(f"datasets/{path.name}" for path in gone)]


def _bytes(path: str, page: str | bytes) -> bytes:
    if isinstance(page, bytes):
        return page
    mark = MARK if path.endswith(".md") else ""
    return (mark + page.rstrip("\n") + "\n").encode()


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


if __name__ == "__main__":
    for path in write():
        print(path)
