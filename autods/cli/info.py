"""One page on a dataset, for people: what its manifest says and what of it is here."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from autods.core.console import wrapped
from autods.errors import AutodsError

if TYPE_CHECKING:
    from autods.checks.inventory import Holding
    from autods.core.root import DataRoot
    from autods.manifest.schema import ClassTable, Expected, Manifest, SplitRule, TaskSpec
    from autods.manifest.sources import FileEntry

Rows = Iterator[tuple[str, str]]  # name on the left ("-": a bullet), text

LABEL = 12  # columns of the names on the left
NAMED = 12  # classes named per task
TASKS = 8  # tasks shown on a line each
ACCESS = {
    "open": "open",
    "kaggle": "Kaggle (may require an account's token)",
    "kaggle-competition": "Kaggle competition (a token, and its rules accepted)",
    "form": "by a form of the owner; then `autods import`",
}


def describe(manifest: Manifest, holding: Holding, root: DataRoot, width: int) -> str:
    """Return the page as text of at most ``width`` columns (where words allow it)."""
    sections = [
        (f"{manifest.name}: {manifest.title}", _about(manifest)),
        (_files_title(manifest), _files(manifest)),
        ("Tasks", _tasks(manifest)),
        ("Splits", ((protocol, _in_words(rule)) for protocol, rule in manifest.splits.items())),
        ("Expected counts", _expected(manifest.expected)),
        ("Quirks", (("-", quirk) for quirk in manifest.quirks)),
        (f"Under {root.path}", _here(manifest, holding, root)),
    ]
    pages = []
    for title, rows in sections:
        lines = [line for label, text in rows for line in _row(label, text, width)]
        if lines:
            pages.append("\n".join([*textwrap.wrap(title, width), *lines]))
    return "\n\n".join(pages)


def _row(label: str, text: str, width: int) -> list[str]:
    """Return a row with its name on the left; bullets have none."""
    indent = 4 if label == "-" else LABEL + 2
    first = f"  {label}".ljust(indent)
    if label != "-" and not first.endswith(" "):  # a long name has a line of its own
        return [first, *_row("", text, width)]
    return wrapped(first, text, width)


def _about(manifest: Manifest) -> Rows:
    yield "homepage", manifest.homepage or "unknown"
    yield "citation", manifest.citation or "unknown"
    yield "licence", manifest.licence or "unknown"
    yield "access", ACCESS[manifest.access]
    if manifest.acceptance:
        yield "acceptance", f"{manifest.acceptance.text} {manifest.acceptance.url}"


def _files_title(manifest: Manifest) -> str:
    sizes = [entry.roughly for entry in manifest.files]
    known = [size for size in sizes if size is not None]
    count = len(manifest.files)
    texts = [_size(sum(known))] if known else []
    if len(known) < count:
        texts.append("size unknown" if not known else f"{count - len(known)} of unknown size")
    return f"Files ({count}; {', '.join(texts)})"


def _files(manifest: Manifest) -> Rows:
    for entry in manifest.files:
        yield "-", f"{entry.name}: {_stated(entry)}, {entry.checksum}"
        if entry.stated_by:
            yield "  size", f"{'from' if entry.estimate else 'by'} {entry.stated_by}"
        for mirror in entry.mirrors:
            yield f"  {mirror.kind}", mirror.url
            if mirror.versions:
                yield "  versions", f"known: {', '.join(map(str, mirror.versions))}"


def _stated(entry: FileEntry) -> str:
    """Return the size of a file in words, with how sure it is."""
    if entry.roughly is None:
        return "size unknown"
    words = "" if entry.size is not None else "about " if entry.about is not None else "estimated "
    return f"{words}{_size(entry.roughly)}"


def _tasks(manifest: Manifest) -> Rows:
    if len(manifest.tasks) <= TASKS:
        for name, spec in manifest.tasks.items():
            is_default = name == manifest.default_task
            mark = " (default)" if len(manifest.tasks) > 1 and is_default else ""
            yield name, _classes(spec, manifest.expected.classes if is_default else None) + mark
            if spec.readable:
                yield "  prompts", _shortened(list(spec.readable.values()))
        return
    alike: dict[str, list[str]] = {}
    for name, spec in manifest.tasks.items():
        alike.setdefault(_count(spec), []).append(name)
    for count, names in alike.items():
        yield "-", f"{len(names)} tasks of {count}: {', '.join(names)}"
    default = manifest.tasks[manifest.default_task]
    yield "-", f"default: {manifest.default_task}, {_classes(default, manifest.expected.classes)}"


def _count(spec: TaskSpec) -> str:
    names = spec.names()
    if names is not None:
        return f"{len(names):,} classes"
    return "classes named by the archive"


def _classes(spec: TaskSpec, expected: int | None) -> str:
    names = spec.names()
    if names is not None:
        return f"{len(names):,} classes: {_shortened(names)}"
    count = "classes" if expected is None else f"{expected:,} classes"
    return f"{count}, named by {_table(spec.classes) if spec.classes else 'the archive'}"


def _shortened(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")


def _table(table: ClassTable | list[str]) -> str:
    if isinstance(table, list):
        return "the manifest"
    return f"{table.member} in {table.file}" if table.member else table.file


def _in_words(rule: SplitRule) -> str:
    """Return what a split rule does, as a sentence."""
    held_out = f"{rule.dev_fraction:.0%} of train, stratified (seed {rule.seed})"
    dev = f"dev {held_out}" if rule.dev_fraction else "no dev"
    if rule.rule == "random":
        fraction = f"{rule.test_fraction or 0:.0%}"
        text = f"random: test {fraction} of the images, stratified (seed {rule.seed}); {dev}"
    else:
        dev = f"dev from {_quoted(rule.dev)}" if rule.dev else dev
        text = f"official: train from {_quoted(rule.train)}; {dev}; test from {_quoted(rule.test)}"
    if not rule.grouped:
        return text
    left_out = ", train images of groups in test left out" if rule.rule == "official" else ""
    return f"{text}; groups kept together{left_out}"


def _quoted(names: Sequence[str]) -> str:
    return " and ".join(f"'{name}'" for name in names)


def _expected(expected: Expected) -> Rows:
    pairs = [
        ("classes", expected.classes),
        ("images", expected.total),
        ("clean", _pair(expected.train, expected.test)),
        ("published", _pair(expected.published_train, expected.published_test)),
    ]
    for label, value in pairs:
        if value is not None:
            yield label, f"{value:,}" if isinstance(value, int) else value
    if expected.per_class:
        counts = sorted(expected.per_class.items())
        shown = ", ".join(f"{name} {count:,}" for name, count in counts[:NAMED])
        yield "per class", shown + (", ..." if len(counts) > NAMED else "")
    if expected.source:
        yield "source", expected.source


def _pair(train: int | None, test: int | None) -> str | None:
    counts = [("train", train), ("test", test)]
    return ", ".join(f"{name} {n:,}" for name, n in counts if n is not None) or None


def _here(manifest: Manifest, holding: Holding, root: DataRoot) -> Rows:
    from autods.core.splits import SPLITS
    from autods.index.counts import count_differences

    if holding.problem is not None:
        yield "record", holding.problem
    if holding.missing is not None:
        here = len(manifest.files) - len(holding.missing)
        missing = f"; missing: {', '.join(holding.missing)}" if here and holding.missing else ""
        yield "fetched", f"{here} of {len(manifest.files)} files{missing}"
    if holding.outdated:
        yield "indexed", f"of another manifest or format; run 'autods index {manifest.name}'"
    elif holding.index:
        samples, classes = holding.index["samples"], holding.index["classes"]
        yield "indexed", f"{samples:,} images, {classes[manifest.default_task]:,} classes"
        for protocol, counts in holding.index["counts"].items():
            shown = (f"{split} {counts[split]:,}" for split in (*SPLITS, "unused") if counts[split])
            yield f"  {protocol}", ", ".join(shown)
        try:
            for difference in count_differences(manifest, root):
                yield "  differs", str(difference)
        except AutodsError as error:
            yield "  problem", str(error)
    else:
        yield "indexed", "no"
    shown = (f"{e} (of another manifest)" if e in holding.stale else e for e in holding.features)
    yield "features", ", ".join(shown) or "none"


def _size(count: int) -> str:
    from rich.filesize import decimal

    return str(decimal(count))
