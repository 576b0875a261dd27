"""Change valid files at random and read them; count what comes out that must not.

Of every reader of files from strangers: errors of this project are "refused", everything else is
"foreign", a process that dies "crashed", one that takes more than `SECONDS` "hung". Memory is what
the reader and its children take beyond what they took before. Ends with status 1 if anything is
foreign, crashed, hung or takes more than `MEMORY`. Input NUMBER of a reader is made again by
``--reader NAME --seed NUMBER --count 1``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import typer
from fuzz_mutations import mutated
from fuzz_readers import READERS

ClickError: Any = typer.BadParameter.__mro__[2]  # typer has a copy of click, which is private
SECONDS = 60  # for one input
MEMORY = 1024  # MB beyond the start
SHOWN = 5  # inputs of each reader that are named


def main() -> int:
    """Print a row for each reader."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reader", action="append", choices=sorted(READERS), help="default: all")
    parser.add_argument("--count", type=int, default=300, help="inputs of each reader")
    parser.add_argument("--seed", type=int, default=0, help="number of the first input")
    options = parser.parse_args()
    names = options.reader or list(READERS)
    if not shutil.which("bsdtar"):
        names = [name for name in names if name not in ("7z", "rar")]
    columns = ("inputs", "refused", "accepted", "foreign", "crashed", "hung", "peak MB")
    print(f"{'reader':18}" + "".join(f"{column:>9}" for column in columns))
    total, failed = Counter[str](), False
    for name in names:
        row, told = fuzz(name, options.seed, options.count)
        print(f"{name:18}" + "".join(f"{row[column]:9,}" for column in columns), flush=True)
        for line in told[:SHOWN]:
            print(f"    {line}", flush=True)
        failed |= any(row[bad] for bad in ("foreign", "crashed", "hung"))
        failed |= row["peak MB"] > MEMORY
        total += Counter({key: row[key] for key in columns[:-1]})
    print(f"{'all':18}" + "".join(f"{total[column]:9,}" for column in columns[:-1]))
    return int(failed)


def fuzz(name: str, seed: int, count: int) -> tuple[Counter[str], list[str]]:
    """Try inputs of one reader; return the counts, and lines on what must not be."""
    row, told = Counter[str](inputs=count), list[str]()
    with tempfile.TemporaryDirectory() as place:
        number = seed
        while number < seed + count:
            number = fuzz_from(name, number, seed + count, Path(place, str(number)), row, told)
    return row, told


def fuzz_from(
    name: str, number: int, end: int, place: Path, row: Counter[str], told: list[str]
) -> int:
    """Try inputs from ``number`` on in one process; return the one after its last.

    Its files are the caller's to remove: it is killed.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(name, number, end, place, theirs))
    process.start()
    theirs.close()
    ready = False
    while number < end:
        try:
            heard = ours.recv() if ours.poll(SECONDS if ready else 10 * SECONDS) else None
        except EOFError:
            heard = ("crashed", f"exit code {process.join() or process.exitcode}", 0)
        if heard == "ready":
            ready = True
            continue
        outcome, text, peak = heard or ("hung", f"more than {SECONDS} s", 0)
        row[outcome] += 1
        row["peak MB"] = max(row["peak MB"], peak)
        if outcome in ("foreign", "crashed", "hung"):
            told.append(f"{name} {number}: {outcome}: {text}")
        number += 1
        if outcome in ("crashed", "hung"):
            break
    process.kill()
    process.join()
    if not ready:
        raise SystemExit(f"{name}: the valid input could not be made or read; see above")
    return number


def work(name: str, first: int, end: int, place: Path, link: Connection) -> None:
    """Read the inputs from ``first`` to ``end``, and send what came of each."""
    from autods.errors import AutodsError

    reader = READERS[name]
    valid = Path(place, "valid", "x")
    valid.mkdir(parents=True)
    reader.make(valid)
    files = sorted(path for path in valid.rglob("*") if path.is_file())
    whole = {path.relative_to(valid): path.read_bytes() for path in files}
    reader.read(valid)  # libraries are loaded, and the input is as it should be
    shutil.rmtree(valid.parent)
    link.send("ready")
    for number in range(first, end):
        draw = random.Random(f"{name} {number}")
        folder = Path(place, str(number), "x")
        chosen = draw.choice(sorted(path for path in whole if not path.name.startswith(".")))
        for path, content in whole.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            changed = mutated(path.name, content, draw) if path == chosen else content
            (folder / path).write_bytes(changed)
        before = memory(reset=True)
        outcome, text = "accepted", ""
        try:
            reader.read(folder)
        except (AutodsError, ClickError):  # the latter for values of options
            outcome = "refused"
        except BaseException:  # what it is, is the finding
            outcome, text = "foreign", described(chosen, traceback.format_exc())
        link.send((outcome, text, max(0, memory() - before)))
        shutil.rmtree(folder.parent)


def described(path: Path, trace: str) -> str:
    """Return a traceback as one line: the file that was changed, the error, where it came from."""
    lines = [line.strip() for line in trace.strip().splitlines()]
    places = [line for line in lines if line.startswith("File ") and "scripts" not in line]
    return f"{path}: {lines[-1][:150]!r} {' < '.join(places[-2:])}"


def memory(reset: bool = False) -> int:
    """Return the peak memory of this process and its children in MB since the last ``reset``."""
    total = 0
    for process in ("self", *children()):
        try:
            if reset:
                Path(f"/proc/{process}/clear_refs").write_text("5")
            status = Path(f"/proc/{process}/status").read_text()
        except OSError:  # not Linux, or it has ended
            continue
        total += int(status.partition("VmHWM:")[2].split()[0])
    return total >> 10


def children() -> list[str]:
    """Return the process ids of the children of this process."""
    try:
        return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    except OSError:
        return []


if __name__ == "__main__":
    sys.exit(main())
