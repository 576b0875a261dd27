"""Measure ``autods fetch --all`` against a loopback mirror that fails in a third of its transfers.

Every dataset has the tiny archives of its test fixture; one more is large. The command runs in
a process of its own. Afterwards every dataset must either be in place with the right bytes or be
reported with the right cause; a second run, with the faults mended, must complete everything.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml
from fetch_mirror import LASTING, PASSING, Mirror

from autods.manifest.catalogue import Catalogue

TESTS = Path(__file__).resolve().parents[2] / "tests" / "autods"
LARGE = "zz-large"  # the name of the dataset that is not tiny
USEFUL = ("corrupt", "failed", "gone")  # which of several causes a dataset is reported with

Published = dict[str, dict[str, Path]]  # dataset, file, its place


@dataclass(frozen=True)
class Run:
    """One run of the command: exit code, wall time (s), peak memory (MB), its JSON."""

    code: int
    seconds: float
    peak: float
    record: dict[str, Any]
    log: str


def publish(folder: Path, large: int, datasets: int | None) -> Published:
    """Write the archives of the fixtures (of some, if a number is given), and a large file (MB)."""
    sys.path.insert(0, str(TESTS))
    from fixtures import FIXTURES

    unknown = set(Catalogue().datasets()) - set(FIXTURES)
    if unknown and datasets is None:  # they would be fetched from where they really are
        raise SystemExit(f"no fixture for {', '.join(sorted(unknown))}; nothing was fetched")
    published = {}
    for name, build in sorted(FIXTURES.items())[:datasets]:
        (folder / name).mkdir(parents=True)
        published[name] = build(folder / name).files
    if large:
        draw = random.Random(0)
        place = folder / LARGE / "large.bin"
        place.parent.mkdir()
        with place.open("wb") as handle:
            for _ in range(large):
                handle.write(draw.randbytes(1_000_000))
        published[LARGE] = {place.name: place}
    return published


def sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def committed(folder: Path) -> str:
    """Make a git repository of a folder and return its commit."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm1"], ["rev-parse", "HEAD"]):
        done = subprocess.run(
            ["git", *identity, *command], cwd=folder, env=environment, check=True, stdout=-1
        )
    return done.stdout.decode().strip()


def write_manifests(folder: Path, published: Published, url: str) -> None:
    """Describe what is published; the only mirrors are the faulty one and local repositories."""
    folder.mkdir()
    for name, files in published.items():
        entries = []
        for file, place in files.items():
            if place.is_dir():
                entry = {"checksum": f"git:{committed(place)}"}
                mirror = {"kind": "git", "url": str(place)}
            else:
                entry = {"checksum": f"sha256:{sha256(place)}", "size": place.stat().st_size}
                mirror = {"kind": "http", "url": f"{url}/{name}/{quote(file)}"}
            entries.append({"name": file, **entry, "mirrors": [mirror]})
        labels = {"class": "{class}"}
        pattern = {"files": [entries[0]["name"]], "pattern": "**/{class}/*", "labels": labels}
        manifest = {
            "name": name,
            "title": f"Fixture of {name}",
            **dict.fromkeys(["homepage", "citation", "licence"]),
            "access": "open",
            "files": entries,
            "layout": {"family": "class-folders", **pattern},
            "tasks": {"class": {"classes": None}},
            "default_task": "class",
            "splits": {"clean": {"rule": "random", "test_fraction": 0.25}},
        }
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(manifest), encoding="utf-8")


