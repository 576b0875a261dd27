"""Peak memory of an extraction in a process of its own; as a program it is that process."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from extract_data import NoOp, Tiny, manifest_here

from autods.core.root import DataRoot
from autods.encode.extract import extract_dataset

EVERY = 0.05  # seconds between two looks at the memory


def peak_of(root: DataRoot, workers: int) -> dict[str, float]:
    """Extract dataset ``bench`` with an encoder that does nothing; return megabytes and rate.

    ``process`` is the peak of the extracting process; ``all`` that of it and its workers
    together, where memory that several share counts once.
    """
    command = [sys.executable, __file__, str(root.path), str(workers)]
    highest = 0.0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        while child.poll() is None:
            highest = max(highest, sum(map(_shared, [child.pid, *_below(child.pid)])))
            time.sleep(EVERY)
        out = child.stdout.read() if child.stdout else ""
    if child.returncode:
        raise SystemExit(f"the extraction failed: exit code {child.returncode}")
    return {**json.loads(out), "all": round(highest / 2**20, 1)}


def figure(rows: Iterable[Mapping[str, Any]], target: Path) -> None:
    """Draw peak memory over the number of images."""
    import altair as alt

    values = [
        {
            "images": row["images"],
            "MB": row[key],
            "what": f"{row['workers']} workers, {label}",
        }
        for row in rows
        for key, label in (("process", "main process"), ("all", "together"))
        if row["workers"] or key == "process"
    ]
    chart = alt.Chart(alt.Data(values=values), width=460, height=240).mark_line(point=True)
    chart.encode(
        x=alt.X("images:Q", scale=alt.Scale(type="log")),
        y=alt.Y("MB:Q", title="peak memory (MB)"),
        color=alt.Color("what:N", title=None),
        strokeDash=alt.StrokeDash("what:N", title=None),
    ).save(target)


def _below(pid: int) -> list[int]:
    """Return the processes below one."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [below for child in map(int, children) for below in [child, *_below(child)]]


def _shared(pid: int) -> float:
    """Return the bytes of a process, its share of what it has in common with others."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    return 1024.0 * int(found[1]) if found else 0.0


def main(root: str, workers: str) -> None:
    """Extract, and print the peak of this process."""
    place = DataRoot.open(root)
    shutil.rmtree(place.path / "features", ignore_errors=True)
    outcome = extract_dataset(
        manifest_here(place, "bench"), place, NoOp(Tiny()), workers=int(workers)
    )
    status = Path("/proc/self/status").read_text()
    peak = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    assert peak
    rate = outcome.images / outcome.seconds
    print(json.dumps({"process": round(int(peak[1]) / 1024, 1), "images/s": round(rate)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
