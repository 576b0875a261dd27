"""Result files as runs write them, made up, for tests of reports and figures."""

import contextlib
import io
import json
import random
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from safetensors.numpy import save_file

from bmc.report.table import Table

TITLES = {
    "bmc": "BMC", "slda": "Deep SLDA", "er": "Experience replay",
    "finetune": "Fine-tuning", "joint": "Joint training",
}  # fmt: skip
START = {"bmc": 0.8, "slda": 0.82, "er": 0.75, "finetune": 0.95, "joint": 0.85}
TASKS = {"a": 40, "b": 60, "c": 100}  # test samples of the runs that store theirs
Right = Mapping[str, np.ndarray]  # which of them a run gets right
LOSS = {"bmc": 0.006, "slda": 0.002, "er": 0.022, "finetune": 0.9, "joint": 0.0}  # per later task


def task_names(count: int) -> list[str]:
    words = ["aircraft", "apparel", "aptos2019", "cub", "kvasircapsule", "places365", "zalando"]
    return [words[i] if i < len(words) else f"{words[i % 7]}-{i}" for i in range(count)]


def make_results(method: str, tasks: int = 71, order_seed: int | None = None, **changes) -> dict:
    """Results as a run writes them: accuracies fall from START by LOSS for each later task."""
    draw = random.Random(f"{method}{order_seed}")
    names = task_names(tasks)
    difficulty = {name: random.Random(name).uniform(0.6, 1.15) for name in names}
    if order_seed is not None:
        random.Random(order_seed).shuffle(names)
    learned = {"bmc": [*range(8, tasks, 8), tasks], "joint": [tasks]}.get(
        method, list(range(1, tasks + 1))
    )
    matrices: dict[str, list] = {"class-il": [], "task-il": [], "dataset-id": []}
    for n in learned:
        rows: dict[str, list] = {scenario: [None] * tasks for scenario in matrices}
        for j, name in enumerate(names[:n]):
            kept = max(0.004, (1 - LOSS[method]) ** (n - 1 - j)) * draw.uniform(0.93, 1.03)
            within = min(0.99, START[method] * difficulty[name] * (0.8 + 0.2 * kept))
            found = min(1.0, kept * (1 - 0.002 * n))
            rows["class-il"][j] = round(within * found, 6)
            rows["task-il"][j] = round(within, 6)
            rows["dataset-id"][j] = round(found, 6)
        for scenario, row in rows.items():
            matrices[scenario].append(row)
    final = {scenario: fmean(rows[-1]) for scenario, rows in matrices.items()}

    def metrics(scenario: str) -> dict:
        many = len(learned) > 1
        return {
            "final_mean": final[scenario], "final_micro": final[scenario] * 0.98,
            "average_incremental_micro": final[scenario] * 1.1 if many else None,
            "bwt_gem": -0.1 if many else None,
            "forgetting_chaudhry": START[method] - final[scenario] if many else None,
            "learning_accuracy": START[method], "worst_task": min(matrices[scenario][-1]),
            "within_dataset": final["class-il"] / final["dataset-id"],
        }  # fmt: skip

    sent = 8_380_416 if method == "bmc" else 0
    kept_bytes = {"bmc": 2_064_000, "er": 2_064_000, "slda": 6_918_144}.get(method, 0)
    learning = {"bmc": 80.0, "slda": 4.1, "er": 131.0, "finetune": 102.4, "joint": 98.2}[method]
    results = {
        "format": 2, "method": method, "title": TITLES[method], "stream": "synthetic",
        "scenario": "class-il", "protocol": "clean", "order_seed": order_seed, "run_seed": 0,
        "tasks": [
            {"name": n, "dataset": n, "classes": len(n) * 4, "train": len(n) * 60, "test": 90}
            for n in names
        ],
        "learned": learned, "R": matrices,
        "metrics": {
            "class-il": {**metrics("class-il"), "dataset_id": final["dataset-id"]},
            "task-il": metrics("task-il"),
        },
        "costs": {
            "communication_bytes": sent, "memory_bytes": kept_bytes,
            "total_bytes": sent + kept_bytes,
            "cost_accuracy": final["class-il"] * 1e8 / (sent + kept_bytes)
            if sent + kept_bytes else None,
            "steps": 12345,
        },
        "timing": {
            "seconds": {"train": learning, "evaluate": 30.0, "total": learning + 30.0},
            "peak_host_bytes": 812_000_000, "peak_device_bytes": 0,
            "machine": {"python": "3.11.2", "threads": 2},
        },
        "config": {"epochs": 10, "memory": 2000, "experts": 8, "seed": 0},
        "provenance": {
            "stream": {"fingerprint": "6b1f" * 16, "scale": 0.01},
            "encoder": {"model": "ViT-B-32", "pretrained": "laion2b_s34b_b79k"},
        },
        "versions": {"bmc": "0.1.0", "torch": "2.9.1"},
    }  # fmt: skip
    return {**results, **changes}


def write(folder: Path, results: dict) -> Path:
    """Write a run folder as `bmc.runs.folder` does: times apart from what is reproducible."""
    folder.mkdir(parents=True)
    if isinstance(results, dict) and "timing" in results:
        timing = results["timing"]
        results = {key: value for key, value in results.items() if key != "timing"}
        (folder / "timing.json").write_text(json.dumps(timing), encoding="utf-8")
    (folder / "results.json").write_text(json.dumps(results), encoding="utf-8")
    return folder


