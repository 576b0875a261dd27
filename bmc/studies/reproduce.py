"""The published experiment: its methods with their settings, ours beside the published figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from autods.core.root import DataRoot
from bmc.config import Config
from bmc.report.columns import COLUMNS
from bmc.report.finished import Run
from bmc.report.groups import group
from bmc.report.load import BASE_OF_TIME
from bmc.report.table import Shown, Table, results_table
from bmc.runs.choice import StreamChoice
from bmc.studies.differences import differences
from bmc.studies.engine import Executed, Findings, Study, design
from bmc.studies.presets import Preset, read_preset
from bmc.studies.published import (
    NO_FIGURES,
    Experiment,
    Figures,
    check_features,
    experiment_of,
    published_methods,
)  # fmt: skip

# its README says that this code made the published results
PRESET = "published-code"
DASH = "-"  # the poster has no figure as a number
PUBLISHED = ("class_il", "cost_accuracy", "relative_time")  # of what there are figures


def reproduce_study(
    experiment: str,
    *,
    methods: str = "all",
    seeds: int = 1,
    max_tasks: int | None = None,
    encoder: str = "",
    root: Path | None = None,
    preset: str = PRESET,
) -> Study:
    """Plan the methods of a published experiment in the published order, with a preset."""
    settings = read_preset(preset)
    published, names = experiment_of(experiment), published_methods(methods)
    encoder = encoder or published.encoder
    check_features(published, encoder, DataRoot.open(root))
    choice = StreamChoice(
        "class-il", published.stream, encoder, root, protocol="paper", max_tasks=max_tasks,
        normalize="none",
    )  # fmt: skip
    names = list(dict.fromkeys([*names, BASE_OF_TIME]))
    own = {name: settings.methods[name] for name in names}
    base, streams, _, _ = design(choice, ",".join(names), ["paper"], Config(**settings.shared), own)

    def collect(executed: Executed) -> Findings:
        runs = list(executed.runs.values())
        table = reproduce_table(published, runs, settings)
        title = f"{published.title}: ours beside the published figures"
        return Findings(
            reproduce_json(published, runs, settings, executed.failed),
            partial(table.print, title=title),
            {"csv": table.csv()},
            reproduce_notes(published, runs, settings),
        )

    runs = base.on_one_grid(base.expand([{"seed": seed} for seed in range(seeds)]))
    name = f"reproduce-{published.name}" + ("" if preset == PRESET else f"-{preset}")
    return Study("reproduce", name, choice, streams, runs, collect)


def reproduce_table(experiment: Experiment, runs: Sequence[Run], preset: Preset) -> Table:
    """Return the table: ours, best first, with the published figures in ``KEY_published``."""
    groups = group(runs)
    figures = [experiment.figures.get(g.first.method, NO_FIGURES) for g in groups]
    published = {key: [getattr(figure, key) for figure in figures] for key in PUBLISHED}
    values = {f"{key}_published": column for key, column in published.items()}
    table = results_table(groups, "reproduce", values=values)
    shown = {}
    for key, ours in table.shown.items():
        shown[key] = ours
        if key in PUBLISHED:  # the pairs are the point of the table: the last to be dropped
            shown[key] = replace(ours, priority=0)
            shown[f"{key}_published"] = _published(key, shown[key], published[key])
    notes = [*table.notes, *reproduce_notes(experiment, runs, preset)]
    return replace(table, shown=shown, notes=notes)


def _published(key: str, ours: Shown, figures: Sequence[float | None]) -> Shown:
    """Return the published column beside ours, in its unit."""
    unit = next(column.unit for column in COLUMNS if column.key == key)
    texts = [DASH if figure is None else unit.text(figure) for figure in figures]
    return replace(
        ours, header=f"published {ours.header}", short="published", texts=texts,
        marks=[""] * len(texts),
    )  # fmt: skip


def reproduce_json(
    experiment: Experiment, runs: Sequence[Run], preset: Preset, failed: Mapping[str, str]
) -> dict[str, Any]:
    """Return the content of ``reproduce.json``."""
    first = runs[0]
    methods = sorted({run.method for run in runs})
    return {
        "format": 1,
        "experiment": experiment.name,
        "stream": first.stream,
        "scenario": first.scenario,
        "protocol": first.protocol,
        "encoder": first.encoder,
        "tasks": [task.name for task in first.tasks],
        "seeds": sorted({run.run_seed for run in runs}),
        "preset": preset.name,
        "settings": preset.shared,
        "own_settings": {method: preset.methods[method] for method in methods},
        "notes": reproduce_notes(experiment, runs, preset),
        "differences": differences(preset, methods),
        "failed": dict(failed),
        "rows": reproduce_table(experiment, runs, preset).records(),
        "device": first.device,
        "versions": first.versions,
    }


def reproduce_notes(experiment: Experiment, runs: Sequence[Run], preset: Preset) -> list[str]:
    """Return what a reader must know of the figures, then what is not as published."""
    first = runs[0]
    notes = [f"Settings: the preset {preset.name}."]
    if len(first.tasks) < experiment.tasks:
        notes.append(
            f"A trial with the first {len(first.tasks)} of {experiment.tasks} tasks: not the "
            "published experiment."
        )
    if first.encoder != experiment.encoder:
        notes.append(f"Features by {first.encoder}, not by {experiment.encoder}.")
    if experiment.figures:
        figures = "; ".join(_sentence(method, f) for method, f in experiment.figures.items())
        notes.append(f"Published figures: {figures}; the poster has no others as numbers.")
    else:
        notes.append(
            f"Poster and project page have no number for {experiment.title}; the paper evaluates "
            "on it."
        )
    return notes + differences(preset, sorted({run.method for run in runs}))


def _sentence(method: str, figures: Figures) -> str:
    """Say what is published of a method."""
    templates = ("class-il {:.1%}", "cost accuracy {}", "relative time {:.0%}")
    known = [t.format(v) for t, v in zip(templates, figures, strict=True) if v is not None]
    return f"{method} " + ", ".join(known).replace("%", " %")
