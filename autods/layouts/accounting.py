"""Account for every entry of every container: a sample, or why it is none."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from autods.containers import Container
from autods.containers.base import Why
from autods.core.files import is_litter
from autods.layouts.base import Layout, is_hidden

USED = "used"
COLUMNS = (USED, *Why)  # what the entries of a container are; their sum is `members`
EXAMPLES = 3  # names that are recorded for each reason

Account = dict[str, Any]


def account(
    layout: Layout,
    files: Iterable[str],
    containers: Mapping[str, Container],
    used: Mapping[str, Collection[str]],
    read: Mapping[str, Collection[str]],
) -> dict[str, Account]:
    """Return each of the manifest's ``files`` to what its entries are, for ``record.json``.

    ``used`` and ``read`` are the names of the members that are samples, and of those whose
    content was read for labels, by file. A file that indexing does not open is ``unmatched``.
    """
    accounts = {}
    for file in files:
        if (container := containers.get(file)) is None:
            names = {Why.UNMATCHED: [file]}
            accounts[file] = {"members": 1, Why.UNMATCHED: 1, "examples": names}
        else:
            of_file = set(used.get(file, ())), set(read.get(file, ()))
            accounts[file] = _of_container(container, layout.judge(file), *of_file)
    return accounts


def _of_container(
    container: Container, judge: Callable[[str], Why], used: set[str], read: set[str]
) -> Account:
    counts = dict.fromkeys(COLUMNS, 0)
    examples: dict[str, list[str]] = {}
    for name, why in _reasons(container, judge, used, read):
        counts[why] += 1
        if why != USED and len(of_reason := examples.setdefault(why, [])) < EXAMPLES:
            of_reason.append(name)
    guessed = {
        encoding: [len(names), *sorted(names)[:EXAMPLES]]
        for encoding, names in container.guessed.items()
    }
    return {
        "members": sum(counts.values()),
        **{why: count for why, count in counts.items() if count},
        "links followed": len(container.links),
        **({"names guessed": guessed} if guessed else {}),
        "tables": sorted(read),
        "examples": examples,
    }


def _reasons(
    container: Container, judge: Callable[[str], Why], used: set[str], read: set[str]
) -> Iterator[tuple[str, str]]:
    yield from container.left
    for member in container.members():
        name = member.name
        if name in used:
            yield name, USED
        elif name in read:
            yield name, Why.READ
        elif is_hidden(name) or is_litter(name):
            yield name, Why.HIDDEN
        else:
            yield name, judge(name)


def differences(recorded: Mapping[str, Account], found: Mapping[str, Account]) -> Iterator[str]:
    """Yield a sentence for each file whose recorded sums are wrong, or are no longer found."""
    for file, account in found.items():
        known = recorded.get(file)
        if known is None:
            yield f"{file}: what its members are is not recorded; run 'autods index' again"
            continue
        total = sum(int(known.get(why, 0)) for why in COLUMNS)
        if total != known.get("members"):
            yield f"{file}: {known.get('members')} members are recorded, of which {total} are named"
        for what in ("members", *COLUMNS, "links followed"):
            if known.get(what, 0) != account.get(what, 0):
                yield (
                    f"{file}: {known.get(what, 0):,} {what} are recorded, it has "
                    f"{account.get(what, 0):,}"
                )


def not_used(dataset: str, accounts: Mapping[str, Account]) -> list[str]:
    """Return lines for people: entries that are neither samples nor tables, and guessed names."""
    lines: list[str] = []
    for file, account in accounts.items():
        lines += _guessed(f"{dataset}: {file}", account.get("names guessed", {}))
        reasons = [why for why in Why if why != Why.READ and account.get(why)]
        followed = account.get("links followed", 0)
        if not reasons and not followed:
            continue
        line = f"{dataset}: {file}: {account.get(USED, 0):,} of {account['members']:,} members used"
        line += f", links followed: {followed:,}" if followed else ""
        told = (f"{account[why]:,} {why} ({_named(account, why)})" for why in reasons)
        lines.append(f"{line}{'; not used: ' if reasons else ''}{', '.join(told)}.")
    return lines


def _guessed(where: str, guessed: Mapping[str, list[Any]]) -> Iterator[str]:
    for encoding, (count, *names) in guessed.items():
        shown = ", ".join(map(repr, names)) + (", ..." if count > len(names) else "")
        yield f"{where}: {count:,} names are not UTF-8 and were read as {encoding} ({shown})."


def _named(account: Account, why: Why) -> str:
    names = account["examples"][why]
    shown = ", ".join(map(repr, names))  # repr: no control characters reach a terminal
    return shown + (", ..." if account[why] > len(names) else "")
