"""The columns of every results table, declared once. To add a column, add an entry to `COLUMNS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from bmc.report.groups import Group, Stat, summarise
from bmc.report.load import Run

TableName = Literal["run", "sweep", "compare", "reproduce"]
ALL: tuple[TableName, ...] = ("run", "sweep", "compare", "reproduce")

MB = 1e-6  # megabytes per byte
MISSING = "n/a"


class Unit(NamedTuple):
    """A unit for readers: its sign, the factor from the stored value, decimals shown."""

    sign: str
    scale: float
    decimals: int

    def text(self, mean: float | None, spread: float | None = None) -> str:
        """Format ``mean±spread``, or the mean alone."""
        if mean is None:
            return MISSING
        text = f"{mean * self.scale:,.{self.decimals}f}"
        if text.lstrip("-0.") == "":
            text = text.lstrip("-")
        return text if spread is None else f"{text}±{spread * self.scale:,.{self.decimals}f}"


PERCENT = Unit("%", 100, 1)
MEGABYTES = Unit("MB", MB, 2)
WHOLE_MEGABYTES = Unit("MB", MB, 0)
SECONDS = Unit("s", 1, 1)


@dataclass(frozen=True)
class Column:
    """One column of the results tables.

    Attributes
    ----------
    key
        Its name in CSV and JSON, where ``KEY_mean`` and ``KEY_sd`` hold values as stored:
        fractions, bytes, seconds.
    header
        Its name for readers.
    value
        Computes it for one run; ``None`` where it is unknown.
    best
        Whether the largest or the smallest mean is marked, or none.
    cost
        Whether it is a cost; short tables show its mean only.
    tables
        The short tables that show it: on the terminal, in LaTeX and at the top of the page.
        CSV, JSON and the full table of the page have every column.
    short
        A shorter header for narrow tables.
    priority
        Of the columns that do not fit a terminal, the one with the largest goes first.
    """

    key: str
    header: str
    unit: Unit
    value: Callable[[Run], float | None]
    best: Literal["max", "min"] | None = None
    cost: bool = False
    tables: tuple[TableName, ...] = ()
    short: str = ""
    priority: int = 9

    def stat(self, group: Group) -> Stat | None:
        """Return mean and deviation over the runs of a group."""
        return summarise(self.value(run) for run in group.runs)


def final_key(scenario: str) -> str:
    """Return the key of the final mean accuracy in a scenario."""
    return scenario.replace("-", "_")


def _final(scenario: str, priority: int) -> Column:
    def value(run: Run) -> float | None:
        return run.metrics.get(scenario, {}).get("final_mean")

    key, header = final_key(scenario), f"{scenario} final mean"
    return Column(key, header, PERCENT, value, "max", False, ALL, f"{scenario} mean", priority)


def _metric(
    scenario: str,
    name: str,
    header: str,
    best: Literal["max", "min"] = "max",
    tables: tuple[TableName, ...] = (),
    short: str = "",
    priority: int = 9,
) -> Column:
    def value(run: Run) -> float | None:
        return run.metrics.get(scenario, {}).get(name)

    key = f"{final_key(scenario)}_{name}"
    return Column(key, header, PERCENT, value, best, False, tables, short, priority)


def _cost(
    key: str,
    header: str,
    unit: Unit,
    value: Callable[[Run], float | None],
    best: Literal["min"] | None = None,
    tables: tuple[TableName, ...] = (),
    short: str = "",
    priority: int = 9,
) -> Column:
    return Column(key, header, unit, value, best, True, tables, short, priority)


COLUMNS = (
    _final("class-il", 1),
    _final("task-il", 2),
    _metric("class-il", "dataset_id", "right dataset", "max", ("run",), priority=7),
    _metric("class-il", "within_dataset", "class within dataset"),
    _metric("class-il", "average_incremental_shared", "average incremental", "max", ("run",),
            "avg. increm.", 6),
    _metric("class-il", "forgetting_chaudhry", "forgetting", "min", ("run",), priority=3),
    _metric("class-il", "final_micro", "class-il final micro"),
    _metric("class-il", "bwt_gem", "backward transfer"),
    _metric("class-il", "learning_accuracy", "learning accuracy"),
    _metric("class-il", "worst_task", "worst task"),
    _metric("class-il", "intransigence", "intransigence", "min"),
    _metric("task-il", "forgetting_chaudhry", "task-il forgetting", "min"),
    _metric("task-il", "intransigence", "task-il intransigence", "min"),
    _metric("task-il", "fwt_gem", "task-il forward transfer"),
    _cost("memory_bytes", "memory", MEGABYTES, lambda run: run.costs.memory_bytes,
          None, ("run", "compare"), priority=4),
    _cost("communication_bytes", "sent", MEGABYTES, lambda run: run.costs.communication_bytes,
          None, ("run", "compare"), priority=8),
    _cost("total_bytes", "total cost", MEGABYTES, lambda run: run.costs.total_bytes,
          None, ("sweep",), priority=4),
    _cost("cost_accuracy", "cost accuracy", Unit("%/MB", 1, 2), lambda run: run.costs.cost_accuracy,
          None, ("sweep", "reproduce"), "cost acc.", 4),
    _cost("learning_seconds", "learning time", SECONDS, lambda run: run.costs.learning_seconds,
          "min", ("run", "compare"), "time", 5),
    _cost("relative_time", "relative time", Unit("%", 100, 0), lambda run: run.costs.relative_time,
          "min", ALL, "rel. time", 5),
    _cost("total_seconds", "time with evaluation", SECONDS,
          lambda run: run.costs.seconds.get("total")),
    _cost("steps", "updates", Unit("", 1, 0), lambda run: run.costs.steps),
    _cost("peak_host_bytes", "peak host memory", WHOLE_MEGABYTES,
          lambda run: run.costs.peak_host_bytes, None, ("compare",), "host peak"),
    _cost("peak_device_bytes", "peak device memory", WHOLE_MEGABYTES,
          lambda run: run.costs.peak_device_bytes or None, None, ("compare",), "GPU peak"),
)  # fmt: skip
