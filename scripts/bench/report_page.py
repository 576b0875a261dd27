"""Measure the page of a comparison: its size, the time to write it, and to open it in Chromium.

The run folders are made up, of the shape that is asked for: by default the largest comparison, 31
methods in five orders of the 71 tasks of *Stream*, measured after every task, with the answers to a
share of the published test samples. The browser is started once and opens the page anew each time,
from loading until the charts that can be seen are drawn; then all folded parts are opened.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from autods.streams.synthetic_features import published_shape
from bmc.methods import METHODS
from bmc.report import build_report

DRIVER = Path(__file__).resolve().parents[2] / "tests" / "bmc"  # has the browser's
FEW = 12  # tasks that a wrong answer may fall in
SCREENS = {"wide": (1280, False), "phone": (390, False), "dark": (1280, True)}
READY = "document.body.dataset.ready !== undefined"
PAINTED = "performance.getEntriesByName('first-contentful-paint')[0].startTime"  # ms
OPENED = "[...document.querySelectorAll('.chart')].every((c) => c.querySelector('svg'))"

Numbers = npt.NDArray[np.int64]


def write_runs(folder: Path, methods: int, orders: int, tasks: int, share: float) -> list[Path]:
    """Write the folders of made-up runs; return them."""
    shape = published_shape().datasets[:tasks]
    names = [name for name in METHODS.names() if not name.startswith("test")][:methods]
    sizes = [max(2, round(share * dataset.test)) for dataset in shape]
    runs = []
    for number, name in enumerate(names):
        for order in range(orders):
            draw = np.random.default_rng([number, order])
            places = np.random.default_rng(order).permutation(len(shape))
            answers = _answers(draw, shape, sizes, places, 0.85 - 0.02 * number)
            path = folder / f"{name}-order-{order}"
            _write(path, name, order, [shape[p] for p in places], answers)
            runs.append(path)
    return runs


def _answers(
    draw: np.random.Generator, shape: Sequence[Any], sizes: Sequence[int], places: Numbers,
    right: float,
) -> list[tuple[Numbers, Numbers]]:  # fmt: skip
    """Return answers and labels of each task in its order; wrong ones fall in a few tasks."""
    counts = np.array([shape[p].classes for p in places])
    first = np.cumsum([0, *counts])
    found = []
    for k, place in enumerate(places):
        label = first[k] + draw.integers(0, counts[k], sizes[place])
        near = (k + draw.integers(-FEW // 2, FEW // 2, len(label))) % len(places)
        other = first[near] + draw.integers(0, counts[near])
        found.append((np.where(draw.random(len(label)) < right, label, other), label))
    return found


def _write(
    path: Path, method: str, order: int, shape: Sequence[Any],
    answers: Sequence[tuple[Numbers, Numbers]],
) -> None:  # fmt: skip
    """Write one run: results, timing, samples."""
    path.mkdir(parents=True)
    hits = {d.name: (a == b).astype(np.uint8) for d, (a, b) in zip(shape, answers, strict=True)}
    samples = {f"{kind}/{name}": v for kind in ("class-il", "task-il") for name, v in hits.items()}
    for dataset, (answer, label) in zip(shape, answers, strict=True):
        samples[f"answer/{dataset.name}"] = answer.astype(np.int32)
        samples[f"label/{dataset.name}"] = label.astype(np.int32)
    save_file(samples, path / "samples.safetensors", {"format": "1"})
    final = np.array([float(hits[dataset.name].mean()) for dataset in shape])
    later = np.arange(len(shape))[:, None] - np.arange(len(shape))
    rows = np.where(later < 0, np.nan, np.minimum(1, final * (1 + 0.002 * (len(shape) - later))))
    rows[-1] = final
    R = [[None if np.isnan(v) else float(v) for v in row] for row in rows]
    kind = METHODS.get(method)
    metrics = {"final_mean": float(final.mean()), "forgetting_chaudhry": 0.1, "dataset_id": 0.9}
    results = {
        "format": 2, "method": method, "title": kind.title, "stream": "stream71",
        "scenario": "class-il", "protocol": "clean", "order_seed": order, "run_seed": 0,
        "reference": kind.reference, "tasks": [_task(d, hits[d.name]) for d in shape],
        "learned": list(range(1, len(shape) + 1)),
        "R": dict.fromkeys(("class-il", "task-il", "dataset-id"), R),
        "metrics": {"class-il": metrics, "task-il": metrics},
        "costs": {
            "communication_bytes": 0, "memory_bytes": 10**6 + len(method) * 10**5, "steps": 1000,
            "total_bytes": 10**6 + len(method) * 10**5, "cost_accuracy": 50.0,
        },
        "config": {"epochs": 10, "memory": 2000, "seed": 0, "evaluate_on": "test"},
        "provenance": {"encoder_name": "made.up", "order_seed": order},
        "versions": {"bmc": "0"},
    }  # fmt: skip
    (path / "results.json").write_text(json.dumps(results), encoding="utf-8")
    seconds = {"seconds": {"train": 10.0, "total": 12.0}}
    (path / "timing.json").write_text(json.dumps(seconds), encoding="utf-8")


def _task(dataset: Any, hits: npt.NDArray[np.uint8]) -> dict[str, Any]:
    names = [f"{dataset.name} class {k}" for k in range(dataset.classes)]
    return {
        "name": dataset.name, "dataset": dataset.name, "classes": len(names), "class_names": names,
        "train": dataset.train, "test": len(hits),
    }  # fmt: skip


def opened(page: Path, rounds: int, shots: Path | None) -> dict[str, Any]:
    """Open a page in Chromium: medians of seconds, what the console said, sideways scrolling."""
    sys.path.insert(0, str(DRIVER))
    from chromium import EXECUTABLE, Page

    if EXECUTABLE is None:
        raise SystemExit("no Chromium is installed: leave out --browser")
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as profile, Page(Path(profile)) as browser:
        for name, (width, dark) in SCREENS.items():
            painted, loaded, ready = [], [], []
            for _ in range(rounds):
                started = time.perf_counter()
                browser.open(page, width, dark=dark)
                loaded.append(time.perf_counter() - started)
                ready.append(_until(browser, READY, started))
                painted.append(browser.evaluate(PAINTED) / 1000)
            if shots is not None:
                shots.mkdir(parents=True, exist_ok=True)
                browser.screenshot(shots / f"{name}.png")
            started = time.perf_counter()
            browser.evaluate("document.querySelectorAll('details').forEach((d) => d.open = true)")
            everything = _until(browser, OPENED, started)
            scrolls = browser.evaluate("document.documentElement.scrollWidth > innerWidth")
            found[name] = {
                "painted_s": round(median(painted), 2), "loaded_s": round(median(loaded), 2),
                "drawn_s": round(median(ready), 2), "all_opened_s": round(everything, 2),
                "scrolls_sideways": scrolls,
            }  # fmt: skip
        found["elements"] = browser.evaluate("document.querySelectorAll('*').length")
        found["problems"] = browser.problems
    return found


def _until(browser: Any, condition: str, started: float, limit: float = 120.0) -> float:
    """Return the seconds since then once a condition holds in the page."""
    while not browser.evaluate(condition):
        if time.perf_counter() - started > limit:
            raise SystemExit(f"the page was not ready in {limit:.0f} s: {condition}")
        time.sleep(0.02)
    return time.perf_counter() - started


def _print(result: Mapping[str, Any]) -> None:
    print(f"{result['runs']} runs: {result['bytes'] / 1e6:.2f} MB in {result['build_s']:.1f} s")
    for name in SCREENS if "browser" in result else ():
        known = {key: f"{value} s" for key, value in result["browser"][name].items()}
        print(
            f"{name}: seen after {known['painted_s']}, loaded after {known['loaded_s']}, charts "
            f"drawn after {known['drawn_s']}, all folded parts opened in {known['all_opened_s']}"
        )
    if "browser" in result:
        print(f"{result['browser']['elements']:,} elements")
        print("problems:", "; ".join(result["browser"]["problems"]) or "none")


def main() -> None:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--methods", type=int, default=31)
    parser.add_argument("--orders", type=int, default=5)
    parser.add_argument("--tasks", type=int, default=71)
    parser.add_argument("--share", type=float, default=0.1, help="of the published test samples")
    parser.add_argument("--browser", action="store_true", help="open the page in Chromium")
    parser.add_argument("--rounds", type=int, default=3, help="times that it is opened")
    parser.add_argument("--keep", type=Path, help="copy the page to this file")
    parser.add_argument("--shots", type=Path, help="folder for pictures of it")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = write_runs(
            Path(folder) / "runs", given.methods, given.orders, given.tasks, given.share
        )
        started = time.perf_counter()
        page = build_report(runs, Path(folder) / "report.html")
        result: dict[str, Any] = {
            "runs": len(runs), "bytes": page.stat().st_size,
            "build_s": round(time.perf_counter() - started, 1),
        }  # fmt: skip
        if given.keep:
            shutil.copyfile(page, given.keep)
        if given.browser:
            result["browser"] = opened(page, given.rounds, given.shots)
    print(json.dumps(result)) if given.json else _print(result)


if __name__ == "__main__":
    main()
