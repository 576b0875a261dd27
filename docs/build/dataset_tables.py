"""The page of all datasets: what the manifests say of them, as tables."""

from __future__ import annotations

from collections.abc import Iterable

from autods.layouts import Layout
from autods.manifest.catalogue import Catalogue
from autods.manifest.schema import Manifest, SplitRule

ORIGINAL = "Original: "  # how a quirk begins that tells what the published code does
PUBLISHED = {"classes": 2866, "training images": 6_770_722, "validation images": 743_977}

INTRODUCTION = """\
# Datasets

Each name leads to a page with labels, splits, files and quirks. A number that is not known is shown
as `?`.

"Published" is the run that the benchmark reports: the original toolkit's split of the default label
set. `clean` is our default protocol: official splits where they exist, one copy of every tree,
groups such as patients kept together, the rest drawn with a seed. `paper` repeats the published
split where it can be reproduced, that is where it came from files and not from an unseeded draw.
"""


def page() -> str:
    """Return the whole page."""
    catalogue = Catalogue()
    manifests = [catalogue.dataset(name) for name in catalogue.datasets()]
    of_stream = [item.dataset for item in catalogue.stream("stream71").datasets]
    stream = [catalogue.dataset(name) for name in of_stream]
    further = [m for m in manifests if m.name not in of_stream]
    parts = [
        INTRODUCTION,
        f"## The {len(stream)} datasets of Stream, in its order\n",
        _overview(stream),
        "## Sums against the published totals\n",
        _sums(stream),
        f"## {len(further)} further datasets\n",
        _overview(further),
        "## Layout families\n",
        _families(manifests),
        "## What clean does differently from the published run\n",
        _differences(manifests),
    ]
    return "\n".join(parts)


def table(head: list[str], rows: Iterable[list[object]]) -> str:
    """Return a Markdown table; numbers with thousands separators, ``None`` as ``?``."""
    lines = [head, ["---"] * len(head), *([_cell(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _overview(manifests: list[Manifest]) -> str:
    head = ["dataset", "classes", "label sets", "images", "published train", "published val",
            "protocols", "access", "licence"]  # fmt: skip
    rows = [
        [
            f"[{m.name}](datasets/{m.name}.md)",
            m.expected.classes,
            len(m.tasks),
            m.expected.total,
            m.expected.published_train,
            m.expected.published_test,
            ", ".join(sorted(m.splits)),
            m.access,
            m.licence,
        ]
        for m in manifests
    ]
    return table(head, rows)


def _sums(stream: list[Manifest]) -> str:
    found = {
        "classes": {m.name: m.expected.classes for m in stream},
        "training images": {m.name: m.expected.published_train for m in stream},
        "validation images": {m.name: m.expected.published_test for m in stream},
    }
    rows: list[list[object]] = []
    for what, counts in found.items():
        unknown = [name for name, count in counts.items() if count is None]
        known = sum(count for count in counts.values() if count is not None)
        published = PUBLISHED[what]
        rows.append([what, published, known, published - known, len(unknown), ", ".join(unknown)])
    head = ["what", "published", "sum of known", "left", "unknown", "datasets of unknown count"]
    return table(head, rows)


def _families(manifests: list[Manifest]) -> str:
    users: dict[str, list[str]] = {}
    for manifest in manifests:
        for family in dict.fromkeys(_family_names(manifest.layout)):
            users.setdefault(family, []).append(manifest.name)
    rows = [[name, len(users[name]), ", ".join(users[name])] for name in sorted(users)]
    return table(["family", "datasets", "used by (also as a part of combined)"], rows)


def _family_names(layout: Layout) -> Iterable[str]:
    family = str(getattr(layout, "family"))  # noqa: B009  (each family has its own literal type)
    if family != "combined":
        return [family]
    return [name for part in getattr(layout, "parts") for name in _family_names(part)]  # noqa: B009


def _differences(manifests: list[Manifest]) -> str:
    rows = []
    for manifest in manifests:
        rules = {name: split_rule(rule) for name, rule in manifest.splits.items()}
        paper = rules.get("paper", "not reproducible: drawn without a seed")
        found = [text.removeprefix(ORIGINAL) for text in manifest.quirks if _differs(text)]
        rows.append([manifest.name, rules["clean"], paper, "<br>".join(found) or "none"])
    return table(["dataset", "clean", "paper", "the original"], rows)


def _differs(quirk: str) -> bool:
    return quirk.startswith(ORIGINAL)


def split_rule(rule: SplitRule) -> str:
    """Say in one line how a protocol divides a dataset."""
    grouped = ", groups kept together" if rule.grouped else ""
    held_out = "" if rule.dev else f", {rule.dev_fraction:.0%} of train held out as dev"
    if rule.rule == "random":
        return f"{rule.test_fraction:.0%} drawn as test (seed {rule.seed}){held_out}{grouped}"
    parts = {"train": rule.train, "dev": rule.dev, "test": rule.test}
    named = "; ".join(f"{split} = {' + '.join(names)}" for split, names in parts.items() if names)
    return f"official {named}{held_out}{grouped}"


def _cell(value: object) -> str:
    if value is None:
        return "?"
    text = f"{value:,}" if isinstance(value, int) else str(value)
    return text.replace("|", "\\|")
