"""The columns of every results table, declared once. To add a column, add an entry to `COLUMNS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from bmc.report.finished import Run
from bmc.report.groups import Group, Stat, summarise

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

    CSV and JSON have every column, as ``KEY_mean`` and ``KEY_sd`` in the unit of ``value``:
    fractions, bytes, seconds. The short tables named in ``tables`` show it on the terminal, in
    LaTeX and at the top of the page, ``short`` being the header of narrow ones. A terminal drops
    the columns of the largest ``priority`` first.
    """

    key: str
    header: str
    unit: Unit
    value: Callable[[Run], float | None]
    best: Literal["max", "min"] | None = None
    tables: tuple[TableName, ...] = ()
    short: str = ""
    priority: int = 9

    def stat(self, group: Group) -> Stat | None:
        """Return mean and deviation over the runs of a group."""
        return summarise(self.value(run) for run in group.runs)


def final_key(scenario: str) -> str:
    """Return the key of the final mean accuracy in a scenario."""
    return scenario.replace("-", "_")


def _metric(
    scenario: str,
    name: str,
    header: str,
    best: Literal["max", "min"] = "max",
    tables: tuple[TableName, ...] = (),
    short: str = "",
    priority: int = 9,
) -> Column:
    key = final_key(scenario) + ("" if name == "final_mean" else f"_{name}")
    return Column(
        key, header, PERCENT, lambda run: run.metrics.get(scenario, {}).get(name),
        best, tables, short, priority,
    )  # fmt: skip


def _cost(name: str) -> Callable[[Run], float | None]:
    return lambda run: getattr(run.costs, name)


COLUMNS = (
    _metric("class-il", "final_mean", "class-il final mean", "max", ALL, "class-il mean", 1),
    _metric("task-il", "final_mean", "task-il final mean", "max", ALL, "task-il mean", 2),
    _metric("class-il", "dataset_id", "right dataset", tables=("run",), priority=7),
    _metric("class-il", "within_dataset", "class within dataset"),
    _metric("class-il", "average_incremental_micro", "average incremental", "max", ("run",),
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
    Column("memory_bytes", "memory", MEGABYTES, _cost("memory_bytes"),
           None, ("run", "compare"), priority=4),
    Column("communication_bytes", "sent", MEGABYTES, _cost("communication_bytes"),
           None, ("run", "compare"), priority=8),
    Column("broadcast_bytes", "broadcast", MEGABYTES, _cost("broadcast_bytes"),
           None, ("run", "compare"), priority=8),
    Column("total_bytes", "total cost", MEGABYTES, _cost("total_bytes"),
           None, ("sweep",), priority=4),
    Column("central_bytes", "data to send", MEGABYTES, _cost("central_bytes")),
    Column("distributed_bytes", "distributed total", MEGABYTES, _cost("distributed_bytes")),
    Column("cost_accuracy", "cost accuracy", Unit("%/MB", 1, 2), _cost("cost_accuracy"),
           None, ("sweep", "reproduce"), "cost acc.", 4),
    Column("learning_seconds", "learning time", SECONDS, _cost("learning_seconds"),
           "min", ("run", "compare"), "time", 5),
    Column("relative_time", "relative time", Unit("%", 100, 0), _cost("relative_time"),
           "min", ALL, "rel. time", 5),
    Column("total_seconds", "time with evaluation", SECONDS,
           lambda run: run.costs.seconds.get("total")),
    Column("steps", "updates", Unit("", 1, 0), _cost("steps")),
    Column("peak_host_bytes", "peak host memory", WHOLE_MEGABYTES, _cost("peak_host_bytes"),
           None, ("compare",), "host peak"),
    Column("peak_device_bytes", "peak device memory", WHOLE_MEGABYTES,
           lambda run: run.costs.peak_device_bytes or None, None, ("compare",), "GPU peak"),
)  # fmt: skip
