"""Tuning: the runs that measure every combination of values, and the choice among them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from autods.core.tables import Column, print_columns
from autods.errors import UsageError
from bmc.config import Config, Overrides
from bmc.report.columns import MISSING, PERCENT
from bmc.runs.choice import StreamChoice
from bmc.runs.orders import Order
from bmc.studies.engine import Executed, Findings, Study, design
from bmc.studies.plan import Design, combinations, concerns, parse_grids
from bmc.studies.tuning import Candidate, Measured, Tuned, choose

# Fields that say what is compared or how it is measured: the best value is no hyper-parameter.
FIXED = frozenset(
    {
        "memory",
        "memory_mb",
        "seed",
        "evaluate_every",
        "evaluate_on",
        "outputs",
        "precision",
        "capture",
    }
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
    grids = parse_grids(grid)
    base, streams, skipped, left_out = design(choice, methods, orders, config, overrides)
    candidates = candidates_of(base, grids, range(config.seed, config.seed + seeds))

    def collect(executed: Executed) -> Findings:
        executed.check("are finished; nothing was chosen", but_diverged=True)
        left = [c for c in candidates if all(run.label in executed.runs for run in c.runs)]
        tuned = choose(left, config, executed.runs, streams)
        return Findings(tuned.model_dump(mode="json"), partial(print_tuned, tuned))

    runs = {run.label: run for candidate in candidates for run in candidate.runs}
    name, notes = f"{choice.folder}-tune", [*skipped, *left_out]
    return Study("tune", name, choice, streams, list(runs.values()), collect, notes, True)


def candidates_of(
    base: Design, grids: Mapping[str, Sequence[Any]], seeds: Sequence[int]
) -> list[Candidate]:
    """Return, for each method, every combination of values of the fields that it reads.

    A grid for a single method (``METHOD.FIELD``) replaces the shared grid of that field and adds
    nothing to what other methods try. Raises `UsageError` for a field that no method reads, one
    that accuracy cannot choose, and a value out of range.
    """
    for key, listed in grids.items():
        if key.rpartition(".")[2] in FIXED:
            raise UsageError(
                f"--grid {key}=...: expected a hyper-parameter; {key} says what is compared or "
                "how it is measured, and is the same for all. Nothing was run. Leave it out."
            )
        base.expand([{key: value} for value in listed])  # refuses what no method reads
    candidates: dict[tuple[str, str], Candidate] = {}
    for method in base.methods:
        alone = replace(base, methods=[method])
        own: dict[str, str] = {}  # by field, the grid that this method gets
        for key in grids:
            field = key.rpartition(".")[2]
            if concerns(key, method) and ("." in key or field not in own):
                own[field] = key
        for change in combinations({key: grids[key] for key in own.values()}):
            fields = {key.rpartition(".")[2]: value for key, value in change.items()}
            values = base.overrides.get(method, {}) | fields
            runs = tuple(alone.expand([{**change, "seed": seed} for seed in seeds]))
            candidates.setdefault((method, repr(values)), Candidate(method, values, runs))
    return list(candidates.values())


def print_tuned(tuned: Tuned, more: str) -> None:
    """Print each combination, the chosen ones marked; ``more`` is the file that holds all."""
    columns = [
        Column("method", [row.method for row in tuned.table], name=True),
        Column("values", [_values(row) for row in tuned.table], name=True),
        Column(f"{tuned.scenario} %", [_accuracy(row) for row in tuned.table], number=True),
        Column("difference", [_difference(row) for row in tuned.table], number=True),
    ]
    tried = Counter(row.method for row in tuned.table)
    notes = [
        f"combinations tried: {_budgets(tried)}",
        "* chosen: the default (the first combination, if the default is not among them), unless "
        "another one is better by more than one standard error of the difference",
        *_intervals(tuned),
        "difference in points ± its standard error over samples or orders, the larger one",
        *_unknown(tuned),
        f"measured on the development split of {', '.join(tuned.datasets)}",
    ]
    print_columns(columns, notes=notes, more=more)


def _budgets(tried: Mapping[str, int]) -> str:
    """Say how many combinations each method had: the usual number, and who had another."""
    usual = max(tried.values())
    others = [f"{method} {count}" for method, count in tried.items() if count != usual]
    return f"{usual} of each method" + (f"; {', '.join(others)}" if others else "")


def _values(row: Measured) -> str:
    return ", ".join(f"{name} {value}" for name, value in row.values.items()) or "none"


def _intervals(tuned: Tuned) -> list[str]:
    orders = len(tuned.orders)
    return [f"mean ± half of the 95 % interval over {orders} orders"] if orders > 1 else []


def _unknown(tuned: Tuned) -> list[str]:
    """Say what follows where no standard error is known."""
    unknown = [row for row in tuned.table if row.error is None and not row.reference]
    return [f"{MISSING}: the runs do not say which samples were right"] if unknown else []


def _difference(row: Measured) -> str:
    if row.difference is None:
        return "default" if row.default else "first"
    error = MISSING if row.error is None else f"{100 * row.error:.1f}"
    return f"{100 * row.difference:+.1f} ± {error}"


def _accuracy(row: Measured) -> str:
    half = None if row.high is None else row.high - row.mean
    return PERCENT.text(row.mean, half) + ("*" if row.chosen else " ")
