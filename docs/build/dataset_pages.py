"""One page for each dataset: what its manifest says, in words and tables."""

from __future__ import annotations

from dataset_tables import ORIGINAL, split_rule, table
from rich.filesize import decimal

from autods.manifest.catalogue import Catalogue
from autods.manifest.schema import Manifest
from autods.manifest.sources import FileEntry, Mirror

ACCESS = {
    "open": "open",
    "kaggle": "a Kaggle account",
    "kaggle-competition": "a Kaggle account that accepted the rules of the competition",
    "form": "by a form or an e-mail: `autods import` takes what you got",
}
ADDRESSES = {
    "gdrive": "https://drive.google.com/file/d/{}/view",
    "kaggle": "https://www.kaggle.com/datasets/{}",
    "kaggle-competition": "https://www.kaggle.com/competitions/{}",
}
NAMES = 40  # class names that are shown


def dataset_pages() -> dict[str, str]:
    """Return the pages of all datasets, by their paths below docs/."""
    catalogue = Catalogue()
    return {f"datasets/{n}.md": _page(catalogue.dataset(n)) for n in catalogue.datasets()}


def _page(manifest: Manifest) -> str:
    parts = [
        f"# {manifest.name}",
        f"{manifest.title}. [All datasets](../datasets.md)",
        table(["what", "as the manifest says"], _facts(manifest)),
        "## Label sets",
        table(["label set", "classes", "names"], _label_sets(manifest)),
        "## Splits",
        table(["protocol", "rule"], [[name, split_rule(r)] for name, r in manifest.splits.items()]),
        "## Files",
        table(["file", "size", "checksum", "from"], map(_file, manifest.files)),
        *_quirks(manifest),
        "## Use it",
        _commands(manifest),
    ]
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def _facts(manifest: Manifest) -> list[list[object]]:
    known = manifest.expected
    clean = f"{_count(known.train)} train, {_count(known.test)} test"
    published = f"{_count(known.published_train)} train, {_count(known.published_test)} test"
    return [
        ["homepage", manifest.homepage and f"<{manifest.homepage}>"],
        ["citation", manifest.citation and " ".join(manifest.citation.split())],
        ["licence", manifest.licence and " ".join(manifest.licence.split())],
        ["access", ACCESS[manifest.access]],
        ["classes", known.classes],
        ["images", known.total],
        ["protocol `clean`", clean],
        ["the published run", published],
        ["counts from", known.source and " ".join(known.source.split())],
    ]


def _count(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"


def _label_sets(manifest: Manifest) -> list[list[object]]:
    rows: list[list[object]] = []
    for name, task in manifest.tasks.items():
        names = task.names()
        shown = "as in the archive" if names is None else ", ".join(names[:NAMES])
        if names is not None and len(names) > NAMES:
            shown += f" and {len(names) - NAMES:,} more"
        mark = " (default)" if name == manifest.default_task and len(manifest.tasks) > 1 else ""
        rows.append([f"`{name}`{mark}", names and len(names), shown])
    return rows


def _file(entry: FileEntry) -> list[object]:
    about = entry.about and f"about {decimal(entry.about)}"
    size = decimal(entry.size) if entry.size is not None else about
    checksum = f"`{entry.checksum}`"
    return [f"`{entry.name}`", size, checksum, "<br>".join(map(_place, entry.mirrors))]


def _place(mirror: Mirror) -> str:
    form = ADDRESSES.get(mirror.kind)
    address = form.format(mirror.url.split("#")[0].split("@")[0]) if form else mirror.url
    if mirror.kind == "huggingface":
        repository, _, rest = mirror.url.partition("@")
        revision, _, path = rest.partition(":")
        address = f"https://huggingface.co/datasets/{repository}/blob/{revision}/{path}"
    return f"{mirror.kind}: <{address}>" if "://" in address else f"{mirror.kind}: `{address}`"


def _quirks(manifest: Manifest) -> list[str]:
    if not manifest.quirks:
        return []
    lines = []
    for quirk in manifest.quirks:
        text = " ".join(quirk.split())
        if text.startswith(ORIGINAL):
            text = f"The published code {text.removeprefix(ORIGINAL)}"
        lines.append(f"- {text}")
    return ["## What to know", "\n".join(lines)]


def _commands(manifest: Manifest) -> str:
    name = manifest.name
    return (
        f'```sh title="needs a network"\nautods fetch {name}\n'
        f"autods extract {name} --model ViT-B-32\n```"
    )
