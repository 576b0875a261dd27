"""Tuning: the runs that measure every combination of values, and the choice among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from autods.core.tables import Column, print_columns
from autods.errors import UsageError
from bmc.config import Config, Overrides
from bmc.report.columns import PERCENT
from bmc.runs.choice import StreamChoice
from bmc.runs.orders import Order
from bmc.studies.engine import Executed, Findings, Study, design
from bmc.studies.plan import Change, Design, concerns, grid_changes
from bmc.studies.tuning import Candidate, Measured, Tuned, choose

# Fields that say what is compared or how it is measured: the best value is no hyper-parameter.
FIXED = frozenset(
    {"memory", "seed", "evaluate_every", "evaluate_on", "outputs", "precision", "capture"}
)


def tune_study(
    choice: StreamChoice,
    config: Config,
    overrides: Overrides,
    *,
    grid: Sequence[str],
    methods: str = "bmc",
    orders: Sequence[Order] = tuple(range(3)),
    seeds: int = 1,
) -> Study:
    """Plan every combination of a grid for every method, measured on development data."""
    config = replace(config, evaluate_on="dev")
    changes = grid_changes(grid)
    base, streams, skipped, left_out = design(choice, methods, orders, config, overrides)
    candidates = candidates_of(base, changes, range(config.seed, config.seed + seeds))

    def collect(executed: Executed) -> Findings:
        executed.check("are finished; nothing was chosen")
        tuned = choose(candidates, config, executed.runs, streams)
        return Findings(tuned.model_dump(mode="json"), partial(print_tuned, tuned))

    runs = {run.label: run for candidate in candidates for run in candidate.runs}
    name, notes = f"{choice.folder}-tune", [*skipped, *left_out]
    return Study("tune", name, choice, streams, list(runs.values()), collect, notes)


def candidates_of(base: Design, changes: Sequence[Change], seeds: Sequence[int]) -> list[Candidate]:
    """Return the combinations of each method; of a grid it gets the fields that it reads.

    Refuses fields that no method reads or that accuracy cannot choose, and values out of range.
    """
    for key in dict.fromkeys(key for change in changes for key in change):
        if key.rpartition(".")[2] in FIXED:
            raise UsageError(
                f"--grid {key}=...: expected a hyper-parameter; {key} says what is compared or "
                "how it is measured, and is the same for all. Nothing was run. Leave it out."
            )
    base.expand(changes)  # refuses what no method reads
    candidates: dict[tuple[str, str], Candidate] = {}
    for method in base.methods:
        alone = replace(base, methods=[method])
        for change in changes:
            own = {key: value for key, value in change.items() if concerns(key, method)}
            fields = {key.rpartition(".")[2]: value for key, value in own.items()}
            values = base.overrides.get(method, {}) | fields
            runs = tuple(alone.expand([{**own, "seed": seed} for seed in seeds]))
            candidates.setdefault((method, repr(values)), Candidate(method, values, runs))
    return list(candidates.values())


def print_tuned(tuned: Tuned, more: str) -> None:
    """Print each combination, the chosen ones marked; ``more`` is the file that holds all."""
    columns = [
        Column("method", [row.method for row in tuned.table], name=True),
        Column("values", [_values(row) for row in tuned.table], name=True),
        Column(f"{tuned.scenario} %", [_accuracy(row) for row in tuned.table], number=True),
    ]
    notes = [
        f"* chosen; mean ± half of the 95 % interval over {len(tuned.orders)} orders",
        f"measured on the development split of {', '.join(tuned.datasets)}",
    ]
    print_columns(columns, notes=notes, more=more)


def _values(row: Measured) -> str:
    return ", ".join(f"{name} {value}" for name, value in row.values.items()) or "none"


def _accuracy(row: Measured) -> str:
    half = None if row.high is None else row.high - row.mean
    return PERCENT.text(row.mean, half) + ("*" if row.chosen else " ")
