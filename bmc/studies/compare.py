"""A comparison: methods side by side over orders of the tasks, with tests and costs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bmc.config import Config, Overrides
from bmc.runs.choice import StreamChoice
from bmc.runs.grid import at_once
from bmc.runs.orders import Order
from bmc.studies.compare_files import compare_json, compare_tex
from bmc.studies.compare_table import Comparison, compare_table
from bmc.studies.engine import Executed, Findings, Study, design
from bmc.studies.plan import Design, PlannedRun
from bmc.studies.tuning import check_disjoint, read_tuned


def compare_study(
    choice: StreamChoice,
    config: Config,
    overrides: Overrides,
    *,
    methods: str = "all",
    orders: Sequence[Order] = tuple(range(5)),
    seeds: int = 1,
    tuned: Path | None = None,
) -> Study:
    """Plan every method in every order under every run seed, fine-tuning among them.

    ``tuned`` is what ``bmc-stream tune`` wrote: values of single methods, over those given.
    """
    chosen = read_tuned(tuned) if tuned else None
    values = chosen.chosen if chosen else {}
    base, streams, skipped, left_out = design(choice, methods, orders, config, overrides)
    if tuned and chosen:
        check_disjoint(chosen, streams.values(), tuned)

    runs = comparison_runs(base, range(config.seed, config.seed + seeds), values)
    whole = at_once(((run.method, run.config) for run in runs), max(base.tasks.values()))

    def collect(executed: Executed) -> Findings:
        failed = [(name, why) for name, why in executed.failed.items()
                  if name not in executed.diverged]  # fmt: skip
        left = (*left_out, *executed.notes)
        made = Comparison(tuple(executed.runs.values()), left, tuple(failed), chosen, tuple(whole))
        table = compare_table(made)
        files = {"csv": table.csv(), "tex": compare_tex(made)}
        return Findings(compare_json(made), table.print, files, made.report_notes(), table)

    name = f"{choice.folder}-compare"
    return Study("compare", name, choice, streams, runs, collect, [*skipped, *left_out, *whole])


def comparison_runs(
    base: Design, seeds: Sequence[int], tuned: Overrides | None = None
) -> list[PlannedRun]:
    """Return the runs of a comparison; ``tuned`` holds values of single methods."""
    own = {
        f"{method}.{field}": value
        for method, values in (tuned or {}).items()
        if method in base.methods
        for field, value in values.items()
    }
    runs = base.expand([{**own, "seed": seed} for seed in seeds])
    return base.on_one_grid(base.with_finetune(runs))