def write_all(root: Path, seeds: tuple[int, ...], tasks: int = 71) -> list[Path]:
    """Runs of all five methods, each in the orders of these seeds."""
    return [
        write(root / f"{m}-{seed}", make_results(m, tasks=tasks, order_seed=seed))
        for m in TITLES for seed in seeds
    ]  # fmt: skip


def printed(table: Table, width: int = 100) -> list[str]:
    """Return the lines of a table in a terminal so many columns wide."""
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.setenv("COLUMNS", str(width))
        table.print("all.csv")
    return out.getvalue().splitlines()


def configured(order_seed: int = 0, accuracy: float = 0.6, **settings) -> dict:
    """Results of BMC under a configuration, whose memory and buffer decide its cost."""
    config = {"epochs": 10, "memory": 2000, "buffer": 250, "experts": 8, "lam": 0.1, "beta": 0.1}
    results = make_results("bmc", tasks=9, order_seed=order_seed, config={**config, **settings})
    kept, sent = (2060 * results["config"][key] for key in ("memory", "buffer"))
    results["metrics"]["class-il"]["final_mean"] = accuracy
    results["costs"].update(
        memory_bytes=kept, communication_bytes=sent, total_bytes=kept + sent,
        cost_accuracy=accuracy * 1e8 / (kept + sent),
    )  # fmt: skip
    return results


def ablation() -> list[dict]:
    """As many configurations as an ablation has, many of them at one cost, and fine-tuning."""
    rows = [configured(accuracy=0.6)]
    rows += [configured(lam=0.0, accuracy=0.57), configured(beta=0.0, accuracy=0.56)]
    rows += [configured(experts=k, accuracy=0.63 - k / 400) for k in (1, 2, 4, 16)]
    rows += [configured(memory=m, accuracy=0.55 + m / 1e5) for m in (500, 1000, 4000, 8000)]
    rows += [configured(buffer=b, accuracy=0.6 + b / 5e4) for b in (50, 125, 500, 1000)]
    rows += [configured(lam=w, accuracy=0.601 + w / 1e3) for w in (0.001, 0.01, 1.0)]
    return [*rows, make_results("finetune", tasks=9, order_seed=0)]


def of(method: str, title: str, **made) -> dict:
    """Results as those of replay, of a method of another name."""
    return {**make_results("er", **made), "method": method, "title": title}


def many(tmp_path: Path, count: int, orders: int, tasks: int = 9) -> list[Path]:
    """Runs of so many methods besides fine-tuning and joint training, each less accurate."""
    folders = []
    for seed in range(orders):
        for k in range(count):
            results = of(f"m{k}", f"Method {k}", tasks=tasks, order_seed=seed)
            results["metrics"]["class-il"]["final_mean"] = 0.7 - 0.02 * k + 0.001 * seed * (k % 3)
            folders.append(write(tmp_path / f"m{k}-{seed}", results))
        for method in ("finetune", "joint"):
            results = make_results(method, tasks=tasks, order_seed=seed)
            folders.append(write(tmp_path / f"{method}-{seed}", results))
    return folders


def right(seed: int, share: float, tasks: Mapping[str, int] = TASKS) -> dict[str, np.ndarray]:
    """Hits of a method that is right with this probability, by task."""
    draw = np.random.default_rng(seed)
    return {name: (draw.random(size) < share).astype(np.uint8) for name, size in tasks.items()}


def stored(folder: Path, method: str, hits: Right, order: int | None = 0, **changes) -> Path:
    """A finished run of such hits, whose tasks stand in the order of ``hits``."""
    accuracies = [float(values.mean()) for values in hits.values()]
    results = make_results("er", tasks=len(hits), order_seed=order)
    results |= {"method": method, "title": method.upper(), "learned": [len(hits)]}
    results["tasks"] = [
        {"name": name, "dataset": name, "classes": 2, "train": 9, "test": len(values)}
        for name, values in hits.items()
    ]
    results["R"] = {scenario: [accuracies] for scenario in ("class-il", "task-il")}
    results["metrics"] = {
        scenario: {"final_mean": fmean(accuracies)} for scenario in ("class-il", "task-il")
    }
    folder = write(folder, results | changes)
    samples = {f"{scenario}/{name}": v for scenario in results["R"] for name, v in hits.items()}
    save_file(samples, folder / "samples.safetensors", {"format": "1"})
    return folder


CLASS_NAMES = {"a": ["cat", "dog"], "b": ["<b>tulip", 'rose, "red"'], "c": ["car", "van"]}


def answered(
    folder: Path, method: str, share: float, order: int = 0, size: int = 60, **changes
) -> Path:
    """A finished run that kept its answers, right with a probability; wrong ones are any class."""
    draw = np.random.default_rng([order, size])
    names = [*CLASS_NAMES][order:] + [*CLASS_NAMES][:order]
    label = {t: 2 * k + draw.integers(0, 2, size) for k, t in enumerate(names)}
    said = {
        t: np.where(draw.random(size) < share, own, draw.integers(0, 2 * len(names), size))
        for t, own in label.items()
    }
    hits = {t: (said[t] == label[t]).astype(np.uint8) for t in names}
    stored(folder, method, hits, order, **changes)
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    for task in results["tasks"]:
        task |= {"class_names": CLASS_NAMES[task["name"]], "label_set": "main"}
    (folder / "results.json").write_text(json.dumps(results), encoding="utf-8")
    samples = {f"{scenario}/{t}": v for scenario in results["R"] for t, v in hits.items()}
    samples |= {f"answer/{t}": v.astype(np.int32) for t, v in said.items()}
    samples |= {f"label/{t}": v.astype(np.int32) for t, v in label.items()}
    save_file(samples, folder / "samples.safetensors", {"format": "1"})
    return folder
