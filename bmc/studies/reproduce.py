"""The published experiment: its methods with their settings, ours beside the published figures."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from autods.core.root import DataRoot
from bmc.config import Config
from bmc.report.load import BASE_OF_TIME
from bmc.runs.choice import StreamChoice
from bmc.studies.engine import Executed, Findings, Study, design
from bmc.studies.published import METHODS, SHARED, check_features, experiment_of, published_methods
from bmc.studies.reproduce_table import reproduce_json, reproduce_notes, reproduce_table


def reproduce_study(
    experiment: str,
    *,
    methods: str = "all",
    seeds: int = 1,
    max_tasks: int | None = None,
    encoder: str = "",
    root: Path | None = None,
) -> Study:
    """Plan the methods of a published experiment in the published order, with its settings."""
    published, names = experiment_of(experiment), published_methods(methods)
    encoder = encoder or published.encoder
    check_features(published, encoder, DataRoot.open(root))
    choice = StreamChoice(
        "class-il", published.stream, encoder, root, protocol="paper", max_tasks=max_tasks
    )
    names = list(dict.fromkeys([*names, BASE_OF_TIME]))
    settings = {name: METHODS[name] for name in names}
    base, streams, _, _ = design(
        choice, ",".join(names), ["paper"], replace(Config(), **SHARED), settings
    )

    def collect(executed: Executed) -> Findings:
        runs = list(executed.runs.values())
        table = reproduce_table(published, runs)
        title = f"{published.title}: ours beside the published figures"
        return Findings(
            reproduce_json(published, runs, executed.failed),
            partial(table.print, title=title),
            {"csv": table.csv()},
            reproduce_notes(published, runs),
        )

    runs = base.expand([{"seed": seed} for seed in range(seeds)])
    return Study("reproduce", f"reproduce-{published.name}", choice, streams, runs, collect)