def choose_faults(transfers: list[str], seed: int) -> dict[str, str]:
    """Give a third of the transfers a fault, each kind equally often; the large file drops."""
    draw = random.Random(seed)
    tiny = [path for path in transfers if not path.startswith(LARGE)]
    kinds = [*PASSING, *LASTING]
    chosen = draw.sample(tiny, len(tiny) // 3)
    faults = {path: kinds[number % len(kinds)] for number, path in enumerate(chosen)}
    return faults | dict.fromkeys(set(transfers) - set(tiny), "dropped connection")


def fetch_all(folder: Path, url: str, names: list[str], jobs: int) -> Run:
    """Run the command line (``--all`` without names); it can reach the loopback only."""
    options = ["--mirror", url, "--manifests", folder / "manifests", "--root", folder / "root"]
    options += ["--jobs", jobs, "--per-host", jobs]
    call = "from autods.cli.app import main; main()"
    command = [sys.executable, "-c", call, "fetch", *(names or ["--all"]), "--json", *options]
    nowhere = dict.fromkeys(["http_proxy", "https_proxy", "all_proxy"], "http://127.0.0.1:9")
    environment = {k: v for k, v in os.environ.items() if not k.upper().endswith("_PROXY")}
    environment |= {**nowhere, "no_proxy": "127.0.0.1", "AUTODS_MANIFESTS": ""}
    out, log = folder / "out.json", folder / "log.txt"
    began = time.monotonic()
    with out.open("wb") as stdout, log.open("wb") as stderr:
        child = subprocess.Popen(
            [str(part) for part in command], env=environment, stdout=stdout, stderr=stderr
        )
        _, status, usage = os.wait4(child.pid, 0)
    seconds = time.monotonic() - began
    child.returncode = os.waitstatus_to_exitcode(status)
    text = log.read_text(encoding="utf-8")
    if child.returncode not in (0, 1):
        raise SystemExit(f"the command ended with {child.returncode}:\n{text}")
    record = json.loads(out.read_text(encoding="utf-8"))
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
    return Run(child.returncode, seconds, peak, record, text)


def check(folder: Path, published: Published, faults: dict[str, str], run: Run) -> list[str]:
    """Compare what is in place and what is reported with the faults; return what is wrong."""
    problems = []
    for name, files in published.items():
        lasting = {f: LASTING[k] for f in files if (k := faults.get(f"{name}/{f}")) in LASTING}
        expected = min(lasting.values(), key=USEFUL.index, default="done")
        row = run.record["datasets"].get(name, {"state": "not reported"})
        if row["state"] != expected and (expected, row["state"]) != ("done", "kept"):
            problems.append(f"{name}: expected '{expected}', reported '{row['state']}'")
        for file, place in files.items():
            target = folder / "root" / "datasets" / name / "archives" / file
            if target.exists() == (file in lasting):
                problems.append(f"{name}/{file}: {'there' if target.exists() else 'not there'}")
            elif target.is_file() and sha256(target) != sha256(place):
                problems.append(f"{name}/{file}: other bytes")
    if run.code != (1 if set(faults.values()) & set(LASTING) else 0):
        problems.append(f"exit code {run.code}")
    if extra := set(run.record["datasets"]) - set(published):
        problems.append(f"reported, but not published: {', '.join(sorted(extra))}")
    return problems


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    published = publish(folder / "published", options.large, options.datasets)
    names = list(published) if options.datasets else []
    sizes = {
        f"{name}/{file}": place.stat().st_size
        for name, files in published.items()
        for file, place in files.items()
        if place.is_file()
    }
    faults = choose_faults(sorted(sizes), options.seed)
    paths = {path: folder / "published" / path for path in sizes}
    paths |= {f"{n}/{f}": place for n, files in published.items() for f, place in files.items()}
    with Mirror(paths, faults) as mirror:
        mirror.start()
        write_manifests(folder / "manifests", published, mirror.url)
        first = fetch_all(folder, mirror.url, names, options.jobs)
        problems = check(folder, published, faults, first)
        problems += [
            f"{path}: {faults[path]} never met" for path in faults.keys() - mirror.happened
        ]
        kept = {p for p in sizes if faults.get(p) not in LASTING}
        mirror.faults, mirror.asked = {}, []
        second = fetch_all(folder, mirror.url, names, options.jobs)
        problems += [f"second run: {problem}" for problem in check(folder, published, {}, second)]
        problems += [f"{path}: fetched again" for path in kept & set(mirror.asked)]
        mirror.shutdown()
    states = Counter(row["state"] for row in first.record["datasets"].values())
    return {
        "datasets": len(published),
        "transfers": len(sizes),
        "bytes": sum(sizes.values()),
        "faults": dict(Counter(faults.values())),
        "states": dict(states),
        "first": {"seconds": first.seconds, "peak_mb": first.peak, "here": first.record["here"]},
        "second": {
            "seconds": second.seconds,
            "peak_mb": second.peak,
            "here": second.record["here"],
        },
        "problems": problems,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="which transfers fail, and how")
    parser.add_argument("--jobs", type=int, default=4, help="datasets fetched at the same time")
    parser.add_argument("--datasets", type=int, help="so many of the fixtures; default all")
    parser.add_argument("--large", type=int, default=300, help="MB of the dataset that is not tiny")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), options)
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        total = f"{found['datasets']} datasets, {found['transfers']} transfers over http"
        print(f"{total}, {found['bytes'] / 1e6:,.1f} MB; {options.jobs} jobs, seed {options.seed}")
        print(f"{'fault':<24}{'transfers':>10}  must end as")
        for fault, count in sorted(found["faults"].items()):
            print(f"{fault:<24}{count:>10}  {({**PASSING, **LASTING})[fault]}")
        print(f"{'run':<24}{'here':>10}{'seconds':>10}{'peak MB':>10}")
        for name, run in (("with faults", found["first"]), ("mended", found["second"])):
            print(f"{name:<24}{run['here']:>10}{run['seconds']:>10.1f}{run['peak_mb']:>10.0f}")
        print(", ".join(f"{n} {state}" for state, n in sorted(found["states"].items())))
    for problem in found["problems"]:
        print(f"WRONG: {problem}", file=sys.stderr)
    if not options.json and not found["problems"]:
        print("Everything arrived or was reported with the right cause.")
    sys.exit(1 if found["problems"] else 0)


if __name__ == "__main__":
    main()
