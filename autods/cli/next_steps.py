"""What a user can do after a command, as commands to copy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from autods.core.shell import quoted

if TYPE_CHECKING:
    from autods.checks.inventory import Holding

NAMED = 8  # datasets that a command names; of more, it means all that are here
CUTS = 5  # tasks into which a single dataset is cut


def extract(names: Sequence[str], root: Path | None) -> str:
    """Return the command that extracts features of datasets."""
    few = names if len(names) <= NAMED else ()
    return command("autods extract", *few, root=root)


def run(
    names: Sequence[str],
    encoder: str,
    root: Path | None,
    *,
    stream: str | None = None,
    classes: int | None = None,
) -> str:
    """Return the command that learns datasets one after the other, or a single one in parts.

    ``stream`` if that was asked for; ``classes`` are those of a single dataset.
    """
    chosen = stream or (",".join(names) if len(names) <= NAMED else "all")
    words = ["--scenario", "class-il", "--stream", chosen, "--encoder", encoder]
    if len(names) == 1 and stream is None and classes is not None:
        cut = classes_of_a_task(classes)
        words += [] if cut is None else ["--classes-per-task", str(cut)]
    return command("bmc-stream run", *words, root=root)


def classes_of_a_task(classes: int) -> int | None:
    """Return how many classes each task gets of a single dataset, ``None`` if it has too few."""
    return max(2, -(-classes // CUTS)) if classes > 2 else None


def after(holdings: Sequence[Holding], root: Path | None) -> str:
    """Return the command for the datasets that have come least far."""
    by_state: dict[str, list[str]] = {}
    for holding in holdings:
        by_state.setdefault(holding.state, []).append(holding.dataset)
    if lacking := [*by_state.get("-", ()), *by_state.get("partial", ())]:
        few = lacking if len(lacking) <= NAMED else ["NAME"]
        return command("autods fetch", *few, root=root)
    if raw := [*by_state.get("fetched", ()), *by_state.get("indexed", ())]:
        return extract(raw, root)
    usable = {h.dataset: [e for e in h.features if e not in h.stale] for h in holdings}
    encoders = Counter(encoder for found in usable.values() for encoder in found)
    if not encoders:
        return command("autods fetch", "NAME", root=root)
    ((encoder, _),) = encoders.most_common(1)
    names = [name for name, found in usable.items() if encoder in found]
    first = next(h for h in holdings if h.dataset == names[0])
    classes = None
    if first.manifest is not None and first.index:
        classes = first.index["classes"].get(first.manifest.default_task)
    return run(names, encoder, root, classes=classes)


def command(program: str, *words: str, root: Path | None = None) -> str:
    """Return a command with its words quoted, and with ``--root`` if one was given."""
    words = words if root is None else (*words, "--root", str(root))
    return " ".join([program, *map(quoted, words)])
