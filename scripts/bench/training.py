"""Measure BMC against a plain implementation and against fine-tuning, phase by phase.

``run``      whole runs on generated features: ours, plain, fine-tuning, in turns
``experts``  expert updates per second against the number of experts in one program
``groups``   time of an update, and of the evaluation, from the first group to the last

Wall seconds are what counts on a quiet machine; CPU seconds are printed beside them since they
suffer less where other programs run. Medians over rounds; sides take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from training_plain import PlainBMC

from autods.streams.synthetic import synthetic_stream
from bmc.config import Config
from bmc.engines.local import train_experts
from bmc.engines.local_engine import LocalEngine
from bmc.methods import METHODS
from bmc.runs import metrics
from bmc.runs.evaluate import evaluate
from bmc.runs.grid import measured_after
from bmc.train.data import TaskTensors, to_tensors
from bmc.train.phases import EVALUATE, LEARN

Result = dict[str, Any]


def timed(body: Callable[[], Result]) -> Result:
    """Return what the body returns, with its wall and CPU seconds, ended children included."""
    wall, cpu = time.perf_counter(), sum(os.times()[:4])
    result = body()
    return result | {"wall": time.perf_counter() - wall, "cpu": sum(os.times()[:4]) - cpu}


def ours(
    name: str, tasks: list[TaskTensors], config: Config, engine: LocalEngine | None = None
) -> Result:
    """Learn, evaluate on the grid that all sides share, and compute all metrics."""
    dim, device = tasks[0].train.features.shape[1], tasks[0].train.labels.device
    every = config.options.experts
    config = config if name == "bmc" else replace(config, options=None)
    method = METHODS.get(name)(dim, tasks[-1].stop, config, device)
    method.engine = engine or LocalEngine()
    if method.has_experts:  # as `bmc.run` does
        sizes = [len(task.train) for task in tasks]
        method.engine.expect(sizes, method.group_size(len(tasks)), config)
    ends = method.group_ends(len(tasks))
    learned = measured_after(every, ends)
    rows = []
    for first, stop in zip([0, *ends], ends, strict=False):
        with method.watch.phase(LEARN, device):
            method.learn(tasks[first:stop])
        if stop in learned:
            with method.watch.phase(EVALUATE, device):
                rows.append(evaluate(method, tasks).class_il)
    values = metrics.summary(np.array(rows), learned, [len(task.test) for task in tasks])
    phases = {name: seconds for name, seconds in method.watch.whole().items() if seconds > 0.005}
    return {"updates": method.steps, "class-il": 100 * values["final_mean"], "phases": phases}


def plain(tasks: list[TaskTensors], config: Config) -> Result:
    """Do the same the plain way."""
    run = PlainBMC(tasks, config)
    final = run.run()["class-il"]
    return {"updates": run.steps, "class-il": 100 * final.mean(), "phases": dict(run.seconds)}


def learning(row: Result) -> float:
    """Return the wall seconds of a side without evaluation."""
    return row["wall"] - row["phases"].get("evaluate", 0)


def bench_run(options: argparse.Namespace) -> Result:
    """Measure the ratio to the plain side, relative time, and the share of evaluation.

    Worker processes of BMC start in its first round and stay, as they do from run to run of a
    command: the first round has their start, the others have not.
    """
    tasks, config = problem(options), configuration(options)
    engine = LocalEngine(["cpu"] * options.workers)
    bodies = {
        "fine-tuning": lambda: ours("finetune", tasks, config, engine),
        "BMC": lambda: ours("bmc", tasks, config, engine),
        "plain BMC": lambda: plain(tasks, config),
    }
    sides = {name: bodies[name] for name in bodies if name in options.sides}
    rounds = []
    for _ in range(options.rounds):
        rounds.append({name: timed(body) for name, body in sides.items()})
    engine.close()
    result: Result = {"rounds": rounds, "ratios": {}}
    result["samples"] = [sum(len(getattr(t, s)) for t in tasks) for s in ("train", "test")]

    def ratio(of: str, to: str, value: Callable[[Result], float]) -> float:
        return median(value(one[of]) / value(one[to]) for one in rounds)

    for clock in ("wall", "cpu"):
        result[clock] = {name: median(one[name][clock] for one in rounds) for name in sides}
        if "plain BMC" in sides:
            key = f"plain / ours, whole, {clock}"
            result["ratios"][key] = ratio("plain BMC", "BMC", lambda row, c=clock: row[c])
        key = f"BMC / fine-tuning, whole, {clock}"
        result["ratios"][key] = ratio("BMC", "fine-tuning", lambda row, c=clock: row[c])
    if "plain BMC" in sides:
        result["ratios"]["plain / ours, learning, wall"] = ratio("plain BMC", "BMC", learning)
    result["ratios"]["BMC / fine-tuning, learning, wall"] = ratio("BMC", "fine-tuning", learning)
    for name in sides:
        share = median(
            one[name]["phases"].get("evaluate", 0) / learning(one[name]) for one in rounds
        )
        result["ratios"][f"evaluation / learning, {name}"] = share
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return result | {"peak_host_bytes": peak}


def show_run(result: Result) -> None:
    train, test = result["samples"]
    print(f"{train} training samples, {test} test samples")
    print(f"{'':<14}{'wall s':>9}{'CPU s':>9}{'updates':>9}{'class-il':>10}  phases, wall s")
    for name, row in result["rounds"][-1].items():
        phases = ", ".join(f"{phase} {s:.1f}" for phase, s in row["phases"].items())
        wall, cpu = result["wall"][name], result["cpu"][name]
        print(
            f"{name:<14}{wall:>9.1f}{cpu:>9.1f}{row['updates']:>9}{row['class-il']:>10.1f}", phases
        )
    for name in result["wall"]:
        seconds = " ".join(f"{learning(one[name]):.2f}" for one in result["rounds"])
        print(f"{name}: learning of each round, wall s: {seconds}")
    for name, value in result["ratios"].items():
        print(f"{value:>8.3f}  {name}")


def bench_experts(options: argparse.Namespace) -> Result:
    """Must show 2: updates per second of K experts that train in one program."""
    # two classes and as many samples each, enough for updates to be all that counts
    stream = synthetic_stream(classes=142, per_class=10 * options.per_class, dim=options.dim)
    tasks = to_tensors(stream, torch.device("cpu"))
    config = configuration(options)
    base = METHODS.get("bmc")(options.dim, stream.n_classes, config, torch.device("cpu")).net
    base_size = [k for k in options.copies if k <= len(tasks)]

    def body(k: int) -> Result:
        return {"updates": sum(train_experts(base, tasks[:k], config, stack=k)[1])}

    rounds = [{k: timed(lambda k=k: body(k)) for k in base_size} for _ in range(options.rounds)]
    rates = {}
    for k in base_size:
        rates[k] = {
            clock: median(one[k]["updates"] / one[k][clock] for one in rounds)
            for clock in ("wall", "cpu")
        }
    return {"updates_per_second": rates}


def show_experts(result: Result) -> None:
    print(f"{'experts K':>9}{'updates/s':>11}{'updates/CPU s':>15}")
    for k, row in result["updates_per_second"].items():
        print(f"{k:>9}{row['wall']:>11.0f}{row['cpu']:>15.0f}")


def bench_groups(options: argparse.Namespace) -> Result:
    """Must show 4: an update costs the same at the first group and at the last."""
    tasks, config = problem(options), configuration(options)
    device = torch.device("cpu")
    method = METHODS.get("bmc")(options.dim, tasks[-1].stop, config, device)
    rows = []
    for first in range(0, len(tasks), config.options.experts):
        group = tasks[first : first + config.options.experts]
        before, made = method.watch.whole(), method.steps
        known = len(method.expert_steps)
        with method.watch.phase(LEARN, device):
            method.learn(group)
        with method.watch.phase(EVALUATE, device):
            evaluate(method, tasks)
        seconds = {p: s - before.get(p, 0.0) for p, s in method.watch.whole().items()}
        experts = sum(method.expert_steps[known:])
        rows.append({
            "tasks": group[-1].index + 1,
            "classes": method.seen,
            "expert_ms": 1e3 * seconds["experts"] / experts,
            "consolidation_ms": 1e3 * seconds["consolidation"] / (method.steps - made - experts),
            "evaluate_share": seconds["evaluate"] / sum(seconds.values()),
        })  # fmt: skip
    total = sum(method.watch.seconds.values())
    if options.figure:
        draw_groups(rows, options.figure)
    return {"groups": rows, "evaluate_share": method.watch.seconds["evaluate"] / total}


def draw_groups(rows: list[Result], path: Path) -> None:
    """Draw the time of an update against the tasks learned."""
    import altair as alt

    labels = {
        "consolidation_ms": "consolidation (the head grows with the classes)",
        "expert_ms": "expert",
    }
    values = [
        {"tasks": row["tasks"], "ms": row[key], "what": label}
        for row in rows
        for key, label in labels.items()
    ]
    chart = alt.Chart(alt.Data(values=values), width=420, height=220).mark_line(point=True)
    chart.encode(
        x=alt.X("tasks:Q", title="tasks learned"),
        y=alt.Y("ms:Q", title="ms per update"),
        color=alt.Color("what:N", title=None, legend=alt.Legend(orient="bottom", labelLimit=0)),
        strokeDash=alt.StrokeDash("what:N", title=None),
    ).save(path)


def show_groups(result: Result) -> None:
    print(f"{'tasks':>6}{'classes':>9}{'ms/expert update':>18}{'ms/consolidation update':>25}")
    for row in result["groups"]:
        print(
            f"{row['tasks']:>6}{row['classes']:>9}{row['expert_ms']:>18.2f}"
            f"{row['consolidation_ms']:>25.2f}"
        )
    print(f"evaluation: {100 * result['evaluate_share']:.1f} % of the run")


def problem(options: argparse.Namespace) -> list[TaskTensors]:
    stream = synthetic_stream(
        classes=None if options.scale else options.classes,
        per_class=None if options.scale else options.per_class,
        scale=options.scale or 1.0,
        tasks=options.tasks,
        dim=options.dim,
    )
    return to_tensors(stream, torch.device("cpu"))


def configuration(options: argparse.Namespace) -> Config:
    return Config(
        epochs=options.epochs,
        precision=options.precision,
        options=METHODS.get("bmc").Options(
            experts=options.experts,
            consolidation_epochs=options.consolidation_epochs,
            consolidation_batch=options.consolidation_batch,
            consolidation_rate=options.consolidation_rate,
        ),
    )


BENCHES = {
    "run": (bench_run, show_run),
    "experts": (bench_experts, show_experts),
    "groups": (bench_groups, show_groups),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bench", choices=BENCHES)
    parser.add_argument("--classes", type=int, default=704)
    parser.add_argument("--per-class", type=int, default=40, help="training samples of a class")
    parser.add_argument("--scale", type=float, help="share of Stream, all classes, in its own "
                        "proportions, instead of --classes and --per-class")  # fmt: skip
    parser.add_argument("--tasks", type=int, default=71)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--experts", type=int, default=16, help="tasks per group")
    parser.add_argument("--consolidation-epochs", type=int, default=3)
    parser.add_argument("--consolidation-batch", type=int, default=128)
    parser.add_argument("--consolidation-rate", type=float, default=0.002)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--copies", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 71])
    parser.add_argument("--sides", nargs="+", default=["fine-tuning", "BMC", "plain BMC"])
    parser.add_argument("--threads", type=int, default=1, help="of torch, for all sides")
    parser.add_argument("--figure", type=Path, help="of groups: where to draw it")
    parser.add_argument("--workers", type=int, default=0, help="processes for BMC's experts")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    measure, show = BENCHES[options.bench]
    result = measure(options)
    if options.json:
        print(json.dumps(result | {"options": vars(options)}, indent=2, default=str))
    else:
        show(result)


if __name__ == "__main__":
    main()
